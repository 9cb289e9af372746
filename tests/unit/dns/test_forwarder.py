from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import cast

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from tests.unit.dns.world import DEADLINE_S, World, exchange, opt, query, serving, until, with_records

Message = dns.message.Message
# What an upstream makes of a query: packets to send back, at once.
Behave = Callable[[Message], list[bytes]]


def answer(asked: Message, *values: str, rcode: dns.rcode.Rcode = dns.rcode.NOERROR, flags: int = 0) -> bytes:
    reply = dns.message.make_response(asked)
    reply.flags |= dns.flags.RA | flags
    reply.set_rcode(rcode)
    if values:
        name = asked.question[0].name
        reply.answer.append(dns.rrset.from_text(name, 60, "IN", asked.question[0].rdtype, *values))
    return reply.to_wire(max_size=65535)


def good(asked: Message) -> list[bytes]:
    return [answer(asked, "192.0.2.1")]


def silent(_: Message) -> list[bytes]:
    return []


class Upstream(asyncio.DatagramProtocol):
    """A name server for tests: behaves one way over UDP and may answer over TCP."""

    def __init__(self, behave: Behave, over_tcp: Behave | None) -> None:
        self._behave = behave
        self._over_tcp = over_tcp
        self.address = ("", 0)
        self.asked: list[Message] = []
        self.asked_over_tcp: list[Message] = []
        self.ports: list[int] = []
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        asked = dns.message.from_wire(data)
        self.asked.append(asked)
        self.ports.append(addr[1])
        for packet in self._behave(asked):
            self._transport.sendto(packet, addr)

    async def serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, ConnectionError):
            size = int.from_bytes(await reader.readexactly(2), "big")
            asked = dns.message.from_wire(await reader.readexactly(size))
            self.asked_over_tcp.append(asked)
            for packet in self._over_tcp(asked) if self._over_tcp else []:
                writer.write(len(packet).to_bytes(2, "big") + packet)
        writer.close()


@contextlib.asynccontextmanager
async def upstream(behave: Behave, over_tcp: Behave | None = None) -> AsyncIterator[Upstream]:
    made = Upstream(behave, over_tcp)
    udp, tcp = free_pair()
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: made, sock=udp)
    server = await asyncio.start_server(made.serve_tcp, sock=tcp)
    made.address = udp.getsockname()
    try:
        yield made
    finally:
        transport.close()
        server.close()
        await server.wait_closed()


def free_pair() -> tuple[socket.socket, socket.socket]:
    """Sockets for UDP and TCP with the same port, which may be taken for the other one at times."""
    while True:
        udp, tcp = socket.socket(type=socket.SOCK_DGRAM), socket.socket()
        try:
            udp.bind(("127.0.0.1", 0))
            tcp.bind(udp.getsockname())
        except OSError:
            udp.close()
            tcp.close()
            continue
        udp.setblocking(False)
        return udp, tcp


async def forwarded(packet: bytes, *servers: Upstream | tuple[str, int], tcp: bool = False) -> Message:
    """What a server of ours with these upstreams answers."""
    world = World()
    world.upstreams.replace([server.address if isinstance(server, Upstream) else server for server in servers])
    async with serving(world) as ours:
        address = ours.listening[0]
        reply = await exchange_tcp(packet, address) if tcp else await exchange(packet, address)
    return dns.message.from_wire(reply)


async def exchange_tcp(packet: bytes, address: tuple[str, int]) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    try:
        async with asyncio.timeout(DEADLINE_S):
            writer.write(len(packet).to_bytes(2, "big") + packet)
            size = int.from_bytes(await reader.readexactly(2), "big")
            return await reader.readexactly(size)
    finally:
        writer.close()
        await writer.wait_closed()


def values(reply: Message) -> list[str]:
    return [item.to_text() for rrset in reply.answer for item in rrset]


