"""The real sockets, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Callable
from random import SystemRandom

import pytest

from tests.sim.world import record
from weavedns.errors import ListenError, PeerError
from weavedns.gossip.core import Config
from weavedns.gossip.events import Event, JoinRefused, PeerLeft, RecordsChanged
from weavedns.gossip.links import UNAUTHENTICATED_S
from weavedns.gossip.node import Node
from weavedns.gossip.seal import Key, Keyring
from weavedns.gossip.transport import CONNECT_S, Transport, _Connection, unreachable
from weavedns.records.catalog import Catalog
from weavedns.turns import Turns

DEADLINE_S = 10.0
SEALED = Keyring((Key.from_master(b"1" * 32),))


class Peer:
    """One daemon's worth of gossip."""

    def __init__(self, name: str, *, seeds: tuple[int, ...] = (), keyring: Keyring | None = None) -> None:
        self.catalog = Catalog(name)
        self.events: list[Event] = []
        self.port = free_port()
        addrs = tuple(("127.0.0.1", port) for port in seeds)
        config = Config(name, "127.0.0.1", self.port, seeds=addrs, keyring=keyring or Keyring())
        self.node = Node(config, self.catalog, SystemRandom(), wall_ms=1_700_000_000_000 + self.port)
        self.transport = Transport(self.node, on_event=self.events.append, on_request=self.answer, turn=Turns().take)

    def portions(self) -> list[int]:
        return [len(event.changes) for event in self.events if isinstance(event, RecordsChanged)]

    async def answer(self, peer: str, kind: str, body: bytes) -> bytes:
        if kind == "refuse":
            raise PeerError("that is not here")
        return b" ".join((peer.encode(), kind.encode(), body))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Peer]:
        async with self.transport.serving("127.0.0.1", self.port):
            yield self


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in many places
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("keyring", [Keyring(), SEALED], ids=["plain", "sealed"])
async def test_peers_on_real_sockets_have_each_others_records(keyring: Keyring) -> None:
    one = Peer("one", keyring=keyring)
    for number in range(3_000):
        one.catalog.add(record("one", f"r{number}", number))
    async with one.running():
        two = Peer("two", seeds=(one.port,), keyring=keyring)
        async with two.running():
            await until(lambda: len(two.catalog) == 3_000)
            two.catalog.add(record("two", "redis"))
            two.transport.publish()
            await until(lambda: bool(one.catalog.of_name(record("two", "redis").name)))
            await until(lambda: sum(two.portions()) == 3_000)
            assert max(two.portions()) <= 500
        # Who stops says so.
        await until(lambda: any(isinstance(event, PeerLeft) for event in one.events))
        assert len(one.catalog) == 3_000


async def test_a_peer_asks_another() -> None:
    one = Peer("one")
    async with one.running():
        two = Peer("two", seeds=(one.port,))
        async with two.running():
            await until(lambda: two.node.peer("one") is not None)
            assert await two.transport.request("one", "remove", b"redis") == b"two remove redis"
            with pytest.raises(PeerError, match="that is not here"):
                await two.transport.request("one", "refuse", b"")
            with pytest.raises(PeerError, match="no peer"):
                await two.transport.request("three", "remove", b"")


async def test_a_seed_that_starts_later_is_joined_then() -> None:
    one = Peer("one")
    two = Peer("two", seeds=(one.port,))
    async with two.running():
        await until(lambda: two.node.stats.stream_bytes_out == 0 and bool(two.events))
        async with one.running():
            await until(lambda: two.node.peer("one") is not None)


async def test_an_address_that_is_taken_is_named() -> None:
    one = Peer("one")
    async with one.running():
        two = Peer("two")
        two.port = one.port
        with pytest.raises(ListenError, match=f"port {one.port}"):
            async with two.running():
                pytest.fail("it listens")


async def test_strangers_bytes_are_counted_and_change_nothing() -> None:
    one = Peer("one", keyring=SEALED)
    async with one.running():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for data in (b"", b"x", b"WD\x01" + bytes(200), bytes(5000)):
                stranger.sendto(data, ("127.0.0.1", one.port))
            await until(lambda: sum(one.node.stats.rejected.values()) >= 3)
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        async with asyncio.timeout(DEADLINE_S):
            assert await reader.read() == b""
        writer.close()
        assert not one.node.peers()


async def test_a_connection_that_says_nothing_is_closed_in_five_seconds() -> None:
    one = Peer("one")
    async with one.running():
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        started = asyncio.get_running_loop().time()
        async with asyncio.timeout(DEADLINE_S):
            assert await reader.read() == b""
        assert 4.0 < asyncio.get_running_loop().time() - started < 7.0
        writer.close()


async def test_a_transport_that_closed_itself_is_aborted_without_harm() -> None:
    one = Peer("one")
    async with one.running():
        closed = asyncio.Event()

        async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()
            closed.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        transport = writer.transport
        # As when its buffer runs empty after close().
        transport._call_connection_lost(None)  # type: ignore[attr-defined]
        link = one.node.stream_accepted(("127.0.0.1", 1), asyncio.get_running_loop().time())
        assert link is not None
        one.transport._connections[link] = _Connection()
        await one.transport._converse(link, reader, writer)
        assert link not in one.transport._connections
        server.close()


@pytest.mark.parametrize(
    ("exc", "said"),
    [
        (TimeoutError(), ""),
        (TimeoutError(errno.ETIMEDOUT, "Connect call failed ('10.0.0.9', 6783)"), ""),
        (
            ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.9', 6783)"),
            ": connection refused, no peer listens there",
        ),
        (OSError(errno.EHOSTUNREACH, "Connect call failed ('10.0.0.9', 6783)"), ": no route to host"),
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            ": no host of that name is known (Name or service not known)",
        ),
        (OSError("Multiple exceptions: [Errno 111] ..., [Errno 113] ..."), ": none of its addresses answers"),
    ],
)
def test_why_a_peer_cannot_be_reached_is_told_in_plain_words(exc: OSError, said: str) -> None:
    assert unreachable(exc) == "it cannot be reached" + said


async def test_a_host_that_drops_packets_is_not_taken_for_one_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def dropped(*_: object, **__: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(asyncio, "open_connection", dropped)
    one = Peer("one", seeds=(free_port(),))
    async with one.running():
        started = asyncio.get_running_loop().time()
        await until(lambda: bool(one.events))
        assert asyncio.get_running_loop().time() - started < UNAUTHENTICATED_S
    assert CONNECT_S < UNAUTHENTICATED_S
    (refused,) = (event for event in one.events if isinstance(event, JoinRefused))
    assert refused.text == "it cannot be reached"


async def test_who_accepts_and_says_nothing_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        one = Peer("one", seeds=(silent.getsockname()[1],))
        async with one.running():
            await until(lambda: bool(one.events))
    (refused,) = (event for event in one.events if isinstance(event, JoinRefused))
    assert refused.text == "it cannot be reached"


async def test_three_hundred_idle_connections_keep_nobody_out() -> None:
    one = Peer("one", keyring=SEALED)
    async with one.running(), contextlib.AsyncExitStack() as idle:
        for _ in range(300):
            _, writer = await asyncio.open_connection("127.0.0.1", one.port)
            idle.callback(writer.close)
        # From the same address, so once those had their time.
        two = Peer("two", seeds=(one.port,), keyring=SEALED)
        async with two.running():
            await until(lambda: two.node.peer("one") is not None)
            assert len(one.transport._connections) <= 16
