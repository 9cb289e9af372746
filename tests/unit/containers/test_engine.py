"""Following an engine that ends, hangs, comes back or talks nonsense: a fake one at a real socket."""

import asyncio
import contextlib
import os
import ssl
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web

from tests.lab.wait import wait_until
from tests.unit.containers.fake_engine import STREAM_BREAK, STREAM_END, FakeEngine, container_id
from weavedns.containers import stream
from weavedns.containers.engine import (
    CALLS_AT_ONCE,
    ContainerChanged,
    ContainerDied,
    ContainerRemoved,
    ContainerStarted,
    Engine,
    EngineDown,
    EngineUp,
    Event,
    NetworksChanged,
    Resync,
)
from weavedns.errors import EngineError, UnknownContainerError

DEADLINE_S = 10.0
# Well under the time-out of the call that is waited for, with room for a busy machine.
AT_ONCE_S = 2.0
E = TypeVar("E", bound=Event)


class Following:
    """An engine's events, waited for one kind at a time."""

    def __init__(self, engine: Engine) -> None:
        self._events = engine.events()

    async def next(self) -> Event:
        async with asyncio.timeout(DEADLINE_S):
            return await anext(self._events)

    async def until(self, kind: type[E]) -> E:
        while not isinstance(event := await self.next(), kind):
            pass
        return event

    async def ended(self) -> bool:
        async with asyncio.timeout(AT_ONCE_S):
            return [event async for event in self._events] == []


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    fake = FakeEngine(tmp_path / "docker.sock")
    await fake.start()
    yield fake
    fake.answering.set()
    await fake.stop()


@pytest.fixture
async def engine(fake: FakeEngine) -> AsyncIterator[Engine]:
    engine = Engine(fake.url)
    yield engine
    await engine.close()
    assert not engine_threads()


def engine_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("engine")]


async def eventually(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(wait_until, condition, DEADLINE_S)


@contextlib.asynccontextmanager
async def closed_at_the_end(engine: Engine) -> AsyncIterator[Engine]:
    try:
        yield engine
    finally:
        await engine.close()


async def test_the_engine_is_up_when_its_events_are_followed(fake: FakeEngine, engine: Engine) -> None:
    assert await Following(engine).next() == EngineUp()
    assert fake.streams == 1


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("start", ContainerStarted),
        ("die", ContainerDied),
        ("rename", ContainerChanged),
        ("destroy", ContainerRemoved),
    ],
)
async def test_what_happens_to_a_container_is_told(
    fake: FakeEngine, engine: Engine, action: str, kind: type[ContainerStarted]
) -> None:
    following = Following(engine)
    await following.next()

    sent = fake.tell(action, container_id(1))

    assert await following.next() == kind(container_id(1), sent["timeNano"])


@pytest.mark.parametrize("action", ["connect", "disconnect"])
async def test_joining_a_network_changes_the_container(fake: FakeEngine, engine: Engine, action: str) -> None:
    following = Following(engine)
    await following.next()

    sent = fake.tell(action, "f" * 64, "network", container=container_id(1))

    assert await following.next() == ContainerChanged(container_id(1), sent["timeNano"])


@pytest.mark.parametrize("action", ["create", "destroy"])
async def test_new_and_removed_networks_are_told(fake: FakeEngine, engine: Engine, action: str) -> None:
    following = Following(engine)
    await following.next()

    fake.tell(action, "f" * 64, "network")

    assert await following.next() == NetworksChanged()


async def test_the_result_of_a_health_check_is_told(fake: FakeEngine, engine: Engine) -> None:
    following = Following(engine)
    await following.next()

    sent = fake.tell("health_status: unhealthy", container_id(1))

    assert await following.next() == ContainerChanged(container_id(1), sent["timeNano"])
    assert "health_status" in fake.queries[0]["filters"]


async def test_what_health_checks_execute_is_not_asked_for_and_not_told(fake: FakeEngine, engine: Engine) -> None:
    following = Following(engine)
    await following.next()

    for action in ("exec_create: true", "exec_start: true", "exec_die", "create", "kill"):
        fake.tell(action, container_id(1))
    fake.tell("start", container_id(2))

    assert isinstance(await following.next(), ContainerStarted)
    assert "exec" not in fake.queries[0]["filters"]


async def test_an_engine_that_is_absent_is_told_once_with_the_cure_and_found_when_it_comes(tmp_path: Path) -> None:
    fake = FakeEngine(tmp_path / "docker.sock")
    async with closed_at_the_end(Engine(fake.url)) as engine:
        following = Following(engine)
        down = await following.next()
        assert isinstance(down, EngineDown)
        assert "no Docker engine at" in down.reason
        assert "systemctl start docker" in down.reason

        await fake.start()

        assert await following.next() == EngineUp()
        await engine.close()
        await fake.stop()


