"""What a reply says about a name of ours: follows CNAME records, and adds the addresses of targets. Knows no packet.

Both paths of a query come here for all that is more than one RRset, so they say the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from weavedns.dns import rrset
from weavedns.dns.answers import A_IN, AAAA_IN, CNAME_IN, NS_IN, Answers, Found, tail
from weavedns.dns.rrset import RRset
from weavedns.dns.sections import NOTHING, Sections
from weavedns.dns.tree import Node
from weavedns.dns.wire import HEADER_BYTES, MAX_POINTER, POINTER_MARK, QUESTION_FIXED_BYTES, RR_HEAD_BYTES, Rcode
from weavedns.records import names
from weavedns.records.record import RecordType

# A chain of aliases ends here, whatever it leads to; a person's mistake must cost neither time nor a large reply.
MAX_ALIASES = 16
_OWNER_BYTES = 2
_DS = 43
# Where in its data a type has the name of a host, and whether the host's addresses are worth adding.
_NAME_AT: dict[int, int] = {RecordType.NS: 0, RecordType.CNAME: 0, RecordType.MX: 2, RecordType.SRV: 6}
LEADING = frozenset({RecordType.NS, RecordType.MX, RecordType.SRV})


@dataclass(frozen=True, slots=True)
class Composed:
    """A reply but for its header; `outside` is the name that somebody else has to say the rest about.

    That is where its aliases lead to when that is none of ours; or what was asked for, or they lead to, when that is
    at or under a `cut`: then the sections refer to the servers there, and `servers` are the addresses of those that
    are known here.
    """

    rcode: Rcode
    sections: Sections
    outside: bytes = b""
    cut: bytes = b""
    servers: tuple[bytes, ...] = ()


def compose(answers: Answers, found: Found, name: bytes, rtype: int, *, negative: bytes | None = None) -> Composed:
    """What to say to a question for `name` and a type, when `found` is what stands there.

    `negative` is the authority section that goes with "no" in place of the zone's own.
    """
    writer = _Writer(name)
    seen = {name}
    at = name
    while not _is_handed_over(found, at, rtype) and (alias := _alias(found.node, rtype)):
        writer.write(at, (alias,))
        at = alias[RR_HEAD_BYTES:]
        if len(seen) > MAX_ALIASES:
            # As resolvers do: half of a chain is no answer.
            return Composed(Rcode.SERVFAIL, NOTHING)
        if at in seen:
            return Composed(Rcode.NOERROR, Sections(tuple(writer.records)))
        seen.add(at)
        onward = answers.find(at)
        if onward is None:
            return Composed(Rcode.NOERROR, Sections(tuple(writer.records)), outside=at)
        found, negative = onward, None
    if _is_handed_over(found, at, rtype):
        return writer.referral(answers, found.cut, outside=at)
    chosen = _pick(found.node, rtype)
    if chosen is None:
        if negative is None:
            negative = _negative(found, name)
        rcode = Rcode.NXDOMAIN if found.node is None else Rcode.NOERROR
        return Composed(rcode, Sections(tuple(writer.records), (negative,) if negative else ()))
    body = list(rrset.records(_whole(chosen)))
    writer.write(at, body)
    answer = tuple(writer.records)
    added = writer.addresses(answers, body) if rtype in LEADING else ()
    return Composed(Rcode.NOERROR, Sections(answer, (), added))


def lookup(answers: Answers, name: bytes, rtype: int) -> list[bytes]:
    """The record data of this type that a question for a name of ours is answered with; aliases are followed."""
    found = answers.find(name)
    if found is None:
        return []
    made = compose(answers, found, name, rtype)
    # Who asks for the servers of a part of the domain wants those that it was handed to.
    records = made.sections.authority if made.cut == name and rtype == RecordType.NS else made.sections.answer
    return [data for known, data in map(_type_and_data, records) if known == rtype]


class _Writer:
    """Gives records their owners: a pointer to where the name stands already, and where it does not, the name."""

    def __init__(self, name: bytes) -> None:
        self.records: list[bytes] = []
        self._at = HEADER_BYTES + len(name) + QUESTION_FIXED_BYTES
        self._places = {name: HEADER_BYTES}
        self._name = name

    def write(self, owner: bytes, bodies: Iterable[bytes]) -> None:
        """Append records, and remember where the names in their data stand."""
        for record in self._owned(owner, bodies):
            at, self._at = self._at, self._at + len(record)
            self.records.append(record)
            rtype, data = _type_and_data(record)
            if rtype in _NAME_AT:
                self._places.setdefault(data[_NAME_AT[rtype] :], at + len(record) - len(data) + _NAME_AT[rtype])

    def addresses(self, answers: Answers, bodies: Iterable[bytes]) -> tuple[tuple[bytes, ...], ...]:
        """The address records of the hosts that these records name, as far as they are ours, RRset by RRset."""
        added: list[tuple[bytes, ...]] = []
        for host in _hosts(bodies):
            found = answers.find(host)
            if found and not found.cut:
                added += self._addresses_of(host, found.node)
        return tuple(added)

    def referral(self, answers: Answers, cut: bytes, *, outside: bytes) -> Composed:
        """The answer so far, and the servers that the cut hands its names to, glue first (RFC 1034 section 4.3.2)."""
        answer, bodies = tuple(self.records), _servers(answers, cut)
        if names.is_under(self._name, cut):
            self._places.setdefault(cut, HEADER_BYTES + len(self._name) - len(cut))
        self.write(cut, bodies)
        glue: list[tuple[bytes, ...]] = []
        others: list[tuple[bytes, ...]] = []
        servers: list[bytes] = []
        for host in _hosts(bodies):
            found = answers.find(host)
            known = list(self._addresses_of(host, found.node)) if found else []
            section = glue if names.is_under(host, cut) else others
            section += known
            if host != answers.zone.ns:  # that is us
                servers += [_type_and_data(record)[1] for rrset_ in known for record in rrset_]
        sections = Sections(answer, tuple(self.records[len(answer) :]), (*glue, *others), needed=len(glue))
        return Composed(Rcode.NOERROR, sections, outside, cut, tuple(servers))

    def _addresses_of(self, host: bytes, node: Node | None) -> Iterable[tuple[bytes, ...]]:
        for kind in (A_IN, AAAA_IN):
            known = _at_node(node, kind)
            if known is not None:
                yield tuple(self._owned(host, rrset.records(_whole(known))))

    def _owned(self, owner: bytes, bodies: Iterable[bytes]) -> Iterable[bytes]:
        place = self._places.get(owner)
        head = owner if place is None or place > MAX_POINTER else (POINTER_MARK | place).to_bytes(2, "big")
        return [head + body[_OWNER_BYTES:] for body in bodies]


def _type_and_data(record: bytes) -> tuple[int, bytes]:
    """The type and the data of a record; its owner is a pointer, or a whole name."""
    at = 0
    while 0 < record[at] < POINTER_MARK >> 8:
        at += record[at] + 1
    at += _OWNER_BYTES if record[at] else 1
    return int.from_bytes(record[at : at + 2], "big"), record[at + RR_HEAD_BYTES - _OWNER_BYTES :]


def _alias(node: Node | None, rtype: int) -> bytes:
    """The CNAME record to follow at a node for a question of this type, if any."""
    if not isinstance(node, dict) or rtype in (RecordType.CNAME, RecordType.ANY) or tail(rtype) in node:
        return b""
    alias = node.get(CNAME_IN, b"")
    # A CNAME stands alone, so its RRset is its record.
    return alias if isinstance(alias, bytes) else b""


def _pick(node: Node | None, rtype: int) -> RRset | None:
    """The RRset that answers a question for a type at a node."""
    if rtype != RecordType.ANY or not node:
        return _at_node(node, tail(rtype))
    # RFC 8482 section 4.1: one RRset is answer enough.
    return node if isinstance(node, bytes) else next(iter(node.values()))


def _at_node(node: Node | None, kind: bytes) -> RRset | None:
    if isinstance(node, dict):
        return node.get(kind)
    return node if kind == A_IN else None


def _is_handed_over(found: Found, name: bytes, rtype: int) -> bool:
    """Whether other servers answer for this; type DS of the cut itself is ours (RFC 4035 section 3.1.4.1)."""
    return bool(found.cut) and (rtype != _DS or name != found.cut)


def _servers(answers: Answers, cut: bytes) -> list[bytes]:
    chosen = _at_node(answers.nodes.get(cut), NS_IN)
    return list(rrset.records(_whole(chosen))) if chosen is not None else []


def _hosts(bodies: Iterable[bytes]) -> Iterable[bytes]:
    return dict.fromkeys(data[_NAME_AT[rtype] :] for rtype, data in map(_type_and_data, bodies))


def _whole(chosen: RRset) -> bytes:
    return chosen if isinstance(chosen, bytes) else chosen.next()


def _negative(found: Found, name: bytes) -> bytes:
    authority = found.authority
    return authority.negative(len(name)) if names.is_under(name, authority.apex) else authority.foreign_negative()
