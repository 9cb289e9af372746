from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.dns.world import DOMAIN, USUAL, World, record, zone
from weavedns.dns import rrset
from weavedns.dns.answers import Answers
from weavedns.dns.compose import lookup
from weavedns.dns.zone import reverse_zones
from weavedns.records import names
from weavedns.records.log import Snapshot
from weavedns.records.record import Origin, Record, RecordType


def name(text: str) -> bytes:
    return names.parse(text, DOMAIN)


def test_a_record_that_comes_is_answered_and_one_that_goes_is_not() -> None:
    world = World([])
    redis = record("redis", "A", "10.2.0.1")
    world.add(redis)
    assert world.values("redis.weave.local") == ["10.2.0.1"]
    world.remove(redis)
    assert world.ask("redis.weave.local").rcode().name == "NXDOMAIN"


def test_what_stands_in_the_catalog_at_the_start_is_answered() -> None:
    world = World()
    later = Answers(zone(), world.catalog)
    assert lookup(later, name("redis"), RecordType.A) == [bytes((10, 2, 0, 1))]


def test_the_same_data_from_two_holders_is_given_once_and_until_both_are_gone() -> None:
    first, second = (record("redis", "A", "10.2.0.1", holder=holder) for holder in ("one", "two"))
    world = World([first, second])
    assert world.values("redis.weave.local") == ["10.2.0.1"]
    world.remove(first)
    assert world.values("redis.weave.local") == ["10.2.0.1"]
    assert world.values("1.0.2.10.in-addr.arpa", "PTR") == ["redis.weave.local."]
    world.remove(second)
    assert world.values("redis.weave.local") == []


def test_an_rrset_has_one_ttl_the_smallest() -> None:
    world = World([record("web", "A", "10.2.0.1", ttl_s=30), record("web", "A", "10.2.0.2", ttl_s=5)])
    assert {rrset.ttl for rrset in world.ask("web.weave.local").answer} == {5}


def test_a_change_of_ttl_shows_and_keeps_the_order_of_names() -> None:
    world = World([record("host", "A", "10.2.0.1"), record("second", "A", "10.2.0.1")])
    world.add(record("host", "A", "10.2.0.1", ttl_s=60))
    assert world.ask("host.weave.local").answer[0].ttl == 60
    assert world.values_in_order("1.0.2.10.in-addr.arpa", "PTR") == ["host.weave.local.", "second.weave.local."]


def test_several_addresses_rotate_from_answer_to_answer() -> None:
    world = World()
    orders = [tuple(world.values_in_order("web.weave.local")) for _ in range(6)]
    a, b, c = "10.2.0.2", "10.2.0.3", "10.2.0.4"
    assert orders == [(a, b, c), (b, c, a), (c, a, b)] * 2


def test_records_of_different_length_rotate_whole() -> None:
    world = World([record("text", "TXT", text) for text in ("a", "bbb", "cc")])
    first, second = (world.values_in_order("text.weave.local", "TXT") for _ in range(2))
    assert (first, second) == (['"a"', '"bbb"', '"cc"'], ['"bbb"', '"cc"', '"a"'])


NAMED = [
    replace(record("added", "A", "10.2.0.9"), origin=Origin.ADDED),
    replace(record("second", "A", "10.2.0.9"), origin=Origin.ALIAS),
    replace(record("first", "A", "10.2.0.9"), origin=Origin.ALIAS),
    record("zhost", "A", "10.2.0.9"),
]


@pytest.mark.parametrize("records", list(permutations(NAMED)))
def test_names_of_an_address_come_host_name_first_however_they_came_and_do_not_rotate(
    records: Iterable[Record],
) -> None:
    world = World(records)
    for _ in range(3):
        expected = ["zhost.weave.local.", "first.weave.local.", "second.weave.local.", "added.weave.local."]
        assert world.values_in_order("9.0.2.10.in-addr.arpa", "PTR") == expected


