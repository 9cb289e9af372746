"""A real Docker engine, followed through starts, ends, renames, restarts and its own death."""

import asyncio
import signal
import statistics
import time
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from typing import TypeVar

import pytest

from tests.lab import Host
from weavedns.containers.engine import (
    ContainerChanged,
    ContainerDied,
    ContainerRemoved,
    ContainerStarted,
    Engine,
    EngineDown,
    EngineUp,
    Event,
    NetworksChanged,
)
from weavedns.containers.naming import Container, describe
from weavedns.errors import UnknownContainerError
from weavedns.records import names

pytestmark = pytest.mark.docker

DOMAIN = names.parse("weave.local")
DEADLINE_S = 30.0
# From the engine's event to what the container asks for, in a burst, on a machine that runs the burst too.
PROMPT_S = 2.0
E = TypeVar("E", bound=Event)


class Followed:
    """A host's engine, its events waited for one kind at a time, with docker commands beside."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.engine = Engine(f"unix://{host.engine.socket}")
        self._events = self.engine.events()

    async def until(self, kind: type[E], fits: Callable[[E], bool] = lambda _: True) -> E:
        async with asyncio.timeout(DEADLINE_S):
            while not (isinstance(event := await anext(self._events), kind) and fits(event)):
                pass
        return event

    async def docker(self, *args: str) -> str:
        return await asyncio.to_thread(self.host.docker, *args)

    async def run(self, *args: str) -> str:
        return await self.docker("run", "--detach", *args, "busybox")

    async def describe(self, ref: str) -> Container:
        return describe(await self.engine.inspect(ref), domain=DOMAIN)

    async def running(self) -> set[str]:
        found = [describe(each, domain=DOMAIN) for each in await self.engine.running()]
        return {each.id for each in found if each.running}


@pytest.fixture
async def followed(host: Host) -> AsyncIterator[Followed]:
    followed = Followed(host)
    await followed.until(EngineUp)
    yield followed
    await followed.engine.close()


async def test_a_container_that_starts_dies_and_is_removed_is_told_at_each_step(followed: Followed) -> None:
    full_id = await followed.run("--name", "redis", "--hostname", "redis.weave.local")
    started = await followed.until(ContainerStarted)
    container = await followed.describe(full_id)
    await followed.docker("stop", "redis")
    died = await followed.until(ContainerDied)
    ended = await followed.describe(full_id)
    await followed.docker("rm", "redis")
    removed = await followed.until(ContainerRemoved)

    assert started.container_id == died.container_id == removed.container_id == container.id == full_id
    assert container.running
    assert not ended.running
    assert container.started_ns < died.time_ns
    assert abs(container.started_ns - started.time_ns) < DEADLINE_S * 10**9
    assert [names.render(name) for name in container.names] == ["redis.weave.local"]
    assert container.wish.endpoints == ("",)
    assert container.resolv_conf.endswith(f"{full_id}/resolv.conf")
    assert container.warnings == ()


async def test_a_restart_is_an_end_and_a_start_that_is_newer(followed: Followed) -> None:
    full_id = await followed.run("--name", "app")
    before = await followed.describe("app")

    await followed.docker("restart", "app")

    died = await followed.until(ContainerDied)
    await followed.until(ContainerStarted, lambda event: event.time_ns > died.time_ns)
    after = await followed.describe(full_id)
    assert before.started_ns < died.time_ns < after.started_ns
    assert after.pid != before.pid


async def test_a_rename_is_told_and_changes_the_name(followed: Followed) -> None:
    full_id = await followed.run("--name", "old")
    await followed.until(ContainerStarted)

    await followed.docker("rename", "old", "new")

    assert (await followed.until(ContainerChanged)).container_id == full_id
    assert [names.render(name) for name in (await followed.describe(full_id)).names] == ["new.weave.local"]


async def test_joining_a_network_is_told_with_the_container_and_the_network_with_its_subnet(
    followed: Followed,
) -> None:
    full_id = await followed.run()
    await followed.until(ContainerStarted)

    await followed.docker("network", "create", "--subnet", "172.30.7.0/24", "shop")
    await followed.until(NetworksChanged)
    await followed.docker("network", "connect", "shop", full_id)

    assert (await followed.until(ContainerChanged)).container_id == full_id
    assert ip_network("172.30.7.0/24") in await followed.engine.subnets()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--hostname", "redis.weave.local"), "redis.weave.local"),
        (("--hostname", "redis", "--domainname", "weave.local"), "redis.weave.local"),
        (("--hostname", "Redis.Weave.Local"), "redis.weave.local"),
        (("--hostname", "a.b.weave.local"), "a.b.weave.local"),
        (("--hostname", "redis.example.com"), ""),
        ((), ""),
    ],
)
async def test_the_host_name_is_read_as_this_engine_gives_it(
    followed: Followed, flags: tuple[str, ...], expected: str
) -> None:
    container = await followed.describe(await followed.run(*flags))

    assert container.hostname == expected
    assert bool(container.wish) is bool(expected)


async def test_labels_environment_and_modes_are_read_as_this_engine_gives_them(followed: Followed) -> None:
    labelled = await followed.describe(
        await followed.run(
            *("--name", "one", "--label", "works.weave.dns.name=db", "--label", "works.weave.dns.ttl=9"),
            *("--env", "WEAVE_CIDR=10.2.45.3/24 net:default", "--dns-search", "example.com"),
        )
    )
    on_the_host = await followed.describe(await followed.run("--network", "host", "--env", "WEAVE_CIDR="))
    joined = await followed.describe(await followed.run("--network", "container:one", "--env", "WEAVE_CIDR="))
    without = await followed.describe(await followed.run("--network", "none", "--env", "WEAVE_CIDR="))

    assert [names.render(name) for name in labelled.names] == ["one.weave.local", "db.weave.local"]
    assert labelled.wish.endpoints == ("10.2.45.3/24", "net:default")
    assert labelled.ttl_s == 9
    assert labelled.dns_search_given
    assert labelled.own_network
    for left_alone in (on_the_host, joined, without):
        assert left_alone.running
        assert not left_alone.own_network
        assert not left_alone.wish


async def test_a_paused_container_runs_and_one_between_restarts_does_not(followed: Followed) -> None:
    paused = await followed.run("--name", "paused")
    await followed.docker("pause", "paused")
    await followed.docker("run", "--detach", "--name", "failing", "--restart", "always", "busybox", "/bin/false")
    async with asyncio.timeout(DEADLINE_S):
        while not (inspection := await followed.engine.inspect("failing"))["State"]["Restarting"]:
            await followed.until(ContainerDied)

    assert not describe(inspection, domain=DOMAIN).running
    assert paused in await followed.running()
    await followed.docker("unpause", "paused")


async def test_a_container_is_found_by_name_and_prefix_and_an_ambiguous_prefix_is_told(followed: Followed) -> None:
    ids: list[str] = []
    while len({each[0] for each in ids}) == len(ids):
        ids.append(await followed.docker("create", "busybox"))
    first, last = (each for each in ids if each[0] == ids[-1][0])

    assert (await followed.engine.inspect(last[:20]))["Id"] == last
    with pytest.raises(UnknownContainerError, match="ambiguous") as told:
        await followed.engine.inspect(last[0])
    assert first[:12] in str(told.value)
    assert last[:12] in str(told.value)
    with pytest.raises(UnknownContainerError, match=r"no container 'nosuch' on this host; see docker ps -a"):
        await followed.engine.inspect("nosuch")


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGTERM])
async def test_an_engine_that_ends_and_starts_again_is_found_again_with_what_changed_meanwhile(
    followed: Followed, with_signal: signal.Signals
) -> None:
    first = await followed.run("--name", "first")
    assert await followed.running() == {first}

    await asyncio.to_thread(followed.host.engine.stop, with_signal)
    down = await followed.until(EngineDown)
    await asyncio.to_thread(followed.host.engine.start)
    await followed.until(EngineUp)
    await followed.docker("rm", "--force", "first")
    second = await followed.run("--name", "second")

    assert down.reason
    await followed.until(ContainerStarted, lambda event: event.container_id == second)
    assert await followed.running() == {second}


async def test_an_engine_that_is_absent_at_first_is_found_when_it_starts(host: Host) -> None:
    await asyncio.to_thread(host.engine.stop)
    followed = Followed(host)
    assert "systemctl start docker" in (await followed.until(EngineDown)).reason

    await asyncio.to_thread(host.engine.start)

    await followed.until(EngineUp)
    assert await followed.running() == set()
    await followed.engine.close()


async def test_fifty_containers_started_at_once_are_all_looked_at_promptly(followed: Followed) -> None:
    ids = [await followed.docker("create", "--hostname", f"c{number}.weave.local", "busybox") for number in range(50)]
    script = f"for id in {' '.join(ids)}; do docker start $id & done; wait"
    starting = asyncio.create_task(asyncio.to_thread(followed.host.run, "sh", "-c", script))
    lags_s: dict[str, float] = {}

    async def look(event: ContainerStarted) -> None:
        container = await followed.describe(event.container_id)
        assert container.running
        lags_s[container.id] = (time.time_ns() - event.time_ns) / 1e9

    async with asyncio.TaskGroup() as tasks:
        for _ in ids:
            tasks.create_task(look(await followed.until(ContainerStarted)))
    await starting

    median_ms, most_ms = statistics.median(lags_s.values()) * 1e3, max(lags_s.values()) * 1e3
    print(f"from event to inspected: median {median_ms:.1f} ms, at most {most_ms:.1f} ms")
    assert lags_s.keys() == set(ids)
    assert most_ms < PROMPT_S * 1e3
