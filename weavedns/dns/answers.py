"""What is answered for each name of ours, kept in step with the catalog. Knows no packet and no asker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from weavedns.dns import rrset
from weavedns.dns.reverse import ReverseIndex, octets_of
from weavedns.dns.rrset import RRset
from weavedns.dns.tree import EMPTY, Node, RRsets, Tree
from weavedns.dns.wire import CLASS_IN_BYTES, rr_head
from weavedns.dns.zone import Authority, Zone, reverse_zones
from weavedns.records import names
from weavedns.records.alias import alone
from weavedns.records.catalog import Catalog, Change
from weavedns.records.record import Origin, Record, RecordType

__all__ = ["Answers", "Found", "Zone"]

_IN_ADDR = b"\x07in-addr\x04arpa\0"
_IN_ADDR_BYTES = len(_IN_ADDR)
_CHANGES_A_SLICE = 1000
WILDCARD = b"\1*"  # the label
# What leads to a container, and is left out while its health check fails and another container has the name.
_WAYS = frozenset({RecordType.A, RecordType.AAAA, RecordType.SRV})
# More PTR records than this do not fit into any message.
MAX_POINTERS = 2000
_ADDRESS_OCTETS = 4
# Which of an address's names comes first: the one that its container or peer goes by.
_RANKS = {Origin.CONTAINER: 0, Origin.PEER: 0, Origin.ALIAS: 1}
_LAST_RANK = 2


@dataclass(frozen=True, slots=True)
class Found:
    """What we have for a name of ours: its node, None when no such name exists, and the zone that says so.

    At and under a `cut` that is no answer: names are the other servers', and addresses here only say where those are.
    """

    node: Node | None
    authority: Authority
    cut: bytes = b""  # where the name's part of the domain is handed to other servers, if it is


def tail(rtype: int) -> bytes:
    """How a question for this type ends: type and class IN."""
    return rtype.to_bytes(2, "big") + CLASS_IN_BYTES


A_IN = tail(RecordType.A)
NS_IN = tail(RecordType.NS)
SOA_IN = tail(RecordType.SOA)
PTR_IN = tail(RecordType.PTR)
CNAME_IN = tail(RecordType.CNAME)
AAAA_IN = tail(RecordType.AAAA)


class Answers:
    """Ready-made RRsets for every name of the catalog that is in one of our zones.

    `nodes` (the domain's names) and `domain` are there for the responder to look at, not to change.
    """

    def __init__(self, zone: Zone, catalog: Catalog) -> None:
        self.zone = zone
        self.domain = zone.domain
        self.authority = Authority(zone.domain, zone)
        self._catalog = catalog
        self._reverse_zones = {apex: Authority(apex, zone) for apex in reverse_zones(zone.weave_range)}
        self._forward = Tree(zone.domain.__eq__)
        self._reverse = Tree(self._reverse_zones.__contains__)
        self._addresses = ReverseIndex(zone.weave_range)
        self._tails: dict[int, bytes] = {}
        self.nodes = self._forward.nodes
        # Every name that may be, or be under, a wildcard; mostly none, and then nobody looks any further.
        self._wildcards: set[bytes] = set()
        self._any_label = WILDCARD + zone.domain
        # Where NS records hand a part of the domain to other servers; mostly nowhere. `handed_over` moves with each
        # change to that.
        self.cuts: set[bytes] = set()
        self.handed_over = 0
        for authority in (self.authority, *self._reverse_zones.values()):
            self._rebuild(authority.apex, catalog.of_name(authority.apex))
        self.apply(Change(record, added=True) for record in catalog)

    def apply(self, changes: Iterable[Change]) -> None:
        """Take in what changed. The catalog, as it is now, says what is true; the changes say where to look."""
        pending = iter(changes)
        while some := list(islice(pending, _CHANGES_A_SLICE)):
            touched: dict[bytes, list[Record]] = {}
            for change in some:
                touched.setdefault(change.record.name, []).append(change.record)
            for name, records in touched.items():
                standing = self._catalog.of_name(name)
                if self._rebuild(name, standing):
                    self._index_addresses(name, records, standing)

    def find(self, name: bytes) -> Found | None:
        """What we have for a name in lower case; None when it is in none of our zones."""
        if names.is_under(name, self.domain):
            node = self.nodes.get(name)
            if self.cuts and (cut := self.cut_above(name)):
                return Found(node, self.authority, cut)
            if node is None and self._wildcards:
                node = self._synthesized(name)
            return Found(node, self.authority)
        return self.find_reverse(name)

    def cut_above(self, name: bytes) -> bytes:
        """The highest cut that a name of the domain is at or under; b"" for none (RFC 1034 section 4.3.2)."""
        cut = b""
        while len(name) > len(self.domain):
            if name in self.cuts:
                cut = name
            name = names.parent(name)
        return cut

    def is_above(self, name: bytes) -> bool:
        """Whether one of our zones is under a name."""
        return any(names.is_under(apex, name) for apex in (self.domain, *self._reverse_zones))

    @property
    def has_every_label(self) -> bool:
        """Whether a wildcard right below the domain lets every label there exist."""
        return bool(self._wildcards) and self._any_label in self.nodes

    def find_reverse(self, name: bytes) -> Found | None:
        """As `find`, for the reverse zones only."""
        if not name.endswith(_IN_ADDR):
            return None
        labels: list[bytes] = []
        at, end = 0, len(name) - 1
        while (rest := name[at:]) not in self._reverse_zones:
            if at >= end:
                return None
            labels.append(name[at : at + name[at] + 1])
            at += name[at] + 1
        authority = self._reverse_zones[rest]
        below = len(rest) - _IN_ADDR_BYTES
        while at < len(name) - _IN_ADDR_BYTES and below:
            labels.append(name[at : at + name[at] + 1])
            at += name[at] + 1
        return Found(self._reverse_node(name, octets_of(labels)), authority)

    def _synthesized(self, name: bytes) -> Node | None:
        """What stands at the wildcard that covers a name which does not exist (RFC 4592 section 3.3.1).

        That is the one right below the nearest name above that exists, and no other: nothing else is looked for.
        A node's records have the question's name as their owner, so they are right as they are.
        """
        above = names.parent(name)
        while above not in self.nodes:
            above = names.parent(above)
        return self.nodes.get(WILDCARD + above)

    def _rebuild(self, name: bytes, standing: Sequence[Record]) -> bool:
        """Make the node of a name with these records again; False when the name is in none of our zones."""
        authority, tree = self.authority, self._forward
        if not names.is_under(name, self.domain):
            found = self.find_reverse(name)
            if found is None:
                return False
            authority, tree = found.authority, self._reverse
        records = _usable(standing)
        if len(records) > 1 or name == authority.apex:
            records = alone(records, at_apex=name == authority.apex)
        if WILDCARD in name:
            (self._wildcards.add if records else self._wildcards.discard)(name)
        if authority is self.authority:
            self._hand_over(name, any(record.rtype == RecordType.NS for record in records))
        if len(records) == 1 and records[0].rtype == RecordType.A and name != authority.apex:
            record = records[0]
            tree.put(name, rr_head(RecordType.A, record.ttl_s, len(record.rdata)) + record.rdata)
        elif records or name == authority.apex:
            tree.put(name, self._rrsets(records, authority if name == authority.apex else None))
        else:
            tree.remove(name)
        return True

    def _hand_over(self, name: bytes, to_others: bool) -> None:
        was = name in self.cuts
        if (to_others or was) and name != self.domain:
            (self.cuts.add if to_others else self.cuts.discard)(name)
            self.handed_over += 1

    def _rrsets(self, records: Sequence[Record], apex: Authority | None) -> RRsets:
        by_type: dict[int, list[Record]] = {}
        for record in records:
            by_type.setdefault(record.rtype, []).append(record)
        made: RRsets = {}
        if apex:
            made = {SOA_IN: apex.soa(), NS_IN: apex.ns()}
        for rtype, same in by_type.items():
            end = self._tails.setdefault(rtype, tail(rtype))
            if end not in made:
                made[end] = _rrset_of(rtype, same)
        return made

    def _index_addresses(self, name: bytes, touched: Iterable[Record], standing: Iterable[Record]) -> None:
        if name.startswith(WILDCARD):
            return  # it stands for names, and is none that an address could have
        now = {known.rdata for known in standing if known.rtype == RecordType.A}
        for record in touched:
            if record.rtype != RecordType.A or not self._addresses.covers(record.rdata):
                continue
            if record.rdata in now:
                self._addresses.add(record.rdata, name)
            else:
                self._addresses.remove(record.rdata, name)

    def _reverse_node(self, name: bytes, octets: bytes | None) -> Node | None:
        own = self._reverse.nodes.get(name)
        if octets is None:
            return own
        standing = self._standing_for(octets) if len(octets) == _ADDRESS_OCTETS else ()
        if not standing:
            return EMPTY if own is None and self._addresses.has_under(octets) else own
        pointers = [known for known in self._catalog.of_name(name) if known.rtype == RecordType.PTR]
        ttl_s = min(record.ttl_s for record in [*pointers, *standing])
        rdatas = [*(record.name for record in standing), *(record.rdata for record in pointers)]
        rrsets: RRsets = {A_IN: own} if isinstance(own, bytes) else dict(own or EMPTY)
        # The host name stays first: this order does not turn.
        rrsets[PTR_IN] = rrset.build(RecordType.PTR, ttl_s, rdatas, turning=False)
        return rrsets

    def _standing_for(self, address: bytes) -> list[Record]:
        """The records that lead to an address of the weave range, in an order that is the same on all peers."""
        found = [
            record
            for name in islice(self._addresses.names_of(address), MAX_POINTERS)
            for record in self._catalog.of_name(name)
            if record.rtype == RecordType.A and record.rdata == address
        ]
        return sorted(found, key=lambda record: (_RANKS.get(record.origin, _LAST_RANK), record.name))


def _usable(records: Sequence[Record]) -> Sequence[Record]:
    """The records of a name less those that lead to the unhealthy, unless nothing else leads anywhere."""
    if all(record.healthy for record in records):
        return records
    left = [record for record in records if record.healthy or record.rtype not in _WAYS]
    return left if any(record.rtype in _WAYS for record in left) else records


def _rrset_of(rtype: int, records: Sequence[Record]) -> RRset:
    # RFC 2181 section 5.2: one TTL for an RRset.
    ttl_s = min(record.ttl_s for record in records)
    return rrset.build(rtype, ttl_s, [record.rdata for record in records])