def test_names_of_an_address_are_asked_for_while_a_peers_going_is_taken_in() -> None:
    world = World([record("mine", "A", "10.2.0.8")])
    replica = world.catalog.staged(Snapshot("peer", 1, 1, ()))
    for label, address in (("theirs", "10.2.0.9"), ("shared", "10.2.0.8")):
        replica.put(replace(record(label, "A", address), owner="peer"))
    world.answers.apply(world.catalog.adopt(replica) or ())
    going = world.catalog.hide("peer")
    assert world.ask("9.0.2.10.in-addr.arpa", "PTR").rcode().name == "NXDOMAIN"
    assert world.values_in_order("8.0.2.10.in-addr.arpa", "PTR") == ["mine.weave.local."]
    world.answers.apply(going)
    assert world.ask("9.0.2.10.in-addr.arpa", "PTR").rcode().name == "NXDOMAIN"
    assert world.values_in_order("8.0.2.10.in-addr.arpa", "PTR") == ["mine.weave.local."]


def test_an_address_outside_the_weave_range_has_no_reverse_name_here() -> None:
    world = World()
    assert world.answers.find(names.parse("10.2.0.192.in-addr.arpa.")) is None


def test_a_ptr_record_of_a_zone_file_joins_the_derived_ones() -> None:
    world = World([record("redis", "A", "10.2.0.1"), record("1.0.2.10.in-addr.arpa.", "PTR", "extra.example.")])
    assert world.values("1.0.2.10.in-addr.arpa", "PTR") == ["redis.weave.local.", "extra.example."]
    world.remove(record("redis", "A", "10.2.0.1"))
    assert world.values("1.0.2.10.in-addr.arpa", "PTR") == ["extra.example."]


def test_more_names_for_an_address_than_a_message_holds_do_not_make_it_endless() -> None:
    world = World([record(f"n{number}", "A", "10.2.0.1") for number in range(2500)])
    found = world.answers.find(names.parse("1.0.2.10.in-addr.arpa."))
    assert found
    assert isinstance(found.node, dict)
    pointers = found.node[b"\0\x0c\0\1"]
    assert isinstance(pointers, rrset.Rotation)
    assert int.from_bytes(pointers.count, "big") == 2000


@pytest.mark.parametrize("rtype", ["A", "TXT", "NS"])
def test_a_name_above_others_exists_without_records(rtype: str) -> None:
    world = World()
    reply = world.ask("project.weave.local", rtype)
    assert (reply.rcode().name, reply.answer) == ("NOERROR", [])
    assert reply.authority[0].to_text().startswith("weave.local. 1 IN SOA")


def test_a_name_above_others_goes_with_the_last_of_them() -> None:
    deep, deeper = record("x.y.z", "A", "10.2.0.1"), record("w.x.y.z", "A", "10.2.0.2")
    world = World([deep, deeper])
    for above in ("y.z", "z"):
        assert world.ask(f"{above}.weave.local").rcode().name == "NOERROR"
    world.remove(deep)
    assert world.ask("x.y.z.weave.local").rcode().name == "NOERROR"
    world.remove(deeper)
    for above in ("x.y.z", "y.z", "z"):
        assert world.ask(f"{above}.weave.local").rcode().name == "NXDOMAIN"


def test_a_name_above_others_can_get_records_and_lose_them() -> None:
    above = record("project", "A", "10.2.0.9")
    world = World()
    world.add(above)
    assert world.values("project.weave.local") == ["10.2.0.9"]
    world.remove(above)
    assert world.ask("project.weave.local").rcode().name == "NOERROR"


@pytest.mark.parametrize(
    ("reverse", "rcode"),
    [
        ("2.10.in-addr.arpa", "NOERROR"),
        ("0.2.10.in-addr.arpa", "NOERROR"),
        ("1.0.2.10.in-addr.arpa", "NOERROR"),
        ("9.2.10.in-addr.arpa", "NXDOMAIN"),
        ("200.0.2.10.in-addr.arpa", "NXDOMAIN"),
        ("01.0.2.10.in-addr.arpa", "NXDOMAIN"),
        ("x.1.0.2.10.in-addr.arpa", "NXDOMAIN"),
        ("256.0.2.10.in-addr.arpa", "NXDOMAIN"),
    ],
)
def test_reverse_names_exist_as_far_as_addresses_have_names(reverse: str, rcode: str) -> None:
    assert World().ask(reverse, "PTR").rcode().name == rcode


