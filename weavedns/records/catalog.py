"""The catalog: every record this peer knows, its own and other owners', found by name. Never answers a query itself.

Its own records are added and removed here; another owner's only ever change by repeating what that owner published.
A change to what is visible is returned as `Change`s, in order, for whoever keeps something in step with it; a change
that touches many records is made at once and its `Change`s are drawn as slowly as the caller likes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from weavedns.records.groups import (
    EMPTY,
    MAX_TUPLE_RECORDS,
    Group,
    find,
    frozen,
    members,
    with_record,
    without_record,
)
from weavedns.records.log import Change, Delta, Entry, Fact, Replica, Snapshot, all_changes, differences, same
from weavedns.records.record import Record
from weavedns.records.table import Table, part_of

__all__ = ["MAX_TUPLE_RECORDS", "Catalog", "Change", "Merged"]

MAX_RECORDS = 20_000
MAX_OWNERS = 2_048


@dataclass(frozen=True, slots=True)
class Merged:
    """What a delta brought: `new` is the part that was not known, `gap` says that something before it is missing."""

    new: Delta
    changes: list[Change]
    gap: bool = False


class Catalog:
    """All records, with a version that grows with every change.

    `owner` is this peer's name; `limit` is how many records of any other owner are kept.
    """

    def __init__(self, owner: str = "", *, limit: int = MAX_RECORDS) -> None:
        self.version = 0
        self.limit = limit
        self._own = Replica(owner)
        self._by_holder: dict[str, Group] = {}
        self._replicas: dict[str, Replica] = {owner: self._own}
        self._hidden: set[str] = set()
        # The tables of the visible owners, which is all that look-ups read.
        self._tables: dict[str, Table[Group]] = {owner: self._own.names}
        # Of all visible owners but this peer itself.
        self._others_digest = 0
        self._now = 0.0

    def __len__(self) -> int:
        return sum(self._replicas[owner].size - len(self._replicas[owner].facts) for owner in self._tables)

    def __iter__(self) -> Iterator[Record]:
        for owner in self._tables:
            yield from self._replicas[owner].records()

    def of_name(self, name: bytes) -> tuple[Record, ...]:
        """The visible records of a name: this peer's own first, each owner's in the order in which they came."""
        out: tuple[Record, ...] = ()
        part = part_of(name)
        for table in self._tables.values():
            found = table.parts[part].get(name)
            if found is not None:
                out += frozen(found)
        return out

    # What this peer itself registers.

    def of_holder(self, holder: str) -> Collection[Record]:
        """This peer's own records of a container, a zone file or a store, in the order in which they came."""
        return members(self._by_holder.get(holder, EMPTY))

    def holders(self) -> Collection[str]:
        """Everybody who holds at least one of this peer's own records."""
        return self._by_holder.keys()

    def add(self, record: Record) -> list[Change]:
        """Put a record in; one that differs only in TTL or health takes the old one's place, else it is no change."""
        group = self._by_holder.get(record.holder, EMPTY)
        old = find(group, record)
        if old is not None and same(old, record):
            return []
        self._by_holder[record.holder] = with_record(group, record)
        return self._write(Entry(record, added=True))

    def remove(self, record: Record) -> list[Change]:
        """Take a record out; one that is not there is no change."""
        group = self._by_holder.get(record.holder, EMPTY)
        if find(group, record) is None:
            return []
        left = without_record(group, record)
        if left is EMPTY:
            del self._by_holder[record.holder]
        else:
            self._by_holder[record.holder] = left
        return self._write(Entry(record, added=False))

    def apply(self, changes: Iterable[Change]) -> list[Change]:
        """Make changes to this peer's own records that were worked out elsewhere; what they change here."""
        made = []
        for change in changes:
            made += self.add(change.record) if change.added else self.remove(change.record)
        return made

    def replace(self, holder: str, records: Iterable[Record]) -> list[Change]:
        """Make `records` all that `holder` has; what stays the same is not touched, so it never blinks."""
        wanted = dict.fromkeys(records)
        changes = []
        for record in wanted:
            changes += self.add(record)
        for record in [known for known in self.of_holder(holder) if known not in wanted]:
            changes += self.remove(record)
        return changes

    def tell(self, kind: int, key: bytes, data: bytes) -> bool:
        """Tell all peers a fact; returns whether that was news."""
        known = self._own.facts.get((kind, key))
        if known is not None and known.data == data:
            return False
        self._write(Entry(Fact(self._own.owner, kind, key, data), added=True))
        return True

    def untell(self, kind: int, key: bytes) -> bool:
        """Take a fact back; returns whether it had been told."""
        known = self._own.facts.get((kind, key))
        if known is not None:
            self._write(Entry(known, added=False))
        return known is not None

    # What all owners together have.

    def facts(self, kind: int, *, hidden: bool = False) -> Iterator[Fact]:
        """Every fact of a kind, of the hidden owners too when asked for."""
        for owner, replica in self._replicas.items():
            if hidden or owner in self._tables:
                yield from (fact for fact in replica.facts.values() if fact.kind == kind)

    def fact(self, owner: str, kind: int, key: bytes) -> Fact | None:
        """One owner's fact, hidden or not."""
        replica = self._replicas.get(owner)
        return replica.facts.get((kind, key)) if replica else None

    @property
    def own(self) -> Replica:
        """This peer's own records and their log; to be read only."""
        return self._own

    @property
    def digest(self) -> int:
        """64 bits that are equal on two peers when the same versions of the same owners are visible on both."""
        return self._others_digest ^ self._own.mark

    def owners(self) -> Collection[str]:
        """Every owner that is known, hidden ones too."""
        return self._replicas.keys()

    def replica(self, owner: str) -> Replica | None:
        """An owner's records and log; to be read only."""
        return self._replicas.get(owner)

    def is_hidden(self, owner: str) -> bool:
        """Whether an owner's records are kept from the answers."""
        return owner in self._hidden

    def vector(self) -> dict[str, tuple[int, int]]:
        """The incarnation and version of each visible owner."""
        return {owner: (self._replicas[owner].incarnation, self._replicas[owner].version) for owner in self._tables}

    def restart(self, incarnation: int) -> None:
        """Publish this peer's own records anew under `incarnation`."""
        self._own.restart(incarnation)

    def merge(self, delta: Delta, now: float) -> Merged:
        """Take in the part of another owner's changes that is new.

        Changes of this peer itself, of another incarnation or of an owner without a snapshot are not taken in;
        when they are ahead of what is here, or begin after it, `gap` is set.
        """
        replica = self._replicas.get(delta.owner)
        if replica is self._own:
            return Merged(delta.after(delta.last), [])
        if replica is None or replica.incarnation != delta.incarnation:
            ahead = replica is None or replica.incarnation < delta.incarnation
            return Merged(delta.after(delta.last), [], gap=ahead)
        if delta.base > replica.version:
            return Merged(delta.after(delta.last), [], gap=True)
        new = delta.after(replica.version)
        visible = delta.owner in self._tables
        if visible:
            self._others_digest ^= replica.mark
        changes: list[Change] = []
        for entry in new.entries:
            changes += replica.apply(entry, now)
        if visible:
            self._others_digest ^= replica.mark
        self.version += len(changes)
        return Merged(new, changes if visible else [])

    def staged(self, snapshot: Snapshot) -> Replica:
        """An empty replica to be filled from a snapshot's parts before it is adopted."""
        return Replica(snapshot.owner, snapshot.incarnation, snapshot.version, limit=self.limit)

    def adopt(self, replica: Replica) -> Iterator[Change] | None:
        """Swap a complete replica in at once; None when it is no newer than what is here, or one owner too many."""
        before = self._replicas.get(replica.owner)
        if before is self._own or (before is None and len(self._replicas) >= MAX_OWNERS):
            return None
        if before and (before.incarnation, before.version) >= (replica.incarnation, replica.version):
            return None
        self._replicas[replica.owner] = replica
        self.version += 1
        if replica.owner in self._hidden:
            return iter(())
        if before is not None:
            self._others_digest ^= before.mark
        self._others_digest ^= replica.mark
        self._tables[replica.owner] = replica.names
        return differences(before, replica)

    def hide(self, owner: str) -> Iterator[Change]:
        """Keep an owner's records but leave them out of the answers."""
        replica = self._replicas.get(owner)
        if owner in self._hidden or replica is self._own:
            return iter(())
        self._hidden.add(owner)
        if replica is None:
            return iter(())
        del self._tables[owner]
        self._others_digest ^= replica.mark
        self.version += 1
        return all_changes(replica, added=False)

    def unhide(self, owner: str) -> Iterator[Change]:
        """Put a hidden owner's records back, as they were."""
        replica = self._replicas.get(owner)
        if owner not in self._hidden:
            return iter(())
        self._hidden.remove(owner)
        if replica is None:
            return iter(())
        self._tables[owner] = replica.names
        self._others_digest ^= replica.mark
        self.version += 1
        return all_changes(replica, added=True)

    def forget(self, owner: str) -> Iterator[Change]:
        """Drop all that an owner had."""
        changes = self.hide(owner)
        self._hidden.discard(owner)
        if self._replicas.get(owner) is not self._own:
            self._replicas.pop(owner, None)
        return changes

    def tick(self, now: float) -> None:
        """Say what time it is, so that old changes leave the logs."""
        self._now = now
        for replica in self._replicas.values():
            replica.expire(now)

    def _write(self, entry: Entry) -> list[Change]:
        changes = self._own.apply(entry, self._now)
        self.version += len(changes)
        return changes
