"""What is asked of upstreams: a query as it came, or where an alias of ours leads. Asks nobody.

An alias whose target is none of ours is followed for who may have queries forwarded, as resolvers do: the libraries
of programs do not follow it themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from weavedns.dns import message, wire
from weavedns.dns.message import Query, build_reply
from weavedns.dns.sections import NOTHING, Sections
from weavedns.dns.upstream import Server
from weavedns.dns.wire import HEADER_BYTES, MAX_NAME_BYTES, MAX_TCP_BYTES, Ede, Flag, Rcode
from weavedns.errors import WireError
from weavedns.records.record import RecordType

_POINTER_BITS = 0xC0
_ANSWER, _AUTHORITY = 0, 1
_DNAME, _RP, _AFSDB = 39, 17, 18
# The types whose data may have compressed names (RFC 3597 section 4): bytes before the names, and how many those are.
_NAMES_IN_DATA: dict[int, tuple[int, int]] = {
    RecordType.NS: (0, 1),
    RecordType.CNAME: (0, 1),
    RecordType.SOA: (0, 2),
    RecordType.PTR: (0, 1),
    RecordType.MX: (2, 1),
    _RP: (0, 2),
    _AFSDB: (2, 1),
    RecordType.SRV: (6, 1),
    _DNAME: (0, 1),
}


@dataclass(frozen=True, slots=True)
class Forward:
    """Ask these servers, and send back what they say in at most `limit_bytes`."""

    query: Query
    servers: tuple[Server, ...]
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class Onward:
    """Ask for the target of our own aliases, and send back what `join` makes of the reply to that."""

    forward: Forward
    query: Query
    aliases: tuple[bytes, ...]
    limit_bytes: int

    def join(self, packet: bytes) -> bytes:
        """Our aliases and what was said about their target, as the reply to the query; nothing of nothing."""
        if not packet:
            return b""
        sections = _told(packet, self.forward.query)
        if sections is None:
            ede = Ede.NO_REACHABLE_AUTHORITY, "no upstream server could say where this alias leads"
            return self._reply(NOTHING, Rcode.SERVFAIL, 0, ede)
        whole = replace(sections, answer=self.aliases + sections.answer)
        return self._reply(whole, Rcode(packet[3] & 0xF), Flag.AA)

    def _reply(self, sections: Sections, rcode: Rcode, flags: int, ede: tuple[Ede, str] | None = None) -> bytes:
        # RFC 1035 section 4.1.1: AA is about the first owner, and that name is ours.
        return build_reply(
            self.query, sections, limit_bytes=self.limit_bytes, rcode=rcode, flags=flags | Flag.RA, ede=ede
        )


def onward(
    query: Query, aliases: tuple[bytes, ...], target: bytes, servers: tuple[Server, ...], limit: int
) -> Onward:
    """Follow the aliases that answer `query` to their target, by way of these servers."""
    question = target + query.question[len(query.name) :]
    asked = replace(query, question=question, name=target, options=b"")
    return Onward(Forward(asked, servers, MAX_TCP_BYTES), query, aliases, limit)


def _told(packet: bytes, asked: Query) -> Sections | None:
    """What a reply says; None when that is neither an answer nor a "no"."""
    if packet[3] & 0xF not in {Rcode.NOERROR, Rcode.NXDOMAIN} or packet[2] << 8 & Flag.TC:
        return None
    try:
        return _sections(packet, asked)
    except WireError:
        return None


def _sections(packet: bytes, asked: Query) -> Sections:
    """The answer of a reply, and the SOA that goes with a "no", all names in full; raises WireError."""
    kept: tuple[list[bytes], list[bytes]] = [], []
    counts = [int.from_bytes(packet[at : at + 2], "big") for at in (6, 8, 10)]
    for section, rtype, start, end in message.walk(packet, HEADER_BYTES + len(asked.question), counts):
        if section == _ANSWER or (section == _AUTHORITY and rtype == RecordType.SOA):
            kept[section].append(_in_full(packet, start, end))
    return Sections(tuple(kept[_ANSWER]), tuple(kept[_AUTHORITY]))


def _in_full(packet: bytes, start: int, end: int) -> bytes:
    """A record with no pointer in it."""
    owner, at = _name(packet, start)
    rtype, rclass, ttl_s, _ = wire.RR_FIXED.unpack_from(packet, at)
    at += wire.RR_FIXED.size
    before, count = _NAMES_IN_DATA.get(rtype, (0, 0))
    data = packet[at : at + before]
    at += before
    for _ in range(count):
        name, at = _name(packet, at)
        data += name
    if at > end:
        raise WireError("a name goes past its record")
    data += packet[at:end]
    return owner + wire.RR_FIXED.pack(rtype, rclass, ttl_s, len(data)) + data


def _name(packet: bytes, at: int) -> tuple[bytes, int]:
    """A name in full, and where it ends where it stands; raises WireError."""
    name = b"".join(_labels(packet, at)) + b"\0"
    if len(name) > MAX_NAME_BYTES:
        raise WireError("a name is too long")
    return name, message.skip_name(packet, at)


def _labels(packet: bytes, at: int) -> Iterator[bytes]:
    left = MAX_NAME_BYTES  # a pointer costs one too, so no circle is endless
    while at < len(packet) and left > 0:
        size = packet[at]
        if not size:
            return
        if size & _POINTER_BITS == _POINTER_BITS:
            at = int.from_bytes(packet[at : at + 2], "big") & wire.MAX_POINTER
            left -= 1
        elif size & _POINTER_BITS:
            break
        else:
            yield packet[at : at + size + 1]
            left -= size + 1
            at += size + 1
    raise WireError("a name is malformed")