async def test_a_loss_is_told_once_however_often_it_is_tried_and_again_when_the_reason_changes(
    fake: FakeEngine, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "FIRST_RETRY_S", 0.01)
    reasons = iter(["still starting"] * 3 + ["out of order"] * 2)

    def version() -> web.Response:
        reason = next(reasons, "")
        if not reason:
            return web.json_response({"ApiVersion": "1.41"})
        return web.json_response({"message": reason}, status=500)

    fake.answers["version"] = version
    following = Following(engine)

    events = [await following.next() for _ in range(3)]

    assert [type(event) for event in events] == [EngineDown, EngineDown, EngineUp]
    assert "refused: still starting" in str(events[0])
    assert "refused: out of order" in str(events[1])


@pytest.mark.parametrize("ending", [STREAM_END, STREAM_BREAK])
async def test_a_stream_that_ends_is_a_lost_engine_and_looked_for_again(
    fake: FakeEngine, engine: Engine, ending: object
) -> None:
    following = Following(engine)
    await following.next()

    fake.send(ending)

    assert isinstance(await following.next(), EngineDown)
    assert await following.next() == EngineUp()
    fake.tell("start", container_id(1))
    assert isinstance(await following.next(), ContainerStarted)


async def test_a_new_stream_overlaps_the_old_one_and_tells_nothing_twice(fake: FakeEngine, engine: Engine) -> None:
    following = Following(engine)
    await following.next()
    fake.tell("start", container_id(1))
    await following.until(ContainerStarted)
    fake.send(STREAM_BREAK)
    await following.until(EngineDown)
    missed = fake.tell("die", container_id(1))

    await following.until(EngineUp)

    assert await following.next() == ContainerDied(container_id(1), missed["timeNano"])
    assert float(fake.queries[1]["since"]) < missed["timeNano"] / 1e9


async def test_an_engine_killed_and_started_again_with_another_api_is_spoken_to_in_that(
    fake: FakeEngine, engine: Engine
) -> None:
    following = Following(engine)
    fake.run(1)
    await following.next()
    await engine.inspect("c1")

    await fake.stop()
    await following.until(EngineDown)
    with pytest.raises(EngineError, match="no Docker engine at"):
        await engine.inspect("c1")
    fake.api_version = "1.51"
    await fake.start()
    await following.until(EngineUp)
    await engine.inspect("c1")

    assert fake.paths[-1].startswith("/v1.51/containers/")


@pytest.mark.parametrize("garbage", [b"nonsense\n", b'{"Type": 5}\n', b"[1]\n", b'{"Type": "\xff"}\n'])
async def test_an_event_that_cannot_be_read_asks_for_a_look_at_everything(
    fake: FakeEngine, engine: Engine, garbage: bytes
) -> None:
    following = Following(engine)
    await following.next()

    fake.send(garbage)
    fake.tell("start", container_id(1))

    assert isinstance(await following.next(), Resync)
    assert isinstance(await following.next(), ContainerStarted)


async def test_an_event_in_pieces_is_put_together(fake: FakeEngine, engine: Engine) -> None:
    following = Following(engine)
    await following.next()

    for piece in (b'{"Type":"container","Act', b'ion":"start","Actor":{"ID":"abc"}}', b'\n\n{"Type":"im', b'age"}\n'):
        fake.send(piece)

    assert await following.next() == ContainerStarted("abc", 0)


async def test_an_event_without_end_is_not_kept_in_memory(
    fake: FakeEngine, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_LINE_BYTES", 10_000)
    following = Following(engine)
    await following.next()

    fake.send(b"x" * 20_000)

    assert "10000 bytes" in (await following.until(EngineDown)).reason


async def test_a_silent_stream_is_opened_anew_without_a_word(fake: FakeEngine) -> None:
    async with closed_at_the_end(Engine(fake.url, quiet_s=0.05)) as engine:
        following = Following(engine)
        await following.next()
        await eventually(lambda: len(fake.queries) >= 3)
        await eventually(lambda: fake.streams)

        fake.tell("start", container_id(1))

        assert isinstance(await following.next(), ContainerStarted)
        assert "/v1.41/_ping" in fake.paths, "a hanging engine is found within the time-out of a call"


async def test_an_engine_that_hangs_is_noticed_when_its_stream_is_silent(fake: FakeEngine) -> None:
    async with closed_at_the_end(Engine(fake.url, quiet_s=0.05, call_timeout_s=0.1)) as engine:
        following = Following(engine)
        await following.next()

        fake.answering.clear()

        assert "did not answer within 0.1 s" in (await following.until(EngineDown)).reason


async def test_close_ends_the_events_at_once(fake: FakeEngine, engine: Engine) -> None:
    following = Following(engine)
    await following.next()

    await asyncio.wait_for(engine.close(), AT_ONCE_S)

    assert await following.ended()
    assert not engine_threads()


async def test_close_lets_calls_go_that_wait_for_a_hanging_engine(fake: FakeEngine, engine: Engine) -> None:
    following = Following(engine)
    await following.next()
    fake.run(1)
    fake.answering.clear()
    waiting = [asyncio.create_task(engine.inspect("c1")) for _ in range(3 * CALLS_AT_ONCE)]
    await eventually(lambda: len(fake.paths) >= CALLS_AT_ONCE)

    await asyncio.wait_for(engine.close(), AT_ONCE_S)
    outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), AT_ONCE_S)

    assert all(isinstance(outcome, EngineError) for outcome in outcomes)
    assert not engine_threads()


