from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.sim.world import record
from weavedns.records.catalog import Catalog
from weavedns.records.log import Delta, FactKind, Replica, Snapshot
from weavedns.records.record import Record


def owner(*names: str, incarnation: int = 5) -> Catalog:
    catalog = Catalog("h1")
    catalog.restart(incarnation)
    for number, name in enumerate(names):
        catalog.add(record("h1", name, number))
    return catalog


def delta_of(catalog: Catalog, base: int = 0) -> Delta:
    delta = catalog.own.since(base)
    assert delta is not None
    return delta


def staged(catalog: Catalog, snapshot: Snapshot) -> Replica:
    replica = catalog.staged(snapshot)
    for item in snapshot.items:
        replica.put(item)
    return replica


def receiver(incarnation: int = 5) -> Catalog:
    catalog = Catalog("h2")
    catalog.adopt(catalog.staged(Snapshot("h1", incarnation, 0, ())))
    return catalog


def test_a_merge_returns_exactly_what_was_new() -> None:
    source, target = owner("a", "b"), receiver()
    target.merge(delta_of(source), 0.0)
    source.add(record("h1", "c", 9))
    merged = target.merge(delta_of(source), 0.0)
    assert (merged.new.base, merged.new.last) == (2, 3)
    assert [change.record.name for change in merged.changes] == [record("h1", "c").name]


def test_merging_the_same_again_gives_nothing() -> None:
    source, target = owner("a", "b"), receiver()
    assert target.merge(delta_of(source), 0.0).new.entries
    again = target.merge(delta_of(source), 0.0)
    assert not again.new.entries
    assert not again.changes
    assert not again.gap


def test_merging_with_oneself_gives_nothing() -> None:
    source = owner("a", "b")
    merged = source.merge(delta_of(source), 0.0)
    assert not merged.new.entries
    assert len(source) == 2


def test_a_lower_version_is_ignored() -> None:
    source, target = owner("a", "b"), receiver()
    first = Delta("h1", 5, 0, delta_of(source).entries[:1])
    target.merge(delta_of(source), 0.0)
    assert not target.merge(first, 0.0).new.entries
    assert target.vector()["h1"] == (5, 2)


def test_a_lower_incarnation_is_ignored_and_a_higher_one_needs_a_snapshot() -> None:
    source, target = owner("a", incarnation=4), receiver(5)
    low = target.merge(delta_of(source), 0.0)
    assert (low.new.entries, low.gap) == ((), False)
    source.restart(6)
    source.add(record("h1", "b"))
    high = target.merge(delta_of(source, 1), 0.0)
    assert (high.new.entries, high.gap) == ((), True)


def test_what_begins_later_is_a_gap() -> None:
    source, target = owner("a", "b"), receiver()
    merged = target.merge(delta_of(source, 1), 0.0)
    assert merged.gap
    assert not len(target)


def test_a_name_is_the_union_over_the_visible_owners() -> None:
    target = receiver()
    target.add(record("h2", "web", 2))
    target.merge(delta_of(owner("web")), 0.0)
    name = record("h1", "web").name
    assert [each.owner for each in target.of_name(name)] == ["h2", "h1"]
    gone = list(target.hide("h1"))
    assert [(change.record.owner, change.added) for change in gone] == [("h1", False)]
    assert [each.owner for each in target.of_name(name)] == ["h2"]
    back = list(target.unhide("h1"))
    assert [(change.record.owner, change.added) for change in back] == [("h1", True)]


def test_a_hidden_owner_goes_on_being_merged_but_shows_nothing() -> None:
    source, target = owner("a"), receiver()
    list(target.hide("h1"))
    merged = target.merge(delta_of(source), 0.0)
    assert merged.new.entries
    assert not merged.changes
    assert not list(target)
    list(target.unhide("h1"))
    assert len(target) == 1


def test_a_new_incarnation_is_swapped_in_without_a_blink() -> None:
    source, target = owner("a", "b"), receiver()
    target.merge(delta_of(source), 0.0)
    fresh = owner("b", "c", incarnation=9)
    replica = staged(target, fresh.own.snapshot())
    assert {each.name for each in target} == {record("h1", name).name for name in "ab"}
    changes = target.adopt(replica)
    assert changes is not None
    # All of it is true at once, however slowly the changes are drawn.
    assert {each.name for each in target} == {record("h1", name).name for name in "bc"}
    seen = [(change.record.name, change.added) for change in changes]
    assert seen[-1] == (record("h1", "a").name, False)


def test_an_older_snapshot_is_not_adopted() -> None:
    source, target = owner("a", "b"), receiver()
    old = staged(target, source.own.snapshot())
    source.add(record("h1", "c"))
    target.merge(delta_of(source), 0.0)
    assert target.adopt(old) is None


