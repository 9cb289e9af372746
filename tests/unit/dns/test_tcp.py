from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator, Callable

import dns.message
import pytest

from tests.unit.dns.world import DEADLINE_S, World, query, record, serving, until
from weavedns.dns import tcp
from weavedns.dns.stats import DnsStats
from weavedns.dns.tcp import TcpListener

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


def framed(packet: bytes) -> bytes:
    return len(packet).to_bytes(2, "big") + packet


async def read(reader: Reader) -> bytes:
    async with asyncio.timeout(DEADLINE_S):
        size = int.from_bytes(await reader.readexactly(2), "big")
        return await reader.readexactly(size)


@contextlib.asynccontextmanager
async def connected(address: tuple[str, int]) -> AsyncIterator[tuple[Reader, Writer]]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def listening(
    ask: tcp.Ask, *, idle_s: float = DEADLINE_S
) -> AsyncIterator[tuple[tuple[str, int], TcpListener]]:
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    listener = TcpListener(sock, ask, DnsStats(), idle_s=idle_s)
    listener.start()
    try:
        yield sock.getsockname(), listener
    finally:
        listener.close()


def echo(message: bytes, _: bytes, __: Callable[[bytes], None]) -> bytes:
    return message


async def test_queries_of_one_connection_are_all_answered() -> None:
    world = World([record("many", "A", f"10.2.1.{number}") for number in range(200)])
    async with serving(world) as server, connected(server.listening[0]) as (reader, writer):
        for ident, name in enumerate(["many.weave.local", "nope.weave.local", "localhost"]):
            writer.write(framed(query(name, ident=ident)))
        replies = [dns.message.from_wire(await read(reader)) for _ in range(3)]
        assert [reply.id for reply in replies] == [0, 1, 2]
        assert len(replies[0].answer[0]) == 200
        assert [reply.rcode().name for reply in replies] == ["NOERROR", "NXDOMAIN", "NOERROR"]
        assert server.stats.tcp_connections == 1


async def test_a_message_may_come_byte_by_byte() -> None:
    async with serving(World()) as server, connected(server.listening[0]) as (reader, writer):
        for byte in framed(query("redis.weave.local")) + framed(query("db.weave.local")):
            writer.write(bytes((byte,)))
            await writer.drain()
        for value in ("10.2.0.1", "10.2.0.5"):
            assert dns.message.from_wire(await read(reader)).answer[0][0].to_text() == value


async def test_thousands_of_pipelined_queries_are_answered_in_order() -> None:
    async with serving(World()) as server, connected(server.listening[0]) as (reader, writer):
        writer.write(b"".join(framed(query("redis.weave.local", ident=ident)) for ident in range(5000)))
        assert [int.from_bytes((await read(reader))[:2], "big") for _ in range(5000)] == list(range(5000))


async def test_a_burst_on_one_connection_leaves_room_for_others() -> None:
    seen: list[bytes] = []

    def ask(message: bytes, _: bytes, __: Callable[[bytes], None]) -> bytes:
        seen.append(message)
        return message

    async with (
        listening(ask) as (address, _),
        connected(address) as (_, busy),
        connected(address) as (reader, writer),
    ):
        busy.write(framed(b"busy") * 2000)
        writer.write(framed(b"other"))
        assert await read(reader) == b"other"
        await until(lambda: len(seen) == 2001)
        assert seen.index(b"other") < 2000


async def test_what_needs_no_answer_gets_none_and_does_not_disturb() -> None:
    async with serving(World()) as server, connected(server.listening[0]) as (reader, writer):
        writer.write(framed(b"") + framed(b"runt") + framed(query("redis.weave.local", flags=0x8100)))
        writer.write(framed(query("redis.weave.local", ident=7)))
        assert (await read(reader))[:2] == b"\0\7"
        assert server.stats.dropped == 3


async def test_who_has_finished_asking_still_gets_the_answers() -> None:
    later: list[Callable[[bytes], None]] = []

    def ask(_: bytes, __: bytes, send: Callable[[bytes], None]) -> None:
        later.append(send)

    async with listening(ask) as (address, _), connected(address) as (reader, writer):
        writer.write(framed(b"one") + framed(b"two"))
        writer.write_eof()
        await until(lambda: len(later) == 2)
        later[1](b"second")
        later[0](b"first")
        assert [await read(reader), await read(reader)] == [b"second", b"first"]
        assert await reader.read() == b""


async def test_an_idle_connection_is_closed() -> None:
    async with listening(echo, idle_s=0.05) as (address, _), connected(address) as (reader, _):
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(DEADLINE_S):
                assert await reader.read() == b""


async def test_pieces_of_a_message_do_not_keep_a_connection_open() -> None:
    async with listening(echo, idle_s=0.1) as (address, _), connected(address) as (reader, writer):
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(DEADLINE_S):
                while not reader.at_eof():
                    writer.write(b"\xff")
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.01):
                            await reader.read(1)


async def test_a_connection_that_waits_for_an_answer_is_not_idle() -> None:
    later: list[Callable[[bytes], None]] = []

    def ask(_: bytes, __: bytes, send: Callable[[bytes], None]) -> None:
        asyncio.get_running_loop().call_later(0.3, send, b"late")
        later.append(send)

    async with listening(ask, idle_s=0.05) as (address, _), connected(address) as (reader, writer):
        writer.write(framed(b"x"))
        assert await read(reader) == b"late"


