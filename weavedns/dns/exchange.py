"""Asks one upstream one question, over UDP or TCP, and waits for the reply to it. Chooses nobody, remembers nothing.

Each question has a fresh socket, and with it a fresh random port that hears only its server, and a fresh random ID
(RFC 5452 section 9). What is no reply to the question is as if it had never come: whoever guesses must not be able to
end the wait for the right reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets

import asyncio_dgram

from weavedns.dns.message import Query, Reply, build_upstream_query, parse_reply
from weavedns.dns.upstream import Server
from weavedns.dns.wire import Flag, Rcode
from weavedns.errors import WireError

# How long the whole of a reply may take that was cut over UDP.
TCP_S = 2.0
_PREFIX_BYTES = 2
_FIRST_LOOK_S = 0.002
_LAST_LOOK_S = 0.25
_EDNS_NOT_KNOWN = (Rcode.FORMERR, Rcode.NOTIMP, Rcode.BADVERS)


async def ask_udp(query: Query, server: Server, *, edns: bool) -> Reply:
    """Ask once; raises OSError when the server cannot be reached. Waits for ever: the caller sets the limit."""
    ident = secrets.randbelow(65536)
    stream = await asyncio_dgram.connect(server)
    try:
        await stream.send(build_upstream_query(query, ident, edns=edns))
        while True:
            packet = await _receive(stream)
            with contextlib.suppress(WireError):
                return parse_reply(packet, query, ident)
    except asyncio_dgram.TransportClosed as exc:
        raise OSError("the socket to the upstream server was closed") from exc
    finally:
        stream.close()


async def ask_tcp(query: Query, server: Server, *, edns: bool) -> Reply:
    """Ask over TCP; raises OSError, also for a server that hangs up or answers something else."""
    ident = secrets.randbelow(65536)
    reader, writer = await asyncio.open_connection(*server)
    try:
        packet = build_upstream_query(query, ident, edns=edns)
        writer.write(len(packet).to_bytes(_PREFIX_BYTES, "big") + packet)
        size = int.from_bytes(await reader.readexactly(_PREFIX_BYTES), "big")
        return parse_reply(await reader.readexactly(size), query, ident)
    except (EOFError, WireError) as exc:
        raise OSError("no reply over TCP") from exc
    finally:
        writer.close()


def means_no_edns(reply: Reply) -> bool:
    """Whether a reply to a query with EDNS says that the server does not know that (RFC 6891 section 7)."""
    return reply.rcode in _EDNS_NOT_KNOWN and not reply.has_opt


async def complete(query: Query, server: Server, reply: Reply, *, edns: bool) -> Reply:
    """The whole of a reply that was cut (RFC 2181 section 9); the cut one when it is not to be had."""
    if not reply.flags & Flag.TC:
        return reply
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(TCP_S):
            whole = await ask_tcp(query, server, edns=edns)
            return reply if whole.flags & Flag.TC else whole
    return reply


async def _receive(stream: asyncio_dgram.DatagramClient) -> bytes:
    """Wait for a packet. A closed port does not wake the waiting, so look after it, less and less often."""
    pause_s = _FIRST_LOOK_S
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                packet, _ = await stream.recv()
                return bytes(packet)
        pause_s = min(pause_s * 2, _LAST_LOOK_S)