def test_a_forgotten_owner_leaves_nothing_behind() -> None:
    source, target = owner("a"), receiver()
    target.merge(delta_of(source), 0.0)
    assert len(list(target.forget("h1"))) == 1
    assert "h1" not in target.owners()
    assert not target.is_hidden("h1")


def test_nobody_else_changes_this_peers_own_records() -> None:
    catalog = owner("a")
    assert catalog.adopt(Replica("h1", 99, 9)) is None
    assert not list(catalog.hide("h1"))
    list(catalog.forget("h1"))
    assert len(catalog) == 1


def test_the_digests_are_equal_when_the_visible_versions_are() -> None:
    source, target = owner("a"), receiver()
    source.adopt(source.staged(Snapshot("h2", 0, 0, ())))
    assert source.digest != target.digest
    target.merge(delta_of(source), 0.0)
    assert source.digest == target.digest
    list(target.hide("h1"))
    assert source.digest != target.digest
    list(target.unhide("h1"))
    assert source.digest == target.digest


def test_owners_are_bounded(monkeypatch: object) -> None:
    catalog = Catalog("me")
    for number in range(2_047):
        assert catalog.adopt(Replica(f"h{number}", 1)) is not None
    assert catalog.adopt(Replica("one-more", 1)) is None


def test_holders_are_this_peers_own() -> None:
    target = receiver()
    target.merge(delta_of(owner("a")), 0.0)
    target.add(record("h2", "b", holder="c2"))
    assert list(target.holders()) == ["c2"]
    assert [each.owner for each in target] == ["h2", "h1"]
    assert len(target) == 2


def test_facts_are_told_changed_and_taken_back() -> None:
    catalog = Catalog("h1")
    assert catalog.tell(FactKind.CLAIM, b"\x0a\x02\x00\x01", b"c1")
    assert not catalog.tell(FactKind.CLAIM, b"\x0a\x02\x00\x01", b"c1")
    assert catalog.tell(FactKind.CLAIM, b"\x0a\x02\x00\x01", b"c2")
    assert [fact.data for fact in catalog.facts(FactKind.CLAIM)] == [b"c2"]
    assert not list(catalog)
    assert catalog.untell(FactKind.CLAIM, b"\x0a\x02\x00\x01")
    assert not catalog.untell(FactKind.CLAIM, b"\x0a\x02\x00\x01")
    assert catalog.own.version == 3


def test_an_address_in_use_is_known_of_an_owner_with_more_records_than_are_kept() -> None:
    source, catalog = Catalog("h1"), Catalog("here", limit=3)
    for number in range(4):
        source.add(record("h1", f"r{number}"))
    staged = catalog.staged(source.own.snapshot())
    for item in source.own.snapshot().items:
        staged.put(item)
    catalog.adopt(staged)
    source.tell(FactKind.CLAIM, b"a\x0a\x02\x00\x07", b"c7")
    delta = source.own.since(4)
    assert delta is not None
    catalog.merge(delta, 0.0)
    assert len(catalog) == 3
    assert catalog.fact("h1", FactKind.CLAIM, b"a\x0a\x02\x00\x07") is not None


def test_the_facts_of_a_hidden_owner_can_still_be_seen_when_asked_for() -> None:
    source, target = Catalog("h1"), receiver(0)
    source.tell(FactKind.CLAIM, b"k", b"v")
    target.merge(delta_of(source), 0.0)
    list(target.hide("h1"))
    assert not list(target.facts(FactKind.CLAIM))
    assert [fact.owner for fact in target.facts(FactKind.CLAIM, hidden=True)] == ["h1"]


operations = st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(1, 2)), max_size=40)


@given(operations, st.data())
def test_any_order_and_repetition_of_deltas_leads_to_what_the_owner_has(
    steps: list[tuple[bool, int, int]], data: st.DataObject
) -> None:
    source, target = owner(), receiver()
    for added, number, ttl_s in steps:
        each: Record = record("h1", f"r{number}", number, ttl_s=ttl_s)
        source.add(each) if added else source.remove(each)
    entries = delta_of(source).entries
    cuts = data.draw(st.lists(st.tuples(st.integers(0, len(entries)), st.integers(0, len(entries))), max_size=10))
    seen = (5, 0)
    for start, end in [*cuts, (0, len(entries))]:
        target.merge(Delta("h1", 5, min(start, end), entries[min(start, end) : max(start, end)]), 0.0)
        assert target.vector()["h1"] >= seen
        seen = target.vector()["h1"]
    assert {(each, each.ttl_s) for each in target} == {(each, each.ttl_s) for each in source}
