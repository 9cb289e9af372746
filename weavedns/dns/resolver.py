"""The careful path: what is to become of a query that the responder declined. Decides, and does nothing itself.

A name of ours is the same for everybody. Other names are looked for among those that the asker alone has (`private`)
before a single label is tried in the domain and anything else is forwarded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import ip_address

from weavedns.dns import opts, rrset
from weavedns.dns.answers import CNAME_IN, Answers, Found, tail
from weavedns.dns.compose import MAX_ALIASES, Composed, compose
from weavedns.dns.cookies import Cookies, Verdict
from weavedns.dns.localhost import Localhost
from weavedns.dns.message import Query, build_reply, parse_query
from weavedns.dns.onward import Forward, Onward, onward
from weavedns.dns.private import Data, NoPrivateNames, PrivateNames
from weavedns.dns.tree import EMPTY, RRsets
from weavedns.dns.upstream import DNS_PORT, Server, Upstreams
from weavedns.dns.wire import CLASS_IN, MAX_TCP_BYTES, Ede, Flag, Rcode
from weavedns.records import names
from weavedns.records.record import RecordType

__all__ = ["Answer", "Decision", "Drop", "Forward", "Onward", "Resolver", "Transport"]

# As many servers of a part of the domain as anybody would wait for.
_MAX_DELEGATED = 6
# TKEY, TSIG, IXFR, AXFR: no questions about a name's records.
_TRANSACTION_TYPES = range(249, 253)
# SVCB and HTTPS say where a name is (RFC 9460): of a name that is private, what the world says of it leads elsewhere.
_WHERE_TYPES = frozenset({RecordType.A, RecordType.AAAA, RecordType.ANY, 64, 65})


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
class Drop:
    """Send nothing."""


Decision = Answer | Forward | Onward | Drop


class Resolver:
    """Takes any packet at all."""

    def __init__(
        self,
        answers: Answers,
        upstreams: Upstreams,
        *,
        private: PrivateNames | None = None,
        cookies: Cookies | None = None,
        nsid: bytes = b"",
    ) -> None:
        self._answers = answers
        self._private = private or NoPrivateNames()
        self._turn = 0
        self._upstreams = upstreams
        self._cookies = cookies
        self._nsid = nsid
        self._localhost = Localhost(answers.zone)

    def resolve(
        self,
        packet: bytes,
        *,
        recursion: bool,
        transport: Transport,
        may_ask: bool = True,
        client: bytes = b"",
        now_s: int = 0,
    ) -> Decision:
        """Decide about a packet whose sender may, or may not, ask at all and have queries forwarded (`recursion`).

        `client` is the sender's address of 4 or 16 bytes, b"" when it has none; `now_s` is the time of day, for
        cookies.
        """
        query = parse_query(packet)
        if query is None:
            return Drop()
        if query.edns:
            query = self._identify(query, client, now_s)
        limit = MAX_TCP_BYTES if transport is Transport.TCP else query.udp_limit_bytes
        reply = _Replies(query, limit, Flag.RA if recursion else 0)
        return (
            _fault(query, reply)
            or (None if may_ask else reply.error(Rcode.REFUSED, Ede.PROHIBITED, "your address may not ask here"))
            or (None if query.question else reply.error(Rcode.NOERROR))
            or self._ours(query, reply)
            or self._askers(query, reply, client)
            or self._single_label(query, reply, client)
            or self._others(query, reply, recursion=recursion)
        )

    def _identify(self, query: Query, client: bytes, now_s: int) -> Query:
        """Say in the reply's options who we are, and give the client its cookie, where it has asked for that."""
        assert query.edns  # noqa: S101  (it is what carries options)
        options = opts.option(opts.NSID, self._nsid) if query.edns.nsid and self._nsid else b""
        if query.edns.cookie is not None and self._cookies:
            verdict, cookie = self._cookies.answer(query.edns.cookie, client, now_s)
            if verdict is Verdict.MALFORMED:
                return replace(query, fault=query.fault or Rcode.FORMERR)
            options += opts.option(opts.COOKIE, cookie)
        return replace(query, options=options) if options else query

    def _ours(self, query: Query, reply: _Replies) -> Answer | Forward | Onward | None:
        found = self._answers.find(query.name) or self._localhost.find(query.name)
        return self._composed(query, reply, found) if found else None

    def _askers(self, query: Query, reply: _Replies, client: bytes) -> Answer | Forward | Onward | None:
        """What the asker alone has by this name; of a name with dots only where it is, the rest is the world's."""
        if query.name not in self._private.names:
            return None
        data = self._private.find(client, query.name)
        if data is None or not (query.rtype in data or query.rtype in _WHERE_TYPES or _is_single_label(query.name)):
            return None
        self._turn += 1
        rrsets = _rrsets(data, self._answers.zone.ttl_s, self._turn)
        # Nothing that is private belongs to a zone: a negative answer has no SOA, and so nobody keeps it.
        return self._composed(query, reply, Found(rrsets, self._answers.authority), negative=b"")

    def _single_label(self, query: Query, reply: _Replies, client: bytes) -> Answer | Forward | Onward | None:
        """A single label is tried in the domain, and goes nowhere else."""
        if not _is_single_label(query.name):
            return None
        if self._private.is_stranger(client):
            # It may have this very name for something else. A library that believes the first of several servers
            # must get neither ours nor that there is none: it asks on, or says that it could not find out.
            return reply.error(
                Rcode.SERVFAIL, Ede.NOT_READY, "the Docker networks of your address are not known here"
            )
        # A name above one of our zones exists, or whoever knows RFC 8020 would not look below it.
        found = Found(EMPTY if self._answers.is_above(query.name) else None, self._answers.authority)
        for suffix in (self._private.subdomain_of(client), self._answers.domain):
            name = query.name[:-1] + suffix if suffix else b""
            other = self._answers.find(name) if 0 < len(name) <= names.MAX_NAME_BYTES else None
            if other and other.node is not None and not found.node:
                found = self._as_alias(name) if other.cut else other
        return self._composed(query, reply, found)

    def _as_alias(self, name: bytes) -> Found:
        """A single label for a name that others answer for: they know it by that name alone."""
        return Found(
            {CNAME_IN: rrset.build(RecordType.CNAME, self._answers.zone.ttl_s, [name])}, self._answers.authority
        )

    def _composed(
        self, query: Query, reply: _Replies, found: Found, negative: bytes | None = None
    ) -> Answer | Forward | Onward:
        made = compose(self._answers, found, query.name, query.rtype, negative=negative)
        if made.rcode == Rcode.SERVFAIL:
            return reply.error(Rcode.SERVFAIL, Ede.OTHER, f"more than {MAX_ALIASES} aliases in a row")
        answer = reply.composed(made)
        target = made.outside
        may_follow = query.flags & Flag.RD and reply.flags & Flag.RA
        servers = self._servers_of(made) if target and may_follow else ()
        if not servers:
            return answer
        if target == query.name:
            return Forward(query, servers, reply.limit_bytes)
        return onward(query, made.sections.answer, target, servers, reply.limit_bytes)

    def _servers_of(self, made: Composed) -> tuple[Server, ...]:
        """Who can say the rest, if anybody may be asked: libraries follow neither a referral nor an alias."""
        if made.cut:
            return tuple((str(ip_address(each)), DNS_PORT) for each in made.servers[:_MAX_DELEGATED])
        return self._upstreams.of(made.outside) if self._is_worldwide(made.outside) else ()

    def _is_worldwide(self, name: bytes) -> bool:
        """Whether a name that is not ours means the same to everybody, so that upstreams may be asked for it."""
        return not (_is_single_label(name) or name in self._private.names or self._localhost.find(name))

    def _others(self, query: Query, reply: _Replies, *, recursion: bool) -> Answer | Forward:
        if not recursion:
            return reply.error(Rcode.REFUSED, Ede.PROHIBITED, "your address may not have queries forwarded")
        if not query.flags & Flag.RD:
            return reply.error(Rcode.REFUSED, Ede.NOT_AUTHORITATIVE, "not ours, and recursion is not desired")
        servers = self._upstreams.of(query.name)
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

    def composed(self, made: Composed) -> Answer:
        # RFC 1035 section 4.1.1: AA is about the first owner, and a referral has none of ours.
        aa = 0 if made.cut and not made.sections.answer else Flag.AA
        packet = build_reply(
            self.query, made.sections, limit_bytes=self.limit_bytes, rcode=made.rcode, flags=self.flags | aa
        )
        return Answer(packet, made.rcode)


def _is_single_label(name: bytes) -> bool:
    return names.parent(name) == names.ROOT != name


def _rrsets(data: Data, ttl_s: int, turn: int) -> RRsets:
    return {
        tail(rtype): rrset.build(rtype, ttl_s, _turned(rdatas, turn), turning=False)
        for rtype, rdatas in data.items()
        if rdatas
    }


def _turned(rdatas: Sequence[bytes], turn: int) -> Sequence[bytes]:
    start = turn % len(rdatas)
    return [*rdatas[start:], *rdatas[:start]]


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
