"""The control API over real HTTP: what is decoded, what errors become, and whose socket it is."""

import asyncio
import io
import json
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, UnixConnector

from tests.unit.control.peer import Peer
from weavedns.control import api
from weavedns.errors import (
    ConfigError,
    EngineError,
    RecordError,
    StoreError,
    UnknownContainerError,
    UnknownRecordError,
    WeaveError,
)
from weavenet.errors import (
    AddressInUseError,
    ContainerGoneError,
    EndpointError,
    NetworkError,
    NoAddressError,
    NotAttachedError,
)


class Caller:
    """Asks the API and decodes what it says."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = None if raw is None else io.BytesIO(raw)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.request(method, f"http://w{path}", data=sent, headers=named) as response:
            text = await response.text()
            return response.status, json.loads(text) if response.content_type == "application/json" else text


@pytest.fixture
async def caller(peer: Peer) -> AsyncIterator[Caller]:
    listener = api.bind(peer.settings.socket)
    async with (
        api.serve(peer.operations, listener),
        ClientSession(connector=UnixConnector(str(peer.settings.socket))) as session,
    ):
        yield Caller(session)
    api.release(listener, peer.settings.socket)


async def test_attach_and_detach_take_the_published_fields(peer: Peer, caller: Caller) -> None:
    answer = {"IP": "10.2.0.1", "Addresses": ["10.2.0.1/16"]}
    body = {"ContainerID": "redis", "Endpoint": "10.2.0.1/16 net:10.2.67.0/24"}
    assert await caller.ask("POST", "/v1/net/attach", body) == (200, answer)
    assert await caller.ask("POST", "/v1/net/attach", {"ContainerID": "redis"}) == (200, answer)
    assert await caller.ask("POST", "/v1/net/detach", body) == (200, {"Addresses": ["10.2.0.1/16"]})
    spellings = ("10.2.0.1/16", "net:10.2.67.0/24")
    assert peer.containers.asked == [
        ("attach", "redis", spellings),
        ("attach", "redis", ()),
        ("detach", "redis", spellings),
    ]


async def test_records_come_and_go(peer: Peer, caller: Caller) -> None:
    assert await caller.ask("POST", "/v1/records", {"name": "db", "data": ["192.0.2.1"], "ttl": 9}) == (200, {})
    assert await caller.ask("GET", "/v1/lookup?name=db") == (200, ["192.0.2.1"])
    status, rows = await caller.ask("GET", "/v1/records")
    assert (status, [row["name"] for row in rows]) == (200, ["db.weave.local", "redis.weave.local"])
    assert await caller.ask("GET", "/name") == (200, rows)
    assert "db    9 IN A 192.0.2.1\n" in (await caller.ask("GET", "/v1/export"))[1]
    assert await caller.ask("DELETE", "/v1/records", {"name": "db"}) == (200, {"removed": 1})
    assert await caller.ask("POST", "/v1/records", {"name": "kv", "container": "redis"}) == (200, {})
    assert await caller.ask("GET", "/name/kv.weave.local") == (200, ["10.2.0.1"])
    assert await caller.ask("DELETE", "/v1/records", {"name": "kv", "data": []}) == (200, {"removed": 1})
    assert len(peer.operations.records()) == 1


@pytest.mark.parametrize(
    ("query", "form", "kind"),
    [
        ("?fqdn=kv.weave.local", None, ""),
        ("", b"fqdn=kv.weave.local", "application/x-www-form-urlencoded"),
        (
            "",
            b'--x\r\nContent-Disposition: form-data; name="fqdn"\r\n\r\nkv\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
    ],
)
async def test_the_name_api_takes_its_name_from_query_or_form(
    peer: Peer, caller: Caller, query: str, form: bytes | None, kind: str
) -> None:
    headers = {"Content_Type": kind} if kind else {}
    assert await caller.ask("PUT", f"/name/redis/10.2.0.1{query}", form, **headers) == (204, "")
    assert peer.rows("kv")[0]["data"] == "10.2.0.1"
    assert await caller.ask("DELETE", "/name/redis/10.2.0.1?fqdn=kv.weave.local") == (204, "")
    assert peer.rows("kv") == []
    assert await caller.ask("PUT", "/name/weave:extern/192.0.2.9?fqdn=kv") == (204, "")
    assert await caller.ask("DELETE", "/name/weave:extern") == (204, "")
    assert peer.rows("kv") == []


async def test_status_report_and_domain_are_told(peer: Peer, caller: Caller) -> None:
    assert await caller.ask("GET", "/domain") == (200, "weave.local.\n")
    assert await caller.ask("GET", "/status?section=containers") == (200, "    containers: 1 attached\n")
    status, report = await caller.ask("GET", "/report")
    assert (status, report["name"], report["engine"]) == (200, "h1", "connected")
    assert await caller.ask("POST", "/v1/stop", {"clean": True}) == (200, {})
    assert await caller.ask("POST", "/v1/stop") == (200, {})
    assert peer.stops == [True, False]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("POST", "/v1/net/attach", b"{bad", 400, "JSON is malformed"),
        ("POST", "/v1/net/attach", b'{"ContainerID": "\xff"}', 400, "is not what /v1/net/attach takes"),
        ("POST", "/v1/net/attach", b"[" * 100_000, 400, ""),
        ("POST", "/v1/net/attach", None, 400, "missing required field `ContainerID`"),
        ("POST", "/v1/net/attach", {"ContainerID": 5}, 400, "$.ContainerID"),
        ("POST", "/v1/net/attach", {"ContainerID": "redis", "Extra": 1}, 400, "unknown field `Extra`"),
        ("POST", "/v1/net/attach", {"ContainerID": "redis", "Endpoint": "net:blue"}, 400, "no network named 'blue'"),
        ("POST", "/v1/net/attach", {"ContainerID": "nobody"}, 404, "no container 'nobody'"),
        ("POST", "/v1/records", {"name": "x", "data": ["192.0.2.1"], "container": "redis"}, 400, "do not go with"),
        ("POST", "/v1/records", {"name": "x", "container": "redis", "ttl": 5}, 400, "do not go with"),
        ("POST", "/v1/records", {"name": "x"}, 400, "no data is given for x"),
        ("POST", "/v1/records", b"x" * 2_000_000, 413, "Request Entity Too Large"),
        ("DELETE", "/v1/records", {"name": "db", "type": "A"}, 400, "unknown field `type`"),
        ("DELETE", "/v1/records", {"name": "nobody"}, 404, "no record is named nobody.weave.local"),
        ("POST", "/v1/stop", {"clean": 1}, 400, "$.clean"),
        ("GET", "/status?section=weather", None, 400, "no section 'weather'"),
        ("GET", "/nowhere", None, 404, "GET /nowhere: Not Found"),
        ("PATCH", "/v1/records", None, 405, "PATCH /v1/records: Method Not Allowed"),
    ],
)
async def test_what_is_wrong_is_told_in_one_sentence(
    peer: Peer, caller: Caller, method: str, path: str, body: Any, status: int, told: str
) -> None:
    found, answer = await caller.ask(method, path, body)
    assert (found, list(answer)) == (status, ["Error"])
    assert told in answer["Error"]
    assert "\n" not in answer["Error"]
    assert len(answer["Error"]) < 300
    assert [row["name"] for row in peer.operations.records()] == ["redis.weave.local"]
    assert peer.stops == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnknownContainerError, 404),
        (UnknownRecordError, 404),
        (NotAttachedError, 404),
        (EndpointError, 400),
        (RecordError, 400),
        (ConfigError, 400),
        (AddressInUseError, 409),
        (ContainerGoneError, 409),
        (NoAddressError, 409),
        (EngineError, 503),
        (StoreError, 507),
        (NetworkError, 500),
        (WeaveError, 500),
    ],
)
async def test_each_error_has_its_status_and_its_own_sentence(
    peer: Peer, caller: Caller, error: type[Exception], status: int
) -> None:
    peer.containers.fails = error("one\n  sentence")
    answer = await caller.ask("POST", "/v1/net/attach", {"ContainerID": "redis"})
    assert answer == (status, {"Error": "one sentence"})


async def test_a_bug_is_logged_and_not_shown(peer: Peer, caller: Caller, caplog: pytest.LogCaptureFixture) -> None:
    peer.containers.fails = ZeroDivisionError("secret")
    answer = await caller.ask("POST", "/v1/net/attach", {"ContainerID": "redis"})
    assert answer == (500, {"Error": "the daemon failed; its log says why"})
    assert [record.exc_info is not None for record in caplog.records] == [True]


@pytest.mark.parametrize(
    "rubbish", [b"RUBBISH\r\n\r\n", b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nX\r\n\r\n"]
)
async def test_what_is_no_http_is_turned_away_and_not_worth_a_log_line(
    peer: Peer, caller: Caller, caplog: pytest.LogCaptureFixture, rubbish: bytes
) -> None:
    logger = logging.getLogger("aiohttp.server")
    logger.addFilter(api.is_worth_telling)
    try:
        reader, writer = await asyncio.open_unix_connection(peer.settings.socket)
        writer.write(rubbish)
        assert (await reader.read()).startswith(b"HTTP/1.0 400 ")
        writer.close()
        await writer.wait_closed()
    finally:
        logger.removeFilter(api.is_worth_telling)
    assert caplog.records == []


def test_any_other_error_of_the_library_is_worth_telling() -> None:
    record = logging.LogRecord("aiohttp.server", logging.ERROR, "", 0, "it broke", (), None)
    assert api.is_worth_telling(record)
    record.exc_info = (ZeroDivisionError, ZeroDivisionError(), None)
    assert api.is_worth_telling(record)


# The socket


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "w.sock"


def test_the_socket_is_made_with_its_directory_for_owner_and_group_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        listener = api.bind(path)
    finally:
        umask = os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert umask == 0  # put back
    api.release(listener, path)
    assert not path.exists()


def test_a_stale_socket_is_replaced(path: Path) -> None:
    api.bind(path).close()  # as a killed daemon leaves it
    assert path.is_socket()
    listener = api.bind(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    api.release(listener, path)


def test_the_socket_of_a_daemon_is_left_to_it_from_its_first_moment_to_its_last(path: Path) -> None:
    listener = api.bind(path)
    with pytest.raises(
        ConfigError, match=r"a daemon already answers on .*; stop it with 'weavedns stop' or use --socket"
    ):
        api.bind(path)
    assert path.is_socket()
    api.release(listener, path)
    api.release(api.bind(path), path)


async def test_whoever_connects_before_it_serves_waits_and_whoever_does_while_it_ends_is_let_go(
    peer: Peer, path: Path
) -> None:
    listener = api.bind(path)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"GET /domain HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n")
    async with api.serve(peer.operations, listener):
        assert (await reader.read()).endswith(b"weave.local.\n")
    writer.close()
    await writer.wait_closed()
    reader, writer = await asyncio.open_unix_connection(path)
    api.release(listener, path)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


def test_a_path_that_cannot_be_a_socket_is_told_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious = tmp_path / "file"
    precious.write_text("precious")
    for wrong, told in (
        (precious, "is no socket; choose another with --socket or remove the file"),
        (precious / "w.sock", "cannot be made: File exists; choose another with --socket"),
        (tmp_path / ("x" * 200), "cannot be made: AF_UNIX path too long; choose another with --socket"),
    ):
        with pytest.raises(ConfigError) as raised:
            api.bind(wrong)
        assert told in str(raised.value)
    assert precious.read_text() == "precious"

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(ConfigError, match="Permission denied; run as root, or choose another with --socket"):
        api.bind(tmp_path / "new" / "w.sock")
