"""Groups: the records of one name or one holder, kept as small as their number allows. Never answers whose they are.

Most names and most containers have one record or a few: the bare record or a tuple costs a fraction of a dict, and a
dict for the rest keeps every change at the same small cost, however many records there are.
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from weavedns.records.record import Record

MAX_TUPLE_RECORDS = 8


class Several(Struct, eq=False, gc=False):
    """Not one record but none, a few, or many.

    As with a record, Python's collector of cycles never looks at one; nor then at a table with 100,000 groups.
    """

    records: tuple[Record, ...] | dict[Record, Record]


Group = Record | Several
EMPTY = Several(())


def members(group: Group) -> Collection[Record]:
    """The records in the order in which they came; of a large group a view, which changes with it."""
    if isinstance(group, Record):
        return (group,)
    return group.records if isinstance(group.records, tuple) else group.records.values()


def frozen(group: Group) -> tuple[Record, ...]:
    """The records as they are now."""
    return tuple(members(group))


def changes_itself(group: Group) -> bool:
    """Whether the group is a large one, which changes instead of giving way to another one."""
    return isinstance(group, Several) and isinstance(group.records, dict)


def find(group: Group, record: Record) -> Record | None:
    """The record of the group that is equal to `record`, whose TTL or health may differ."""
    if group is EMPTY:
        return None
    if isinstance(group, Several) and isinstance(group.records, dict):
        return group.records.get(record)
    return next((known for known in members(group) if known == record), None)


def with_record(group: Group, record: Record) -> Group:
    """The group with `record` in it, in the place of an equal one if there is one; a large one is changed itself."""
    if isinstance(group, Several) and isinstance(group.records, dict):
        group.records[record] = record
        return group
    if group is EMPTY:  # as for nearly every record that comes: it is the first of its name
        return record
    found = dict(zip(members(group), members(group), strict=True))
    found[record] = record
    if len(found) > MAX_TUPLE_RECORDS:
        return Several(found)
    return record if len(found) == 1 else Several(tuple(found.values()))


def without_record(group: Group, record: Record) -> Group:
    """The group without `record`, which may be none of it, or EMPTY; a large one is changed itself."""
    if isinstance(group, Several) and isinstance(group.records, dict):
        group.records.pop(record, None)
        return group if group.records else EMPTY
    left = tuple(known for known in members(group) if known != record)
    if len(left) == 1:
        return left[0]
    return Several(left) if left else EMPTY
