from __future__ import annotations

import asyncio
import errno
import os
import socket

import pytest

from tests.unit.dns.world import DOMAIN, World, exchange, query, serving, until
from weavedns.dns import server as server_module
from weavedns.dns.access import Access
from weavedns.dns.resolver import Resolver
from weavedns.dns.server import DnsServer
from weavedns.dns.wire import Rcode
from weavedns.errors import ListenError
from weavedns.records import names


def made(world: World | None = None) -> DnsServer:
    world = world or World()
    return DnsServer(world.answers, Access(), world.upstreams)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
async def test_a_port_that_is_taken_is_told_with_its_holder(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("0.0.0.0", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ListenError) as error:
            await made().listen("127.0.0.1", port)
        assert f"(process {os.getpid()}), which listens on every address" in str(error.value)
        assert f"127.0.0.1 port {port}" in str(error.value)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("192.0.2.1", "no address of this host"),
        ("0.0.0.0", "means every address"),
        ("::", "means every address"),
        ("eth0", "no IP address"),
    ],
)
async def test_an_address_that_cannot_be_listened_on_is_told_with_the_cure(host: str, words: str) -> None:
    with pytest.raises(ListenError, match=words):
        await made().listen(host, 0)


@pytest.mark.parametrize(("code", "words"), [(errno.EACCES, "no permission"), (errno.EAFNOSUPPORT, "cannot listen")])
def test_other_failures_are_told_in_a_line(code: int, words: str) -> None:
    text = server_module._why(OSError(code, os.strerror(code)), socket.SOCK_DGRAM, "127.0.0.1", 53)
    assert words in text
    assert "\n" not in text


async def test_a_failed_listen_leaves_nothing_behind() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = made()
        with pytest.raises(ListenError):
            await server.listen("127.0.0.1", port)
        assert server.listening == []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", port))


async def test_queries_wait_for_the_start() -> None:
    server = made()
    await server.listen("127.0.0.1", 0)
    try:
        waiting = asyncio.ensure_future(exchange(query("redis.weave.local"), server.listening[0]))
        _, writer = await asyncio.open_connection(*server.listening[0])
        assert server.stats.queries == 0
        await server.start()
        assert await waiting
        writer.close()
        await writer.wait_closed()
    finally:
        await server.close()


async def test_a_server_listens_on_several_addresses_also_after_its_start() -> None:
    async with serving(World()) as server:
        await server.listen("127.0.0.2", server.listening[0][1])
        assert len(server.listening) == 2
        for address in server.listening:
            assert await exchange(query("redis.weave.local"), address)


async def test_a_closed_server_gives_its_addresses_back() -> None:
    async with serving(World()) as server:
        host, port = server.listening[0]
        _, writer = await asyncio.open_connection(host, port)
        await until(lambda: server.stats.tcp_connections == 1)
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind((host, port))
    writer.close()


async def test_a_new_server_can_take_the_port_at_once() -> None:
    async with serving(World()) as server:
        host, port = server.listening[0]
        reader, writer = await asyncio.open_connection(host, port)
        packet = query("redis.weave.local")
        writer.write(len(packet).to_bytes(2, "big") + packet)
        assert await reader.readexactly(2)
    again = made()
    await again.listen(host, port)
    await again.close()
    writer.close()


def test_lookup_gives_what_is_answered_from_our_own_records() -> None:
    assert made().lookup(names.parse("redis", DOMAIN), 1) == [bytes((10, 2, 0, 1))]


def test_counters_go_by_name() -> None:
    assert made().stats.as_dict()["queries"] == 0


async def test_a_packet_that_cannot_be_handled_costs_only_itself_its_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(*_: object, **__: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(Resolver, "resolve", fault)
    async with serving(World()) as server:
        address = server.listening[0]
        for ident in (1, 2):
            reply = await exchange(query("www.example.com", ident=ident), address)
            assert reply == ident.to_bytes(2, "big") + bytes.fromhex("8102") + bytes(8)
        assert (await exchange(query("nobody." + names.render(DOMAIN)), address))[3] & 15 == Rcode.NXDOMAIN
    assert server.stats.servfail == 2
    assert [record.getMessage().startswith("a query could not be handled") for record in caplog.records] == [True]
