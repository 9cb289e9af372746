from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from weavedns.records.catalog import MAX_TUPLE_RECORDS, Catalog, Change
from weavedns.records.record import Origin, Record


def record(number: int = 1, *, name: str = "redis", holder: str = "c1", ttl_s: int = 1) -> Record:
    wire = bytes((len(name),)) + name.encode() + b"\0"
    return Record("p", holder, wire, 1, number.to_bytes(4, "big"), ttl_s, Origin.CONTAINER)


def test_a_record_is_found_by_name_and_by_holder() -> None:
    catalog = Catalog()
    assert catalog.add(record()) == [Change(record(), added=True)]
    assert catalog.of_name(record().name) == (record(),)
    assert list(catalog.of_holder("c1")) == [record()]
    assert list(catalog.holders()) == ["c1"]
    assert len(catalog) == 1


def test_an_equal_record_is_no_change() -> None:
    catalog = Catalog()
    catalog.add(record())
    version = catalog.version
    assert catalog.add(record()) == []
    assert catalog.version == version


def test_a_new_ttl_takes_the_place_of_the_old_one() -> None:
    for count in (1, 3, 2 * MAX_TUPLE_RECORDS):
        catalog = Catalog()
        for number in range(count):
            catalog.add(record(number))
        changes = catalog.add(record(0, ttl_s=60))
        assert [(change.added, change.record.ttl_s) for change in changes] == [(False, 1), (True, 60)]
        assert [known.ttl_s for known in catalog.of_name(record().name)] == [60] + [1] * (count - 1)
        assert [known.ttl_s for known in catalog.of_holder("c1")] == [60] + [1] * (count - 1)
        assert len(catalog) == count


def test_a_removed_record_is_told_with_the_ttl_that_it_had() -> None:
    catalog = Catalog()
    catalog.add(record(ttl_s=60))
    (change,) = catalog.remove(record(ttl_s=1))
    assert (change.added, change.record.ttl_s) == (False, 60)
    assert catalog.remove(record()) == []
    assert not list(catalog.holders())
    assert not catalog.of_name(record().name)


def test_what_stays_is_not_touched_when_a_holder_is_replaced() -> None:
    catalog = Catalog()
    catalog.replace("c1", [record(1), record(2)])
    assert catalog.replace("c1", [record(2), record(3)]) == [
        Change(record(3), added=True),
        Change(record(1), added=False),
    ]
    assert catalog.replace("c1", []) == [Change(record(2), added=False), Change(record(3), added=False)]


def test_two_holders_may_have_the_same_record() -> None:
    catalog = Catalog()
    catalog.add(record(holder="c1"))
    catalog.add(record(holder="c2"))
    catalog.replace("c1", [])
    assert catalog.of_name(record().name) == (record(holder="c2"),)


def test_changes_worked_out_elsewhere_are_made_and_told() -> None:
    catalog = Catalog()
    catalog.add(record(1))
    made = catalog.apply([
        Change(record(1), added=True),
        Change(record(2), added=True),
        Change(record(1), added=False),
        Change(record(3), added=False),
    ])  # fmt: skip
    assert made == [Change(record(2), added=True), Change(record(1), added=False)]


RECORDS = st.builds(
    record,
    st.integers(0, 2 * MAX_TUPLE_RECORDS),
    name=st.sampled_from(["a", "b"]),
    holder=st.sampled_from(["c1", "c2"]),
    ttl_s=st.sampled_from([1, 60]),
)


class CatalogAgainstAPlainDict(RuleBasedStateMachine):
    """Whatever is done to it, the catalog holds what a dict in order of arrival holds, and its changes add up."""

    def __init__(self) -> None:
        super().__init__()
        self.catalog = Catalog()
        self.model: dict[Record, Record] = {}
        self.told: dict[Record, int] = {}

    def follow(self, changes: list[Change]) -> None:
        for change in changes:
            if change.added:
                assert change.record not in self.told
                self.told[change.record] = change.record.ttl_s
            else:
                assert self.told.pop(change.record) == change.record.ttl_s

    @rule(one=RECORDS)
    def add(self, one: Record) -> None:
        self.follow(self.catalog.add(one))
        self.model[one] = one

    @rule(one=RECORDS)
    def remove(self, one: Record) -> None:
        self.follow(self.catalog.remove(one))
        self.model.pop(one, None)

    @rule(holder=st.sampled_from(["c1", "c2"]), some=st.lists(RECORDS, max_size=24))
    def replace(self, holder: str, some: list[Record]) -> None:
        wanted = {one: one for one in reversed(some) if one.holder == holder}
        self.follow(self.catalog.replace(holder, wanted.values()))
        self.model.update(wanted)
        for gone in [known for known in self.model if known.holder == holder and known not in wanted]:
            del self.model[gone]

    @invariant()
    def holds_what_it_should(self) -> None:
        expected = [(one, one.ttl_s) for one in self.model.values()]
        for name in (b"\1a\0", b"\1b\0"):
            found = [(one, one.ttl_s) for one in self.catalog.of_name(name)]
            assert found == [pair for pair in expected if pair[0].name == name]
        for holder in ("c1", "c2"):
            held = [(one, one.ttl_s) for one in self.catalog.of_holder(holder)]
            assert held == [pair for pair in expected if pair[0].holder == holder]
        assert set(self.catalog.holders()) == {one.holder for one in self.model}
        assert len(self.catalog) == len(self.model) == len(list(self.catalog))
        assert self.told == {one: one.ttl_s for one in self.model.values()}


TestCatalogAgainstAPlainDict = CatalogAgainstAPlainDict.TestCase
TestCatalogAgainstAPlainDict.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_change_of_health_takes_the_place_of_the_old_record() -> None:
    catalog = Catalog()
    catalog.add(record(0))
    catalog.add(record(1))
    sick = replace(record(0), healthy=False)

    changes = catalog.add(sick)

    assert [(change.added, change.record.healthy) for change in changes] == [(False, True), (True, False)]
    assert [known.healthy for known in catalog.of_name(record().name)] == [False, True]
    assert catalog.add(sick) == []
    assert catalog.replace("c1", [record(0), record(1)]) == [Change(sick, added=False), Change(record(0), added=True)]
    assert len(catalog) == 2