@pytest.fixture
def closed_port() -> tuple[str, int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return ("127.0.0.1", int(probe.getsockname()[1]))


async def test_a_query_is_forwarded_and_the_reply_made_our_own() -> None:
    async with upstream(lambda asked: [answer(asked, "192.0.2.1", flags=dns.flags.AA)]) as server:
        reply = await forwarded(query("ExAmPlE.org", ident=77), server)
    assert (reply.id, values(reply)) == (77, ["192.0.2.1"])
    assert reply.question[0].name.to_text() == "ExAmPlE.org."
    assert reply.flags == dns.flags.QR | dns.flags.RD | dns.flags.RA
    assert reply.edns == -1


async def test_every_query_has_a_fresh_port_and_id_and_our_own_opt() -> None:
    async with upstream(good) as server:
        for _ in range(20):
            await forwarded(with_records(query("example.org", ident=1), opt(options=b"\0\x0a\0\x08cookie!!")), server)
    assert len(set(server.ports)) > 10
    assert len({asked.id for asked in server.asked}) > 10
    assert all((asked.edns, asked.payload, asked.options) == (0, 1232, ()) for asked in server.asked)


async def test_replies_that_answer_something_else_are_passed_over() -> None:
    def lying(asked: Message) -> list[bytes]:
        wrong_id, wrong_name = dns.message.from_wire(asked.to_wire()), dns.message.make_query("evil.org", "A")
        wrong_id.id = asked.id ^ 1
        wrong_name.id = asked.id
        lies = [answer(wrong_id, "192.0.2.66"), answer(wrong_name, "192.0.2.66"), asked.to_wire(), b"", b"\0" * 11]
        return [*lies, answer(asked, "192.0.2.1")]

    async with upstream(lying) as server:
        assert values(await forwarded(query("example.org"), server)) == ["192.0.2.1"]


async def test_a_reply_from_another_address_is_not_seen() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        server: Upstream

        def also_from_elsewhere(asked: Message) -> list[bytes]:
            stranger.sendto(answer(asked, "192.0.2.66"), ("127.0.0.1", server.ports[-1]))
            return [answer(asked, "192.0.2.1")]

        async with upstream(also_from_elsewhere) as server:
            assert values(await forwarded(query("example.org"), server)) == ["192.0.2.1"]


async def test_lies_do_not_end_the_wait_for_the_right_reply() -> None:
    async with upstream(lambda asked: [b"lie"] * 100 + good(asked)) as server:
        assert values(await forwarded(query("example.org"), server)) == ["192.0.2.1"]


async def test_the_next_server_is_asked_when_one_is_silent() -> None:
    async with upstream(silent) as first, upstream(good) as second:
        assert values(await forwarded(query("example.org"), first, second)) == ["192.0.2.1"]
        assert first.asked


async def test_the_next_server_is_asked_at_once_when_a_port_is_closed(closed_port: tuple[str, int]) -> None:
    async with upstream(good) as second:
        async with asyncio.timeout(2):
            assert values(await forwarded(query("example.org"), closed_port, second)) == ["192.0.2.1"]


async def test_a_lost_packet_is_sent_again() -> None:
    lost: list[Message] = []

    def loses_the_first(asked: Message) -> list[bytes]:
        lost.append(asked)
        return [] if len(lost) == 1 else good(asked)

    async with upstream(loses_the_first) as server:
        assert values(await forwarded(query("example.org"), server)) == ["192.0.2.1"]


async def test_when_nobody_answers_it_is_a_server_failure_in_time(closed_port: tuple[str, int]) -> None:
    async with upstream(silent) as server:
        packet = with_records(query("example.org"), opt())
        began = asyncio.get_running_loop().time()
        reply = await forwarded(packet, server, closed_port)
        assert asyncio.get_running_loop().time() - began < 5
    assert reply.rcode() == dns.rcode.SERVFAIL
    assert [int(option.code) for option in reply.options if isinstance(option, dns.edns.EDEOption)] == [22]


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
async def test_a_server_that_cannot_is_believed_only_when_no_other_can(rcode: dns.rcode.Rcode) -> None:
    def cannot(asked: Message) -> list[bytes]:
        return [answer(asked, rcode=rcode)]

    async with upstream(cannot) as first, upstream(good) as second:
        assert values(await forwarded(query("example.org"), first, second)) == ["192.0.2.1"]
        assert len(first.asked) == 1
        assert (await forwarded(query("example.org"), first)).rcode() == rcode


async def test_nxdomain_is_passed_on() -> None:
    async with upstream(lambda asked: [answer(asked, rcode=dns.rcode.NXDOMAIN)]) as server:
        assert (await forwarded(query("example.org"), server)).rcode() == dns.rcode.NXDOMAIN


async def test_an_upstream_without_edns_is_asked_without_it() -> None:
    def from_before_edns(asked: Message) -> list[bytes]:
        if asked.edns >= 0:
            return [asked.id.to_bytes(2, "big") + b"\x80\x01" + b"\0" * 8]
        return good(asked)

    async with upstream(from_before_edns) as server:
        assert values(await forwarded(query("example.org"), server)) == ["192.0.2.1"]


MANY = [f"192.0.2.{number}" for number in range(200)]


def cut(asked: Message) -> list[bytes]:
    return [answer(asked, flags=dns.flags.TC)]


def whole(asked: Message) -> list[bytes]:
    return [answer(asked, *MANY)]


async def test_who_asks_by_tcp_gets_the_whole_of_a_truncated_reply() -> None:
    async with upstream(cut, whole) as server:
        reply = await forwarded(query("example.org"), server, tcp=True)
    assert sorted(values(reply)) == sorted(MANY)
    assert not reply.flags & dns.flags.TC


async def test_who_asks_by_udp_is_told_of_the_truncation() -> None:
    async with upstream(cut, whole) as server:
        for packet in (query("example.org"), with_records(query("example.org"), opt(4096))):
            assert (await forwarded(packet, server)).flags & dns.flags.TC


async def test_a_reply_cut_at_512_bytes_is_asked_for_again_when_more_fits() -> None:
    def cut_without_edns(asked: Message) -> list[bytes]:
        asked.use_edns(edns=False)
        return cut(asked)

    async with upstream(cut_without_edns, lambda asked: [answer(asked, *MANY[:50])]) as server:
        reply = await forwarded(with_records(query("example.org"), opt(1232)), server)
    assert len(values(reply)) == 50
    assert not reply.flags & dns.flags.TC


async def test_a_truncated_reply_without_tcp_is_passed_on_or_the_next_server_asked() -> None:
    async with upstream(cut, silent) as first, upstream(good) as second:
        assert values(await forwarded(query("example.org"), first, second, tcp=True)) == ["192.0.2.1"]
        assert (await forwarded(query("example.org"), first)).flags & dns.flags.TC


async def test_a_reply_larger_than_the_asker_takes_is_cut() -> None:
    async with upstream(lambda asked: [answer(asked, *MANY[:60])]) as server:
        reply = await forwarded(query("example.org"), server)
    assert reply.flags & dns.flags.TC
    assert 20 < len(values(reply)) < 60


async def test_our_own_names_are_answered_while_upstreams_are_silent() -> None:
    world = World()
    async with upstream(silent) as server, serving(world) as ours:
        world.upstreams.replace([server.address])
        address = ours.listening[0]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            for number in range(1000):
                asker.sendto(query(f"n{number}.example.org", ident=number), address)
            async with asyncio.timeout(2):
                assert dns.message.from_wire(await exchange(query("redis.weave.local"), address)).answer
                # Past the bound a query fails at once.
                asker.setblocking(False)
                refused = await asyncio.get_running_loop().sock_recv(asker, 2000)
        assert dns.message.from_wire(refused).rcode() == dns.rcode.SERVFAIL


async def test_closing_gives_up_what_is_in_flight() -> None:
    world = World()
    async with upstream(silent) as server:
        async with serving(world) as ours:
            world.upstreams.replace([server.address])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
                asker.sendto(query("example.org"), ours.listening[0])
            await until(lambda: bool(server.asked))
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 1