async def test_one_client_has_only_so_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "MAX_CONNECTIONS_OF_CLIENT", 2)
    async with serving(World()) as server:
        async with connected(server.listening[0]) as (reader, writer), connected(server.listening[0]):
            await until(lambda: server.stats.tcp_connections == 2)
            async with connected(server.listening[0]) as (refused, _):
                with contextlib.suppress(ConnectionError):
                    assert await refused.read() == b""
            assert server.stats.tcp_refused == 1
            writer.write(framed(query("redis.weave.local")))
            assert await read(reader)
        await until(lambda: not server._listeners[0].tcp._of_client)
        async with connected(server.listening[0]) as (reader, writer):
            writer.write(framed(query("redis.weave.local")))
            assert await read(reader)


async def test_there_are_only_so_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "MAX_CONNECTIONS", 1)
    async with serving(World()) as server, connected(server.listening[0]):
        await until(lambda: server.stats.tcp_connections == 1)
        async with connected(server.listening[0]) as (refused, _):
            with contextlib.suppress(ConnectionError):
                assert await refused.read() == b""


async def test_a_slow_reader_is_not_read_from_and_stalls_nobody() -> None:
    large = bytes(60_000)
    asked = 0

    def ask(message: bytes, _: bytes, __: Callable[[bytes], None]) -> bytes:
        nonlocal asked
        asked += 1
        return large if message == b"large" else message

    async with listening(ask) as (address, listener):
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.setblocking(False)
            await asyncio.get_running_loop().sock_connect(slow, address)
            sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(slow, framed(b"large") * 20_000))
            async with connected(address) as (reader, writer):
                for _ in range(50):
                    writer.write(framed(b"quick"))
                    assert await read(reader) == b"quick"
            (connection,) = (each for each in listener._open if each._stalled)
            assert asked < 1000
            assert connection._transport.get_write_buffer_size() < 4 * 1024 * 1024
            assert len(connection._unread) < 1024 * 1024
            sending.cancel()


async def test_a_reader_that_never_reads_is_cut_off() -> None:
    large = bytes(60_000)
    async with listening(lambda *_: large, idle_s=0.2) as (address, listener):
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.setblocking(False)
            await asyncio.get_running_loop().sock_connect(slow, address)
            await asyncio.get_running_loop().sock_sendall(slow, framed(b"x") * 1000)
            await until(lambda: any(each._stalled for each in listener._open))
            await until(lambda: not listener._open)


async def test_a_slow_reader_that_reads_on_gets_everything() -> None:
    large = bytes(60_000)
    async with listening(lambda *_: large) as (address, listener), connected(address) as (reader, writer):
        writer.write(framed(b"x") * 100)
        await until(lambda: any(each._stalled for each in listener._open))
        for _ in range(100):
            assert len(await read(reader)) == 60_000


async def test_only_so_many_queries_of_a_connection_wait() -> None:
    later: list[Callable[[bytes], None]] = []

    def ask(_: bytes, __: bytes, send: Callable[[bytes], None]) -> None:
        later.append(send)

    async with listening(ask) as (address, _), connected(address) as (reader, writer):
        writer.write(framed(b"x") * 100)
        await until(lambda: len(later) == 64)
        for number in range(100):
            await until(lambda: len(later) > number)  # noqa: B023  (waited for at once)
            later[number](b"%d" % number)
            assert await read(reader) == b"%d" % number


async def test_a_reply_that_comes_after_the_client_left_is_dropped() -> None:
    later: list[Callable[[bytes], None]] = []

    def ask(_: bytes, __: bytes, send: Callable[[bytes], None]) -> None:
        later.append(send)

    async with listening(ask) as (address, listener):
        async with connected(address) as (_, writer):
            writer.write(framed(b"x"))
            await until(lambda: len(later) == 1)
            listener.close()
        await until(lambda: not listener._open)
        later[0](b"late")


async def test_no_answer_for_later_frees_its_place() -> None:
    later: list[Callable[[bytes], None]] = []

    def ask(_: bytes, __: bytes, send: Callable[[bytes], None]) -> None:
        later.append(send)

    async with listening(ask) as (address, listener), connected(address) as (_, writer):
        writer.write(framed(b"x"))
        await until(lambda: len(later) == 1)
        later[0](b"")
        (connection,) = listener._open
        assert connection._waiting == 0


async def test_out_of_files_it_says_so_once_accepts_nothing_for_a_moment_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tcp, "ACCEPT_AGAIN_S", 0.01)
    tries: list[OSError] = []
    waits = TcpListener._wait_for_room

    def wait(self: TcpListener, exc: OSError) -> None:
        tries.append(exc)
        waits(self, exc)

    monkeypatch.setattr(TcpListener, "_wait_for_room", wait)
    async with listening(echo) as (address, _):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as client:
            client.setblocking(False)
            # It has the last number below the limit.
            resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))
            try:
                await asyncio.get_running_loop().sock_connect(client, address)
                await until(lambda: len(tries) == 5)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await asyncio.get_running_loop().sock_sendall(client, framed(b"hello"))
            async with asyncio.timeout(DEADLINE_S):
                assert await asyncio.get_running_loop().sock_recv(client, 100) == framed(b"hello")
    (told,) = caplog.records
    assert told.exc_info is None
    assert "could not be accepted: Too many open files" in told.getMessage()
