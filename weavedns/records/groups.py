"""Groups: the records of one name or one holder, kept as small as their number allows. Never answers whose they are.

Most names and most containers have one record or a few: the bare record or a tuple costs a fraction of a dict, and a
dict for the rest keeps every change at the same small cost, however many records there are.
"""

from __future__ import annotations

from collections.abc import Collection

from weavedns.records.record import Record

Group = Record | tuple[Record, ...] | dict[Record, Record]
MAX_TUPLE_RECORDS = 8


def members(group: Group) -> Collection[Record]:
    """The records in the order in which they came; of a large group a view, which changes with it."""
    if isinstance(group, Record):
        return (group,)
    return group if isinstance(group, tuple) else group.values()


def frozen(group: Group) -> tuple[Record, ...]:
    """The records as they are now."""
    return tuple(members(group))


def find(group: Group, record: Record) -> Record | None:
    """The record of the group that is equal to `record`, whose TTL or health may differ."""
    if isinstance(group, dict):
        return group.get(record)
    return next((known for known in members(group) if known == record), None)


def with_record(group: Group, record: Record) -> Group:
    """The group with `record` in it, in the place of an equal one if there is one; a large one is changed itself."""
    if isinstance(group, dict):
        group[record] = record
        return group
    found = dict(zip(members(group), members(group), strict=True))
    found[record] = record
    if len(found) > MAX_TUPLE_RECORDS:
        return found
    return record if len(found) == 1 else tuple(found.values())


def without_record(group: Group, record: Record) -> Group:
    """The group without `record`, which may be none of it; a large one is changed itself."""
    if isinstance(group, dict):
        group.pop(record, None)
        return group or ()
    left = tuple(known for known in members(group) if known != record)
    return left[0] if len(left) == 1 else left
