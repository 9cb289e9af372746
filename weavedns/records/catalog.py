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


class Catalog:
    """All records, with a version that grows by one for every change."""

    def __init__(self) -> None:
        # Nearly every name has one record: the bare record instead of a tuple saves a third of the memory.
        self._by_name: dict[bytes, Record | tuple[Record, ...]] = {}
        self._by_holder: dict[str, dict[Record, None]] = {}
        self.version = 0

    def __len__(self) -> int:
        return sum(map(len, self._by_holder.values()))

    def __iter__(self) -> Iterator[Record]:
        for records in self._by_holder.values():
            yield from records

    def of_name(self, name: bytes) -> tuple[Record, ...]:
        """The records of a name in the order in which they came."""
        found = self._by_name.get(name, ())
        return found if isinstance(found, tuple) else (found,)

    def of_holder(self, holder: str) -> Collection[Record]:
        """The records that belong to a container, a zone file or a store."""
        return self._by_holder.get(holder, {}).keys()

    def holders(self) -> Collection[str]:
        """Everybody who holds at least one record."""
        return self._by_holder.keys()

    def add(self, record: Record) -> list[Change]:
        """Put a record in; one that differs only in TTL takes the old one's place, and an equal one is no change."""
        held = self._by_holder.setdefault(record.holder, {})
        changes = []
        if record in held:
            old = next(known for known in self.of_name(record.name) if known == record)
            if old.ttl_s == record.ttl_s:
                return []
            changes = self.remove(old)
            held = self._by_holder.setdefault(record.holder, {})
        held[record] = None
        before = self._by_name.get(record.name)
        if before is None:
            self._by_name[record.name] = record
        else:
            self._by_name[record.name] = (*self.of_name(record.name), record)
        self.version += 1
        return [*changes, Change(record, added=True)]

    def remove(self, record: Record) -> list[Change]:
        """Take a record out; one that is not there is no change."""
        held = self._by_holder.get(record.holder, {})
        if record not in held:
            return []
        del held[record]
        if not held:
            del self._by_holder[record.holder]
        left = tuple(known for known in self.of_name(record.name) if known != record)
        if not left:
            del self._by_name[record.name]
        else:
            self._by_name[record.name] = left[0] if len(left) == 1 else left
        self.version += 1
        return [Change(record, added=False)]

    def replace(self, holder: str, records: Iterable[Record]) -> list[Change]:
        """Make `records` all that `holder` has; what stays the same is not touched, so it never blinks."""
        wanted = dict.fromkeys(records)
        changes = []
        for record in wanted:
            changes += self.add(record)
        for record in [known for known in self.of_holder(holder) if known not in wanted]:
            changes += self.remove(record)
        return changes
