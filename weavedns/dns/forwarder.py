"""Asks upstreams and brings back what they say. Chooses no upstream (`resolver` does) and reads no record."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable

import asyncio_dgram

from weavedns.dns.message import Query, Reply, build_reply, build_upstream_query, parse_reply, relay
from weavedns.dns.resolver import Forward
from weavedns.dns.stats import DnsStats
from weavedns.dns.upstream import Server
from weavedns.dns.wire import MAX_TCP_BYTES, MAX_UDP_BYTES, MIN_UDP_BYTES, Ede, Flag, Rcode
from weavedns.errors import WireError

MAX_IN_FLIGHT = 256
TIMEOUT_S = 4.0
# Every server is asked at least this often within the time, as a packet may be lost.
_ROUNDS = 2
# Packets that answer something else, before the attempt is given up: somebody is guessing.
_MAX_WRONG = 16
_PREFIX_BYTES = 2
_OTHER_SERVER_MAY_KNOW = (Rcode.SERVFAIL, Rcode.REFUSED, Rcode.NOTIMP, Rcode.FORMERR)
_MAX_RCODE = 0xF


class Forwarder:
    """Forwards queries for which there is room, each in a task of its own."""

    def __init__(self, stats: DnsStats, *, max_in_flight: int = MAX_IN_FLIGHT, timeout_s: float = TIMEOUT_S) -> None:
        self._stats = stats
        self._max_in_flight = max_in_flight
        self._timeout_s = timeout_s
        self._tasks: set[asyncio.Task[None]] = set()

    def forward(self, wanted: Forward, send: Callable[[bytes], None]) -> bytes | None:
        """Have a query answered through `send`, called once; or return the reply at once when there is no room."""
        if len(self._tasks) >= self._max_in_flight:
            return self._failed(wanted, Ede.OTHER, "too many queries are being forwarded")
        self._stats.forwarded += 1
        task = asyncio.get_running_loop().create_task(self._serve(wanted, send))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return None

    async def close(self) -> None:
        """Give up what is in flight."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, wanted: Forward, send: Callable[[bytes], None]) -> None:
        packet = b""
        try:
            packet = await self._answer(wanted)
        finally:
            # Also when it is given up: whoever waits for this reply counts on the call.
            send(packet)

    async def _answer(self, wanted: Forward) -> bytes:
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await self._race(wanted)
        except TimeoutError:
            reply = None
        if reply is None:
            self._stats.upstream_failures += 1
            return self._failed(wanted, Ede.NO_REACHABLE_AUTHORITY, "no upstream server has answered")
        packet = relay(wanted.query, reply, limit_bytes=wanted.limit_bytes, flags=Flag.RA)
        if int.from_bytes(packet[2:4], "big") & Flag.TC:
            self._stats.truncated += 1
        return packet

    async def _race(self, wanted: Forward) -> Reply | None:
        """Ask one server after the other; a slow one may still win while the next is being asked.

        A server that says that it cannot answer is believed only when no other can.
        """
        attempts = list(wanted.servers * _ROUNDS)
        patience_s = self._timeout_s / len(attempts)
        running: set[asyncio.Task[tuple[Server, Reply | None]]] = set()
        refusal: Reply | None = None
        try:
            while attempts or running:
                if attempts:
                    running.add(asyncio.ensure_future(self._attempt(wanted, attempts.pop(0))))
                done, running = await asyncio.wait(
                    running, timeout=patience_s if attempts else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    server, reply = task.result()
                    if reply and reply.rcode not in _OTHER_SERVER_MAY_KNOW:
                        return reply
                    if reply:
                        refusal = reply
                        attempts = [other for other in attempts if other != server]
            return refusal
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _attempt(self, wanted: Forward, server: Server) -> tuple[Server, Reply | None]:
        query = wanted.query
        try:
            reply = await _ask_udp(query, server, edns=True)
            if reply and reply.rcode == Rcode.FORMERR and not reply.has_opt:
                # RFC 6891 section 7: a server from before EDNS.
                reply = await _ask_udp(query, server, edns=False)
            if reply and reply.flags & Flag.TC and _may_fit(reply, wanted.limit_bytes):
                whole = await _ask_tcp(query, server)
                reply = whole if whole or wanted.limit_bytes == MAX_TCP_BYTES else reply
        except (OSError, EOFError, WireError, asyncio_dgram.TransportClosed):
            return server, None
        return server, reply if reply and reply.rcode <= _MAX_RCODE else None

    def _failed(self, wanted: Forward, ede: Ede, text: str) -> bytes:
        self._stats.servfail += 1
        return build_reply(
            wanted.query, limit_bytes=wanted.limit_bytes, rcode=Rcode.SERVFAIL, flags=Flag.RA, ede=(ede, text)
        )


def _may_fit(reply: Reply, limit_bytes: int) -> bool:
    """Whether the whole of a truncated reply may fit into what the asker takes.

    It does not when the server had as much room as the asker has: what the server cut is larger then.
    """
    had_bytes = MAX_UDP_BYTES if reply.has_opt else MIN_UDP_BYTES
    return limit_bytes > had_bytes


async def _ask_udp(query: Query, server: Server, *, edns: bool) -> Reply | None:
    """Ask once from a fresh socket, so from a fresh random port, with a fresh ID (RFC 5452 section 9.2)."""
    ident = secrets.randbelow(65536)
    stream = await asyncio_dgram.connect(server)
    try:
        await stream.send(build_upstream_query(query, ident, edns=edns))
        for _ in range(_MAX_WRONG):
            packet = await _receive(stream)
            with contextlib.suppress(WireError):
                return parse_reply(packet, query, ident)
        return None
    finally:
        stream.close()


async def _receive(stream: asyncio_dgram.DatagramClient) -> bytes:
    """Wait for a packet. A closed port does not wake the waiting, so look after it, less and less often."""
    pause_s = 0.005
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                packet, _ = await stream.recv()
                return bytes(packet)
        pause_s *= 2


async def _ask_tcp(query: Query, server: Server) -> Reply | None:
    ident = secrets.randbelow(65536)
    reader, writer = await asyncio.open_connection(*server)
    try:
        packet = build_upstream_query(query, ident)
        writer.write(len(packet).to_bytes(_PREFIX_BYTES, "big") + packet)
        size = int.from_bytes(await reader.readexactly(_PREFIX_BYTES), "big")
        return parse_reply(await reader.readexactly(size), query, ident)
    finally:
        writer.close()