@pytest.mark.parametrize("apex", ["weave.local", "2.10.in-addr.arpa"])
def test_each_zone_has_its_soa_and_ns(apex: str) -> None:
    world = World()
    assert world.values(apex, "SOA") == ["weavedns.weave.local. hostmaster.weave.local. 1 3600 600 86400 1"]
    assert world.values(apex, "NS") == ["weavedns.weave.local."]


@pytest.mark.parametrize(
    ("network", "first", "count"),
    [
        ("10.2.0.0/16", "2.10.in-addr.arpa", 1),
        ("10.32.0.0/12", "32.10.in-addr.arpa", 16),
        ("10.0.0.0/8", "10.in-addr.arpa", 1),
        ("10.2.16.0/20", "16.2.10.in-addr.arpa", 16),
        ("10.2.3.64/26", "64.3.2.10.in-addr.arpa", 64),
    ],
)
def test_the_reverse_zones_hold_the_range_and_nothing_else(network: str, first: str, count: int) -> None:
    found = [names.render(apex) for apex in reverse_zones(zone(network).weave_range)]
    assert (found[0], len(found)) == (first, count)


def test_a_neighbour_of_an_odd_range_is_not_ours() -> None:
    world = World([record("a", "A", "10.32.0.1")], weave_range="10.32.0.0/12")
    assert world.values("1.0.32.10.in-addr.arpa", "PTR") == ["a.weave.local."]
    assert world.answers.find(names.parse("1.0.48.10.in-addr.arpa.")) is None
    assert world.answers.find(names.parse("10.in-addr.arpa.")) is None


def test_a_record_outside_our_zones_is_not_answered() -> None:
    world = World([record("www.example.org.", "A", "192.0.2.1")])
    assert world.answers.find(names.parse("www.example.org.")) is None


def test_lookup_gives_the_data_of_a_name_and_type() -> None:
    answers = World().answers
    assert lookup(answers, name("db"), RecordType.AAAA)[0][-1] == 5
    assert len(lookup(answers, name("web"), RecordType.A)) == 3
    assert lookup(answers, names.parse("1.0.2.10.in-addr.arpa."), RecordType.PTR) == [name("alias"), name("redis")]
    assert lookup(answers, name("nope"), RecordType.A) == []
    assert lookup(answers, names.parse("example.org."), RecordType.A) == []


LABELS = st.sampled_from(["a", "b", "c.b", "d.c.b", "e"])
RECORDS = st.builds(
    lambda label, value, holder, ttl_s: record(label, *value, holder=holder, ttl_s=ttl_s),
    LABELS,
    st.sampled_from([("A", "10.2.0.1"), ("A", "10.2.0.2"), ("A", "192.0.2.1"), ("TXT", "x"), ("AAAA", "::1")]),
    st.sampled_from(["one", "two"]),
    st.sampled_from([1, 7]),
)


@given(st.lists(st.tuples(st.booleans(), RECORDS), max_size=30))
def test_changes_one_by_one_come_to_the_same_as_all_at_once(steps: list[tuple[bool, object]]) -> None:
    world = World([])
    for adding, each in steps:
        (world.add if adding else world.remove)(each)  # type: ignore[arg-type]
    fresh = Answers(zone(), world.catalog)
    assert world.answers.nodes.keys() == fresh.nodes.keys()
    asked = [
        "a",
        "b",
        "c.b",
        "d.c.b",
        "e",
        "1.0.2.10.in-addr.arpa.",
        "2.0.2.10.in-addr.arpa.",
        "0.2.10.in-addr.arpa.",
    ]
    for text in asked:
        one, other = (answers.find(name(text)) for answers in (world.answers, fresh))
        assert one
        assert other
        assert (one.node is None) == (other.node is None)
        for rtype in (RecordType.A, RecordType.AAAA, RecordType.TXT, RecordType.PTR):
            assert sorted(lookup(world.answers, name(text), rtype)) == sorted(lookup(fresh, name(text), rtype))


def test_taking_everything_out_leaves_nothing_behind() -> None:
    world = World(USUAL)
    world.remove(*USUAL)
    assert set(world.answers.nodes) == {DOMAIN}
    assert not any(world.answers._addresses._names)
    assert not world.answers._addresses._below
    assert not world.answers._forward._below
