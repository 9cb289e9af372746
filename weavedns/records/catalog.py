"""The catalog: every record this peer knows, found by name and by holder. Never answers a query itself.

A change to it is returned as a list of `Change`, in order, for whoever keeps something in step with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from weavedns.records.record import Record


@dataclass(frozen=True, slots=True)
class Change:
    """A record came (`added`) or went."""

    record: Record
    added: bool


# Most names and most containers have one record or a few: the bare record or a tuple costs a fraction of a dict,
# and a dict for the rest keeps every change at the same small cost, however many records there are.
Group = Record | tuple[Record, ...] | dict[Record, Record]
MAX_TUPLE_RECORDS = 8


class Catalog:
    """All records, with a version that grows by one for every change."""

    def __init__(self) -> None:
        self._by_name: dict[bytes, Group] = {}
        self._by_holder: dict[str, Group] = {}
        self._size = 0
        self.version = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Record]:
        for group in self._by_holder.values():
            yield from _members(group)

    def of_name(self, name: bytes) -> tuple[Record, ...]:
        """The records of a name in the order in which they came."""
        return tuple(_members(self._by_name.get(name, ())))

    def of_holder(self, holder: str) -> Collection[Record]:
        """The records that belong to a container, a zone file or a store, in the order in which they came."""
        return _members(self._by_holder.get(holder, ()))

    def holders(self) -> Collection[str]:
        """Everybody who holds at least one record."""
        return self._by_holder.keys()

    def add(self, record: Record) -> list[Change]:
        """Put a record in; one that differs only in TTL or health takes the old one's place, else it is no change."""
        old = _find(self._by_name.get(record.name, ()), record)
        if old is not None and old.ttl_s == record.ttl_s and old.healthy == record.healthy:
            return []
        self._by_name[record.name] = _with(self._by_name.get(record.name, ()), record)
        self._by_holder[record.holder] = _with(self._by_holder.get(record.holder, ()), record)
        if old is not None:
            self.version += 2
            return [Change(old, added=False), Change(record, added=True)]
        self._size += 1
        self.version += 1
        return [Change(record, added=True)]

    def remove(self, record: Record) -> list[Change]:
        """Take a record out; one that is not there is no change."""
        old = _find(self._by_name.get(record.name, ()), record)
        if old is None:
            return []
        self._by_name[record.name] = _without(self._by_name[record.name], record)
        if self._by_name[record.name] == ():
            del self._by_name[record.name]
        self._by_holder[record.holder] = _without(self._by_holder[record.holder], record)
        if self._by_holder[record.holder] == ():
            del self._by_holder[record.holder]
        self._size -= 1
        self.version += 1
        return [Change(old, added=False)]

    def apply(self, changes: Iterable[Change]) -> list[Change]:
        """Make changes that were worked out elsewhere, and return what they change here."""
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


def _members(group: Group) -> Collection[Record]:
    if isinstance(group, Record):
        return (group,)
    return group if isinstance(group, tuple) else group.values()


def _find(group: Group, record: Record) -> Record | None:
    if isinstance(group, dict):
        return group.get(record)
    return next((known for known in _members(group) if known == record), None)


def _with(group: Group, record: Record) -> Group:
    """The group with `record` in it, in the place of an equal one when there is one."""
    if isinstance(group, dict):
        group[record] = record
        return group
    found = dict(zip(_members(group), _members(group), strict=True))
    found[record] = record
    if len(found) > MAX_TUPLE_RECORDS:
        return found
    return record if len(found) == 1 else tuple(found.values())


def _without(group: Group, record: Record) -> Group:
    if isinstance(group, dict):
        del group[record]
        return group or ()
    left = tuple(known for known in _members(group) if known != record)
    return left[0] if len(left) == 1 else left
