from __future__ import annotations

import pytest

from tests.sim.world import record
from weavedns.records import log
from weavedns.records.log import LOG_AGE_S, LOG_ENTRIES, Change, Entry, Fact, FactKind, Replica, differences


def put(replica: Replica, name: str, now: float = 0.0, *, ttl_s: int = 1) -> list[Change]:
    return replica.apply(Entry(record("h1", name, ttl_s=ttl_s), added=True), now)


def drop(replica: Replica, name: str, now: float = 0.0) -> list[Change]:
    return replica.apply(Entry(record("h1", name), added=False), now)


def test_adding_removing_and_adding_again_counts_up() -> None:
    replica = Replica("h1", 7)
    put(replica, "redis")
    drop(replica, "redis")
    put(replica, "redis")
    assert replica.version == 3
    delta = replica.since(0)
    assert delta is not None
    assert [entry.added for entry in delta.entries] == [True, False, True]


def test_a_change_of_ttl_replaces_the_record_in_one_version() -> None:
    replica = Replica("h1", 7)
    put(replica, "redis")
    changes = put(replica, "redis", ttl_s=60)
    assert [(change.record.ttl_s, change.added) for change in changes] == [(1, False), (60, True)]
    assert (replica.version, replica.size) == (2, 1)


def test_the_log_keeps_a_bounded_number_of_entries_and_says_where_it_begins() -> None:
    replica = Replica("h1", 7)
    for number in range(LOG_ENTRIES + 10):
        replica.apply(Entry(record("h1", f"r{number}", number), added=True), 0.0)
    assert replica.floor == 10
    assert replica.since(9) is None
    delta = replica.since(10)
    assert delta is not None
    assert (delta.base, delta.last) == (10, replica.version)


def test_entries_older_than_a_quarter_of_an_hour_leave_the_log() -> None:
    replica = Replica("h1", 7)
    put(replica, "old", 0.0)
    put(replica, "new", 100.0)
    replica.expire(LOG_AGE_S + 1.0)
    assert replica.since(0) is None
    assert replica.since(1) is not None
    replica.expire(LOG_AGE_S + 101.0)
    assert replica.floor == replica.version == 2


def test_a_version_that_is_not_there_yet_is_not_in_the_log() -> None:
    assert Replica("h1", 7).since(1) is None


def test_a_snapshot_does_not_change_with_the_replica() -> None:
    replica = Replica("h1", 7)
    put(replica, "redis")
    snapshot = replica.snapshot()
    put(replica, "app")
    drop(replica, "redis")
    assert [item.name for item in snapshot.items if not isinstance(item, Fact)] == [record("h1", "redis").name]
    assert snapshot.version == 1


def test_what_is_past_the_limit_is_left_out_and_marks_the_replica() -> None:
    replica = Replica("h1", 7, limit=2)
    assert put(replica, "a")
    assert put(replica, "b")
    assert not put(replica, "c")
    assert replica.partial
    assert (replica.version, replica.size) == (3, 2)
    assert replica.since(0) is None


def claim(number: int) -> Entry:
    return Entry(Fact("h1", FactKind.CLAIM, b"a" + number.to_bytes(4, "big"), b""), added=True)


def test_addresses_in_use_have_their_own_room_beside_more_records_than_are_kept() -> None:
    replica = Replica("h1", 7, limit=2)
    for name in ("a", "b", "c"):
        put(replica, name)
    for number in range(5):
        replica.apply(claim(number), 0.0)
    assert len(replica.facts) == 5
    assert (replica.size, len(list(replica.records()))) == (7, 2)
    # The other way round, too.
    other = Replica("h1", 7, limit=2)
    for number in range(5):
        other.apply(claim(number), 0.0)
    assert put(other, "a")
    assert put(other, "b")
    assert not other.partial


def test_facts_without_end_are_left_out_and_mark_the_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MAX_FACTS", 3)
    replica = Replica("h1", 7, limit=2)
    for number in range(3):
        replica.apply(claim(number), 0.0)
    assert not replica.partial
    replica.apply(claim(3), 0.0)
    assert replica.partial
    assert (replica.version, len(replica.facts)) == (4, 3)
    assert put(replica, "a")
    # What this peer tells itself is never left out.
    own = Replica("h1", 7)
    for number in range(4):
        own.apply(claim(number), 0.0)
    assert len(own.facts) == 4


def test_a_new_fact_takes_the_place_of_the_one_with_its_key() -> None:
    replica = Replica("h1", 7)
    for data in (b"one", b"two"):
        replica.apply(Entry(Fact("h1", FactKind.PEER, b"nickname", data), added=True), 0.0)
    assert replica.facts[FactKind.PEER, b"nickname"].data == b"two"
    assert replica.size == 1


def test_a_restart_keeps_the_items_and_cuts_the_log() -> None:
    replica = Replica("h1", 7)
    put(replica, "redis")
    before = replica.mark
    replica.restart(9)
    assert (replica.incarnation, replica.version, replica.floor) == (9, 1, 1)
    assert replica.mark != before
    assert replica.size == 1


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([], ["a"], [("a", True)]),
        (["a"], [], [("a", False)]),
        (["a", "b"], ["b", "c"], [("c", True), ("a", False)]),
        (["a"], ["a"], []),
    ],
)
def test_differences_add_before_they_remove(
    before: list[str], after: list[str], expected: list[tuple[str, bool]]
) -> None:
    old, new = Replica("h1", 1), Replica("h1", 2)
    for name in before:
        put(old, name)
    for name in after:
        put(new, name)
    found = [(change.record.name, change.added) for change in differences(old, new)]
    assert found == [(record("h1", name).name, added) for name, added in expected]


def test_differences_show_a_changed_ttl() -> None:
    old, new = Replica("h1", 1), Replica("h1", 2)
    put(old, "a")
    put(new, "a", ttl_s=60)
    assert [(change.record.ttl_s, change.added) for change in differences(old, new)] == [(60, True)]
