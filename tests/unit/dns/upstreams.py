"""Upstream servers on loopback that answer, lie, cut, stall and vanish as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

TTL_S = 60


@dataclass
class Asked:
    """One query that came in, and ways to answer it."""

    packet: bytes
    client: tuple[str, int]
    is_tcp: bool
    send: Callable[[bytes], None]

    @property
    def message(self) -> dns.message.Message:
        return dns.message.from_wire(self.packet)

    @property
    def name(self) -> str:
        return self.message.question[0].name.to_text(omit_final_dot=True).lower()

    def reply(self, *values: str, rcode: int = 0, ttl_s: int = TTL_S) -> dns.message.Message:
        """A right reply with these values, of the type that was asked for."""
        asked = self.message
        reply = dns.message.make_response(asked, recursion_available=True, our_payload=1232)
        reply.set_rcode(dns.rcode.Rcode(rcode))
        question = asked.question[0]
        if values:
            reply.answer.append(dns.rrset.from_text(question.name, ttl_s, "IN", question.rdtype, *values))
        return reply

    def answer(self, *values: str, rcode: int = 0, ttl_s: int = TTL_S) -> None:
        self.send(self.reply(*values, rcode=rcode, ttl_s=ttl_s).to_wire(max_size=65535))


Behaviour = Callable[[Asked], Awaitable[None] | None]


@dataclass
class FakeUpstream:
    """A server and what it was asked."""

    behave: Behaviour
    address: tuple[str, int] = ("", 0)
    asked: list[Asked] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def names(self) -> list[str]:
        return [each.name for each in self.asked]

    def take(self, packet: bytes, client: tuple[str, int], send: Callable[[bytes], None], *, is_tcp: bool) -> None:
        asked = Asked(packet, client, is_tcp, send)
        self.asked.append(asked)
        doing = self.behave(asked)
        if doing is not None:
            task = asyncio.ensure_future(doing)
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, upstream: FakeUpstream) -> None:
        self._upstream = upstream
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._upstream.take(data, addr, lambda packet: self._transport.sendto(packet, addr), is_tcp=False)


@contextlib.asynccontextmanager
async def upstream(behave: Behaviour, *, tcp: bool = True) -> AsyncIterator[FakeUpstream]:
    """A server on a free port of loopback, over UDP and, unless told otherwise, TCP on the same port."""
    loop = asyncio.get_running_loop()
    fake = FakeUpstream(behave)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            size = int.from_bytes(await reader.readexactly(2), "big")
            packet = await reader.readexactly(size)
            sent = asyncio.Event()

            def send(reply: bytes) -> None:
                writer.write(len(reply).to_bytes(2, "big") + reply)
                sent.set()

            fake.take(packet, writer.get_extra_info("peername"), send, is_tcp=True)
            await sent.wait()
            await writer.drain()
        writer.close()

    for _ in range(16):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        fake.address = sock.getsockname()
        try:
            server = await asyncio.start_server(serve, *fake.address) if tcp else None
            break
        except OSError:
            sock.close()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(fake), sock=sock)
    try:
        yield fake
    finally:
        transport.close()
        if server:
            server.close()
        for task in tuple(fake.tasks):
            task.cancel()
        await asyncio.gather(*fake.tasks, return_exceptions=True)


def closed_port() -> tuple[str, int]:
    """An address where nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        address = sock.getsockname()
        return str(address[0]), int(address[1])
