"""What an operator is told when peers do not come together, on both sides, over real sockets on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from weavedns import config
from weavedns.cluster import cluster as cluster_module
from weavedns.cluster.cluster import Cluster, Hooks
from weavedns.control import peers
from weavedns.errors import PeerError
from weavedns.gossip.events import JoinRefused, StrangerRejected
from weavedns.records.catalog import Catalog
from weavedns.turns import Turns

DEADLINE_S = 10.0
# The beginning of a stream, and a datagram, of version 2 of the protocol.
LATER_HELLO = b"WS\x02\x00\x05later" + bytes(16)
LATER_DATAGRAM = b"WD\x02\x00\x05" + bytes(4) + b"later" + bytes(24) + b"\x90"


@pytest.fixture(autouse=True)
def on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "_ANYWHERE", "127.0.0.1")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Daemon:
    """As much of a daemon as meets others."""

    def __init__(self, name: str, *seeds: int, password: str = "", port: int | None = None) -> None:
        self.port = port or free_port()
        self.catalog = Catalog(name)
        self.lost: list[str] = []
        settings = config.settings(
            name=name,
            socket=Path("/none"),
            network=False,
            listen=("127.0.0.1:5353",),
            port=self.port,
            advertise="127.0.0.1",
            peers=tuple(f"127.0.0.1:{seed}" for seed in seeds),
            passwords=(password,) if password else (),
        )
        hooks = Hooks(lambda _: None, lambda _: None, lambda _: None, self.lost.append)
        self.cluster = Cluster(settings, self.catalog, hooks, Turns())

    @property
    def status(self) -> str:
        return peers.text(peers.rows(self.cluster, self.catalog))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Daemon]:
        async with self.cluster.serving():
            yield self


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in many places
            await asyncio.sleep(0.01)


async def test_a_closed_port_is_told_in_plain_words_and_what_is_found_there_later_takes_their_place() -> None:
    closed = free_port()
    async with Daemon("a", closed).running() as a:
        await until(lambda: "peers: the peer" in a.status)
        silent = f"the peer at 127.0.0.1 port {closed} does not answer: connection refused, no peer listens there"
        assert a.status.split("peers: ", 1)[1] == silent + "\n"
        async with Daemon("b", password="correct horse", port=closed).running():
            await until(lambda: "give --password" in a.status)
            assert "does not answer" not in a.status
        # And the other way round.
        await until(lambda: "does not answer" in a.status)
        assert "password" not in a.status


async def test_a_name_that_stands_for_several_addresses_is_dialled_where_peers_listen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed = free_port()
    loop = asyncio.get_running_loop()

    async def both(host: str, port: int, *, family: int = 0, **_: object) -> list[object]:
        v6 = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))
        v4: list[object] = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{host[-1]}", port))]
        return v4 if family == socket.AF_INET else [v6, *v4]

    monkeypatch.setattr(loop, "getaddrinfo", both)
    a = Daemon("a")
    a.cluster.expect([("host1", closed)])
    async with a.running():
        await until(lambda: "does not answer" in a.status)
        assert f"the peer at host1 port {closed} does not answer: connection refused" in a.status
        assert "None" not in a.status


async def test_a_join_of_a_closed_port_fails_with_the_reason() -> None:
    async with Daemon("a").running() as a:
        with pytest.raises(PeerError, match="does not answer: connection refused, no peer listens there"):
            await a.cluster.join([("127.0.0.1", free_port())])


async def test_a_wrong_password_is_told_on_both_sides() -> None:
    async with (
        Daemon("a", password="correct horse").running() as a,
        Daemon("b", a.port, password="battery staple").running() as b,
    ):
        await until(lambda: "it has another password, or another --cluster" in b.status)
        await until(lambda: "packets from 127.0.0.1 are refused: sealed with another password" in a.status)


async def test_a_second_peer_of_the_same_name_is_told_on_both_sides(caplog: pytest.LogCaptureFixture) -> None:
    async with Daemon("a").running() as a, Daemon("a", a.port).running() as b:
        await until(lambda: bool(b.lost))
        assert "knows of another one named a: give this one another --name" in b.lost[0]
        await until(lambda: "has the name a too and is refused: it needs another --name" in caplog.text)
        assert not a.lost


async def test_a_peer_of_another_version_that_is_dialled_is_told_of_by_name_of_the_cure() -> None:
    heard: list[bytes] = []

    async def later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(3))
        writer.write(LATER_HELLO)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(later, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Daemon("a", port).running() as a:
            cure = "it speaks another version of the peer protocol: run the same release of weavedns on all hosts"
            await until(lambda: f"port {port} does not let this peer in: {cure}" in a.status)
    assert heard == [b"WS\x01"]


@pytest.mark.parametrize("by", ["stream", "datagram"])
async def test_a_peer_of_another_version_that_comes_is_told_of_and_can_see_why(by: str) -> None:
    async with Daemon("a").running() as a:
        if by == "stream":
            reader, writer = await asyncio.open_connection("127.0.0.1", a.port)
            writer.write(LATER_HELLO)
            async with asyncio.timeout(DEADLINE_S):
                assert (await reader.read()).startswith(b"WS\x01")
            writer.close()
        else:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as later:
                later.sendto(LATER_DATAGRAM, ("127.0.0.1", a.port))
        refused = "packets from 127.0.0.1 are refused: of another version of the peer protocol: run the same release"
        await until(lambda: refused in a.status)
        assert a.cluster.gossip()["refused"]["other_version"] == 1


def test_refusals_are_kept_for_those_alone_who_are_to_be_joined(caplog: pytest.LogCaptureFixture) -> None:
    a = Daemon("a", 6783)
    caplog.set_level(logging.ERROR)
    for port in range(1, 1_001):
        a.cluster._happened(JoinRefused(("192.0.2.9", port), "it has --cluster x, and this peer --cluster y"))
        a.cluster._happened(StrangerRejected((f"192.0.2.{port % 250}", port), "malformed"))
    a.cluster._happened(JoinRefused(("127.0.0.1", 6783), "no answer in time"))
    assert list(a.cluster.refused()) == [("127.0.0.1", 6783)]
    assert len(a.cluster.strangers()) == 64
    assert "--cluster x" not in caplog.text
