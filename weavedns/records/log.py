"""One owner's records as every peer holds them: an incarnation, a version, the items and the log of recent changes.

Only the owner makes changes; everybody else repeats them in the owner's order. Never reads a clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import blake2b
from itertools import chain, islice
from typing import NamedTuple

from weavedns.records.groups import (
    EMPTY,
    Group,
    Several,
    changes_itself,
    find,
    frozen,
    members,
    with_record,
    without_record,
)
from weavedns.records.record import Record
from weavedns.records.table import Table

LOG_ENTRIES = 4096
LOG_AGE_S = 15 * 60.0
# Each address of a range of usual size in use, and what a peer tells besides.
MAX_FACTS = 65_536 + 256


class FactKind(IntEnum):
    """What a fact is about; kinds that are not known here travel all the same."""

    PEER = 1
    CLAIM = 2
    RING = 3


@dataclass(frozen=True, slots=True)
class Fact:
    """Something an owner tells all peers that is no DNS record: its own address, an address in use, a stretch owned.

    Two facts are equal when owner, kind and key are; `data` is opaque here.
    """

    owner: str
    kind: int
    key: bytes
    data: bytes = field(compare=False)


Item = Record | Fact


class Entry(NamedTuple):
    """One change in an owner's log: an item came (`added`) or went, which leaves a tombstone until the log is cut."""

    item: Item
    added: bool


@dataclass(frozen=True, slots=True)
class Change:
    """A record came (`added`) or went."""

    record: Record
    added: bool


@dataclass(frozen=True, slots=True)
class Delta:
    """The changes of an owner from version `base` (not included) to `last`, without a hole."""

    owner: str
    incarnation: int
    base: int
    entries: tuple[Entry, ...]

    @property
    def last(self) -> int:
        """The version after the last entry."""
        return self.base + len(self.entries)

    def after(self, version: int) -> Delta:
        """The part that comes after `version`."""
        skip = max(0, version - self.base)
        return Delta(self.owner, self.incarnation, self.base + skip, self.entries[skip:])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that an owner has at one version; the items can be drawn once, as slowly as one likes."""

    owner: str
    incarnation: int
    version: int
    items: Iterable[Item]


class Replica:
    """The items of one owner at one version, and how it came there.

    `limit` bounds the records that are kept, and `MAX_FACTS` the facts then: an address in use that is left out would
    be given out twice, so many records must not take their room. A replica that had to leave some out is `partial`,
    and is not passed on to others.
    """

    __slots__ = (
        "_log",
        "_mark",
        "_stamps",
        "crowded",
        "facts",
        "incarnation",
        "limit",
        "names",
        "owner",
        "partial",
        "size",
        "version",
    )

    def __init__(self, owner: str, incarnation: int = 0, version: int = 0, *, limit: int | None = None) -> None:
        self.owner = owner
        self.incarnation = incarnation
        self.version = version
        self.limit = limit
        self.partial = False
        self.size = 0
        self.names: Table[Group] = Table()
        # The names whose group is one that changes itself.
        self.crowded: set[bytes] = set()
        self.facts: dict[tuple[int, bytes], Fact] = {}
        self._log: deque[Entry] = deque()
        # (time, version) at each moment of which entries may be older; at most one for each tick of the clock.
        self._stamps: deque[tuple[float, int]] = deque()
        self._mark: int | None = None

    @property
    def mark(self) -> int:
        """64 bits that stand for owner, incarnation and version in the digest of all owners."""
        # Made when somebody asks: many changes may come between two looks.
        if self._mark is None:
            self._mark = mark(self.owner, self.incarnation, self.version)
        return self._mark

    @property
    def floor(self) -> int:
        """The version before the oldest change that the log still has."""
        return self.version - len(self._log)

    def of_name(self, name: bytes) -> tuple[Record, ...]:
        """The records of a name in the order in which they came."""
        return frozen(self.names.get(name, EMPTY))

    def records(self) -> Iterator[Record]:
        """All records, name by name."""
        for group in self.names.values():
            yield from members(group)

    def find(self, record: Record) -> Record | None:
        """The record with the same key, whose TTL or health may differ."""
        return find(self.names.get(record.name, EMPTY), record)

    def apply(self, entry: Entry, now: float) -> list[Change]:
        """Take in the owner's next change, log it, and return what it did to the records."""
        changes = self.put(entry.item) if entry.added else self._drop(entry.item)
        self.version += 1
        self._log.append(entry)
        if len(self._log) > LOG_ENTRIES:
            self._log.popleft()
        if not self._stamps or now > self._stamps[-1][0]:
            self._stamps.append((now, self.version - 1))
        self._mark = None
        return changes

    def put(self, item: Item) -> list[Change]:
        """Put an item in without counting a version, as when a snapshot is being filled."""
        if isinstance(item, Fact):
            if (item.kind, item.key) not in self.facts:
                if self._full(len(self.facts), MAX_FACTS):
                    return []
                self.size += 1
            self.facts[item.kind, item.key] = item
            return []
        group = self.names.get(item.name, EMPTY)
        old = find(group, item)
        if old is not None and same(old, item):
            return []
        if old is None and self._full(self.size - len(self.facts), self.limit):
            return []
        self.names[item.name] = fuller = with_record(group, item)
        if changes_itself(fuller):
            self.crowded.add(item.name)
        if old is not None:
            return [Change(old, added=False), Change(item, added=True)]
        self.size += 1
        return [Change(item, added=True)]

    def since(self, version: int) -> Delta | None:
        """The changes after `version`; None when the log does not reach back so far."""
        if self.partial or not self.floor <= version <= self.version:
            return None
        # From the end, as it is mostly the last few that are asked for.
        entries = tuple(islice(reversed(self._log), self.version - version))[::-1]
        return Delta(self.owner, self.incarnation, version, entries)

    def snapshot(self) -> Snapshot:
        """All there is now; what changes later does not show in it."""
        records = (record for _, group in _still(self).drain() for record in members(group))
        items = chain[Item](list(self.facts.values()), records)
        return Snapshot(self.owner, self.incarnation, self.version, items)

    def restart(self, incarnation: int) -> None:
        """Begin a new incarnation with the items there are; from here on older versions need a snapshot."""
        self.incarnation = incarnation
        self._log.clear()
        self._stamps.clear()
        self._mark = None

    def expire(self, now: float) -> None:
        """Cut what is older than 15 min off the log."""
        while self._stamps and self._stamps[0][0] <= now - LOG_AGE_S:
            self._stamps.popleft()
            keep = self.version - self._stamps[0][1] if self._stamps else 0
            while len(self._log) > keep:
                self._log.popleft()

    def _drop(self, item: Item) -> list[Change]:
        if isinstance(item, Fact):
            self.size -= self.facts.pop((item.kind, item.key), None) is not None
            return []
        old = self.find(item)
        if old is None:
            return []
        left = without_record(self.names[item.name], item)
        if left is EMPTY:
            del self.names[item.name]
            self.crowded.discard(item.name)
        else:
            self.names[item.name] = left
        self.size -= 1
        return [Change(old, added=False)]

    def _full(self, count: int, most: int | None) -> bool:
        if self.limit is None or most is None or count < most:
            return False
        self.partial = True
        return True