async def test_close_ends_the_opening_of_a_stream_that_hangs(fake: FakeEngine, engine: Engine) -> None:
    fake.answering.clear()
    following = Following(engine)
    first = asyncio.create_task(following.next())
    await eventually(lambda: fake.paths)

    await asyncio.wait_for(engine.close(), AT_ONCE_S)

    with pytest.raises(StopAsyncIteration):
        await first


async def test_close_ends_the_wait_for_the_next_try(tmp_path: Path) -> None:
    engine = Engine(f"unix://{tmp_path}/none.sock")
    following = Following(engine)
    await following.next()

    await asyncio.wait_for(engine.close(), AT_ONCE_S)

    assert await following.ended()
    with pytest.raises(EngineError, match="closed"):
        await engine.inspect("c1")


async def test_events_are_followed_once(engine: Engine) -> None:
    await Following(engine).next()

    with pytest.raises(EngineError, match="already"):
        await Following(engine).next()


async def test_a_call_to_a_hanging_engine_times_out(fake: FakeEngine) -> None:
    async with closed_at_the_end(Engine(fake.url, call_timeout_s=0.1)) as engine:
        fake.answering.clear()

        with pytest.raises(EngineError, match=r"did not answer within 0\.1 s|too slow"):
            await engine.inspect("c1")


async def test_fifty_containers_at_once_are_inspected_a_few_at_a_time(fake: FakeEngine, engine: Engine) -> None:
    ids = [fake.run(number) for number in range(50)]

    found = await asyncio.gather(*map(engine.inspect, ids))

    assert [each["Id"] for each in found] == ids
    assert fake.most_inspecting <= CALLS_AT_ONCE


async def test_a_list_of_many_leaves_room_for_the_one_that_just_started(fake: FakeEngine, engine: Engine) -> None:
    fake.slow = {fake.run(number) for number in range(50)}
    listing = asyncio.create_task(engine.running())
    await eventually(lambda: fake.inspecting)

    fake.run(99, "fresh")
    assert await asyncio.wait_for(engine.inspect("fresh"), AT_ONCE_S)

    assert not listing.done()
    fake.slow_ones_answer.set()
    assert len(await listing) == 50


async def test_the_running_containers_are_inspected(fake: FakeEngine, engine: Engine) -> None:
    fake.run(1, Config={"Hostname": "one"})
    fake.run(2)

    found = {each["Name"]: each for each in await engine.running()}

    assert found.keys() == {"/c1", "/c2"}
    assert found["/c1"]["Config"] == {"Hostname": "one"}


async def test_a_container_that_ends_between_list_and_inspection_is_no_error(
    fake: FakeEngine, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    fake.run(1)
    gone = fake.run(2)
    fake.answers[f"containers/{gone}/json"] = lambda: web.json_response({"message": "No such"}, status=404)

    assert [each["Name"] for each in await engine.running()] == ["/c1"]
    assert caplog.messages == []


async def test_a_container_that_cannot_be_inspected_is_left_out_with_a_warning(
    fake: FakeEngine, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    fake.run(1)
    stuck = fake.run(2)
    fake.answers[f"containers/{stuck}/json"] = lambda: web.json_response({"message": "it is stuck"}, status=500)

    assert [each["Name"] for each in await engine.running()] == ["/c1"]
    assert "it is stuck" in caplog.text


async def test_when_no_container_can_be_inspected_the_list_fails(fake: FakeEngine, engine: Engine) -> None:
    stuck = fake.run(2)
    fake.answers[f"containers/{stuck}/json"] = lambda: web.json_response({"message": "it is stuck"}, status=500)

    with pytest.raises(EngineError, match="it is stuck"):
        await engine.running()


@pytest.mark.parametrize("ref", ["web", "/web", container_id(0xAB12), "ab12"])
async def test_a_container_is_found_by_name_id_and_prefix(fake: FakeEngine, engine: Engine, ref: str) -> None:
    fake.run(0xAB12, "web")
    fake.run(0xAB34, "db")

    assert (await engine.inspect(ref))["Id"] == container_id(0xAB12)


@pytest.mark.parametrize("ref", ["nosuch", "", "/", "..", "../networks", "a/b", "a b", "a?b", "\xe9", "x" * 9999])
async def test_an_unknown_container_is_told_with_the_cure(fake: FakeEngine, engine: Engine, ref: str) -> None:
    with pytest.raises(UnknownContainerError, match=r"no container '.*' on this host; see docker ps -a") as told:
        await engine.inspect(ref)

    assert len(str(told.value)) < 200


async def test_an_ambiguous_prefix_names_the_candidates(fake: FakeEngine, engine: Engine) -> None:
    fake.run(0xAB12, "web")
    fake.run(0xAB34, "db")

    with pytest.raises(UnknownContainerError, match="ambiguous") as told:
        await engine.inspect("ab")

    assert "db (ab3400000000), web (ab1200000000)" in str(told.value)


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(text="<html>"),
        lambda: web.json_response([1]),
        lambda: web.json_response({"Id": 5}),
        lambda: web.json_response(None),
        lambda: web.Response(status=500, text="<html>"),
        lambda: web.Response(status=302, headers={"Location": "http://192.0.2.1/"}),
        lambda: web.Response(status=418),
    ],
)
async def test_a_nonsense_answer_is_an_engine_error(fake: FakeEngine, engine: Engine, answer: Any) -> None:
    fake.run(1)
    fake.answers["containers/c1/json"] = answer

    with pytest.raises(EngineError) as told:
        await engine.inspect("c1")

    assert "\n" not in str(told.value)


