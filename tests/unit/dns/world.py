"""A small world of names to ask about, and servers to ask."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from ipaddress import IPv4Network, IPv6Address

import dns.message
import dns.rdatatype

from weavedns.dns.access import Access
from weavedns.dns.answers import Answers, Zone
from weavedns.dns.resolver import Answer, Drop, Forward, Onward, Resolver, Transport
from weavedns.dns.responder import Responder
from weavedns.dns.server import DnsServer
from weavedns.dns.upstream import Upstreams
from weavedns.records import names, rdata
from weavedns.records.catalog import Catalog
from weavedns.records.record import Origin, Record, type_code

DOMAIN = names.parse("weave.local.")
DEADLINE_S = 10.0


def zone(weave_range: str = "10.2.0.0/16", ttl_s: int = 1) -> Zone:
    return Zone(DOMAIN, IPv4Network(weave_range), names.parse("weavedns", DOMAIN), ttl_s)


def record(name: str, rtype: str, *fields: str, ttl_s: int = 1, holder: str = "holder") -> Record:
    code = type_code(rtype)
    wire = names.parse(name, DOMAIN)
    return Record("host1", holder, wire, code, rdata.parse(code, fields, DOMAIN), ttl_s, Origin.CONTAINER)


USUAL = (
    record("weavedns", "A", "10.2.254.1"),
    record("redis", "A", "10.2.0.1"),
    record("web", "A", "10.2.0.2"),
    record("web", "A", "10.2.0.3"),
    record("web", "A", "10.2.0.4"),
    record("db", "A", "10.2.0.5"),
    record("db", "AAAA", "2001:db8::5"),
    record("alias", "A", "10.2.0.1"),
    record("other", "A", "192.0.2.10"),
    record("v6", "AAAA", "2001:db8::6"),
    record("app.project", "A", "10.2.0.7"),
    record("_http._tcp.web", "SRV", "0", "1", "80", "web"),
    record("text", "TXT", "one", "two"),
    record("mail", "MX", "10", "web"),
    record("link", "CNAME", "redis"),
    record("odd", "TYPE65", r"\#", "3", "000100"),
)


class World:
    """Answers over a catalog, with both paths to them."""

    def __init__(
        self, records: Iterable[Record] = USUAL, *, weave_range: str = "10.2.0.0/16", ttl_s: int = 1
    ) -> None:
        self.catalog = Catalog()
        self.answers = Answers(zone(weave_range, ttl_s), self.catalog)
        self.upstreams = Upstreams()
        self.responder = Responder(self.answers)
        self.resolver = Resolver(self.answers, self.upstreams)
        for each in records:
            self.add(each)

    def add(self, *records: Record) -> None:
        self.answers.apply([change for each in records for change in self.catalog.add(each)])

    def remove(self, *records: Record) -> None:
        self.answers.apply([change for each in records for change in self.catalog.remove(each)])

    def careful(
        self, packet: bytes, *, recursion: bool = True, transport: Transport = Transport.UDP
    ) -> bytes | Forward | Onward | None:
        match self.resolver.resolve(packet, recursion=recursion, transport=transport):
            case Answer(reply):
                return reply
            case Drop():
                return None
            case forward:
                return forward

    def ask(
        self, name: str, rtype: str = "A", *, recursion: bool = True, transport: Transport = Transport.UDP
    ) -> dns.message.Message:
        """The answer of the path that a listener would take."""
        packet = query(name, rtype)
        fast = self.responder.answer(packet, recursion=recursion)
        reply = fast or self.careful(packet, recursion=recursion, transport=transport)
        assert isinstance(reply, bytes)
        return dns.message.from_wire(reply)

    def values(self, name: str, rtype: str = "A") -> list[str]:
        return [item.to_text() for rrset in self.ask(name, rtype).answer for item in rrset]

    def values_in_order(self, name: str, rtype: str = "A") -> list[str]:
        """The values as they stand on the wire, which a parsed RRset does not promise."""
        packet = query(name, rtype)
        reply = self.responder.answer(packet, recursion=True) or self.careful(packet)
        assert isinstance(reply, bytes)
        message = dns.message.from_wire(reply, one_rr_per_rrset=True)
        return [rrset[0].to_text() for rrset in message.answer]


def query(name: str, rtype: str = "A", *, flags: int = 0x0100, ident: int = 0x1234) -> bytes:
    """A plain query in wire form, with the letters as they are given."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.rstrip(".").split(".") if label)
    head = b"".join(value.to_bytes(2, "big") for value in (ident, flags, 1, 0, 0, 0))
    return head + labels + b"\0" + int(dns.rdatatype.from_text(rtype)).to_bytes(2, "big") + b"\0\1"


def opt(size: int = 1232, *, version: int = 0, dnssec_ok: bool = False, options: bytes = b"") -> bytes:
    flags = b"\x80\0" if dnssec_ok else b"\0\0"
    return (
        b"\0\0\x29"
        + size.to_bytes(2, "big")
        + bytes((0, version))
        + flags
        + len(options).to_bytes(2, "big")
        + options
    )


def with_records(packet: bytes, *additional: bytes) -> bytes:
    count = int.from_bytes(packet[10:12], "big") + len(additional)
    return packet[:10] + count.to_bytes(2, "big") + packet[12:] + b"".join(additional)


@contextlib.asynccontextmanager
async def serving(world: World, *, access: Access | None = None, host: str = "127.0.0.1") -> AsyncIterator[DnsServer]:
    server = DnsServer(world.answers, access or Access(), world.upstreams)
    await server.listen(host, 0)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


async def exchange(packet: bytes, address: tuple[str, int], *, source: str = "127.0.0.1") -> bytes:
    """Send a datagram and give what comes back."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((source, 0))
        sock.connect(address)
        async with asyncio.timeout(DEADLINE_S):
            await loop.sock_sendall(sock, packet)
            return await loop.sock_recv(sock, 65535)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  (a condition of a counter, with a deadline)
            await asyncio.sleep(0.001)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind((str(IPv6Address(1)), 0))
    except OSError:
        return False
    return True