def mark(owner: str, incarnation: int, version: int) -> int:
    """64 bits of BLAKE2b over owner, a zero byte, incarnation and version as 64-bit big-endian numbers."""
    text = owner.encode() + b"\0" + incarnation.to_bytes(8, "big") + version.to_bytes(8, "big")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


def same(one: Record, other: Record) -> bool:
    """Whether two records of one key say the same otherwise too."""
    return (one.ttl_s, one.healthy, one.origin) == (other.ttl_s, other.healthy, other.origin)


def differences(before: Replica | None, after: Replica) -> Iterator[Change]:
    """The changes that lead from one replica of an owner to the next, name by name, what comes before what goes.

    `after` counts as it was when this was called, so it can be drawn slowly while that changes. `before` is nobody
    else's any more: it is emptied on the way, as to free it all at once would keep queries waiting.
    """
    return _differences(before.names if before else Table(), _still(after))


def all_changes(replica: Replica, *, added: bool) -> Iterator[Change]:
    """Every record coming or going, as they were when this was called."""
    return (Change(record, added) for _, group in _still(replica).drain() for record in members(group))


def _still(replica: Replica) -> Table[Group]:
    """The records as they are now."""
    still = replica.names.copy()
    for name in replica.crowded:
        still[name] = Several(frozen(replica.names[name]))
    return still


def _differences(old: Table[Group], new: Table[Group]) -> Iterator[Change]:
    for name, group in new.drain():
        yield from _name_differences(frozen(old.pop(name, EMPTY)), frozen(group))
    for _, group in old.drain():
        for record in members(group):
            yield Change(record, added=False)


def _name_differences(was: tuple[Record, ...], now: tuple[Record, ...]) -> Iterator[Change]:
    known = {record: record for record in was}
    for record in now:
        old = known.pop(record, None)
        if old is None or not same(old, record):
            yield Change(record, added=True)
    for record in known:
        yield Change(record, added=False)
