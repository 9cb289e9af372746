"""The careful path: what is to become of a query that the responder declined. Decides, and does nothing itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from weavedns.dns import rrset
from weavedns.dns.answers import CNAME_IN, Answers, Found, tail
from weavedns.dns.localhost import Localhost
from weavedns.dns.message import Query, Sections, build_reply, parse_query
from weavedns.dns.upstream import Server, Upstreams
from weavedns.dns.wire import CLASS_IN, MAX_TCP_BYTES, Ede, Flag, Rcode
from weavedns.records import names
from weavedns.records.record import RecordType

# TKEY, TSIG, IXFR, AXFR: no questions about a name's records.
_TRANSACTION_TYPES = range(249, 253)


class Transport(Enum):
    """How a query came, which sets how large the reply may be."""

    UDP = "udp"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class Answer:
    """Send this packet back."""

    packet: bytes
    rcode: Rcode


@dataclass(frozen=True, slots=True)
class Forward:
    """Ask these servers, and send back what they say in at most `limit_bytes`."""

    query: Query
    servers: tuple[Server, ...]
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Send nothing."""


Decision = Answer | Forward | Drop


class Resolver:
    """Takes any packet at all."""

    def __init__(self, answers: Answers, upstreams: Upstreams) -> None:
        self._answers = answers
        self._upstreams = upstreams
        self._localhost = Localhost(answers.zone)

    def resolve(self, packet: bytes, *, recursion: bool, transport: Transport) -> Decision:
        """Decide about a packet whose sender may, or may not, have queries forwarded (`recursion`)."""
        query = parse_query(packet)
        if query is None:
            return Drop()
        limit = MAX_TCP_BYTES if transport is Transport.TCP else query.udp_limit_bytes
        reply = _Replies(query, limit, Flag.RA if recursion else 0)
        return _fault(query, reply) or self._ours(query, reply) or self._others(query, reply, recursion=recursion)

    def _ours(self, query: Query, reply: _Replies) -> Answer | None:
        found = self._answers.find(query.name) or self._localhost.find(query.name)
        if found:
            return reply.found(found, found.authority.negative(len(query.name)))
        if names.parent(query.name) == names.ROOT != query.name:
            # A single label is tried in the domain, and goes nowhere else.
            name = query.name[:-1] + self._answers.domain
            found = self._answers.find(name) if len(name) <= names.MAX_NAME_BYTES else None
            authority = self._answers.authority
            return reply.found(found or Found(None, authority), authority.foreign_negative())
        return None

    def _others(self, query: Query, reply: _Replies, *, recursion: bool) -> Answer | Forward:
        if not recursion:
            return reply.error(Rcode.REFUSED, Ede.PROHIBITED, "your address may not have queries forwarded")
        if not query.flags & Flag.RD:
            return reply.error(Rcode.REFUSED, Ede.NOT_AUTHORITATIVE, "not ours, and recursion is not desired")
        servers = self._upstreams.servers
        if not servers:
            return reply.error(Rcode.SERVFAIL, Ede.NETWORK_ERROR, "no upstream server is known")
        return Forward(query, servers, reply.limit_bytes)


@dataclass(frozen=True, slots=True)
class _Replies:
    """The replies to one query."""

    query: Query
    limit_bytes: int
    flags: int

    def error(self, rcode: Rcode, ede: Ede | None = None, text: str = "") -> Answer:
        extended = None if ede is None else (ede, text)
        packet = build_reply(self.query, limit_bytes=self.limit_bytes, rcode=rcode, flags=self.flags, ede=extended)
        return Answer(packet, rcode)

    def found(self, found: Found, negative: bytes) -> Answer:
        rcode = Rcode.NXDOMAIN if found.node is None else Rcode.NOERROR
        rrset_ = _pick(found, self.query.rtype)
        if rrset_ is None:
            sections = Sections(authority=(negative,))
        else:
            body = rrset_ if isinstance(rrset_, bytes) else rrset_.next()
            sections = Sections(answer=tuple(rrset.records(body)))
        packet = build_reply(
            self.query, sections, limit_bytes=self.limit_bytes, rcode=rcode, flags=self.flags | Flag.AA
        )
        return Answer(packet, rcode)


def _pick(found: Found, rtype: int) -> rrset.RRset | None:
    """The RRset that answers a question for a type at a node."""
    node = found.node
    if node is None:
        return None
    if isinstance(node, bytes):
        return node if rtype in (RecordType.A, RecordType.ANY) else None
    if rtype == RecordType.ANY:
        # RFC 8482 section 4.1: one RRset is answer enough.
        return next(iter(node.values()), None)
    return node.get(tail(rtype)) or node.get(CNAME_IN)


def _fault(query: Query, reply: _Replies) -> Answer | None:
    """The error that a query deserves whatever it asks for."""
    if query.fault:
        return reply.error(query.fault)
    if query.edns and query.edns.version:
        return reply.error(Rcode.BADVERS)
    if query.rtype == RecordType.OPT:
        return reply.error(Rcode.FORMERR)
    if query.rclass != CLASS_IN:
        return reply.error(Rcode.REFUSED, Ede.NOT_SUPPORTED, "only class IN is served")
    if query.rtype in _TRANSACTION_TYPES:
        return reply.error(Rcode.REFUSED, Ede.NOT_SUPPORTED, "no zone transfers and no keys here")
    return None