@pytest.mark.parametrize("version", [None, 5, "", "latest", "1.41/../..", "1.2"])
async def test_something_else_than_an_engine_is_told_apart(fake: FakeEngine, engine: Engine, version: Any) -> None:
    fake.api_version = version

    with pytest.raises(EngineError, match=r"API version"):
        await engine.inspect("c1")
    assert isinstance(await Following(engine).next(), EngineDown)


async def test_the_subnets_of_all_networks_are_told_once_each(fake: FakeEngine, engine: Engine) -> None:
    fake.networks = [
        {"Name": "bridge", "IPAM": {"Config": [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]}},
        {"Name": "six", "IPAM": {"Config": [{"Subnet": "172.18.0.1/16"}, {"Subnet": "fd00::/64"}]}},
        {"Name": "again", "IPAM": {"Config": [{"Subnet": "fd00::/64"}, {"Subnet": "x"}, {"Gateway": "1"}, 7, None]}},
        {"Name": "host", "IPAM": {"Config": None}},
        {"Name": "none", "IPAM": None},
        {},
        "x",
    ]

    subnets = await engine.subnets()

    assert subnets == [ip_network("172.17.0.0/16"), ip_network("172.18.0.0/16"), ip_network("fd00::/64")]


async def test_a_socket_that_may_not_be_opened_is_told_with_the_cure(fake: FakeEngine, engine: Engine) -> None:
    fake.path.chmod(0)

    with as_nobody(), pytest.raises(EngineError, match=r"no permission to open .*; run as root, or as a member"):
        await engine.inspect("c1")


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's right to open everything."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


async def test_docker_host_says_where_the_engine_is(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.run(1)
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    async with closed_at_the_end(Engine()) as engine:
        assert (await engine.inspect("c1"))["Name"] == "/c1"


async def test_an_engine_is_reached_over_tcp_and_let_go_at_once(tmp_path: Path) -> None:
    fake = FakeEngine(tmp_path / "unused")
    await fake.start(port=0)
    fake.run(1)
    engine = Engine(fake.url)
    following = Following(engine)
    assert await following.next() == EngineUp()
    assert await engine.inspect("c1")

    await asyncio.wait_for(engine.close(), AT_ONCE_S)

    assert await following.ended()
    await fake.stop()


async def test_an_engine_is_reached_over_tls_as_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.pem"))
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    fake = FakeEngine(tmp_path / "unused")
    await fake.start(port=0, tls=context)
    fake.run(1)
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    engine = Engine()
    following = Following(engine)
    assert await following.next() == EngineUp()
    assert await engine.inspect("c1")

    await asyncio.wait_for(engine.close(), AT_ONCE_S)

    assert await following.ended()
    await fake.stop()


def make_certificate(folder: Path) -> None:
    """One self-signed certificate for 127.0.0.1 that serves as authority, server and client."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-subj", "/CN=engine", "-days", "2"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    (folder / "ca.pem").write_bytes((folder / "cert.pem").read_bytes())


async def test_an_engine_that_drops_every_stream_is_not_asked_ever_faster(
    fake: FakeEngine, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "FIRST_RETRY_S", 0.02)
    following = Following(engine)
    times = []
    for _ in range(5):
        await following.until(EngineUp)
        times.append(time.monotonic())
        await eventually(lambda: fake.streams)
        fake.send(STREAM_END)

    assert times[4] - times[3] > 0.16
