"""Aliases, wildcards and added addresses, as a client sees them."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import pytest

from tests.unit.dns.world import DOMAIN, World, opt, query, record, with_records
from weavedns.dns.compose import MAX_ALIASES, lookup
from weavedns.dns.resolver import Transport
from weavedns.dns.sections import Sections
from weavedns.records import names
from weavedns.records.record import RecordType


def answer(world: World, name: str, rtype: str = "A") -> list[str]:
    """Owner, type and data of each record of an answer; the code when there is none."""
    reply = world.ask(f"{name}.weave.local", rtype)
    found = [
        f"{rrset.name.to_text().removesuffix('.weave.local.')} {dns.rdatatype.to_text(rrset.rdtype)} {item}"
        for rrset in reply.answer
        for item in rrset
    ]
    return found or [reply.rcode().name]


def test_a_chain_of_aliases_is_answered_to_its_end() -> None:
    world = World(
        [
            record("a", "CNAME", "b"),
            record("b", "CNAME", "c"),
            record("c", "A", "10.2.0.1"),
            record("d", "CNAME", "no"),
        ]
    )
    assert answer(world, "a") == ["a CNAME b.weave.local.", "b CNAME c.weave.local.", "c A 10.2.0.1"]
    assert answer(world, "a", "CNAME") == ["a CNAME b.weave.local."]
    nothing = world.ask("a.weave.local", "AAAA")
    assert (nothing.rcode(), len(nothing.authority)) == (dns.rcode.NOERROR, 1)
    # RFC 6604: the code is about the end of the chain.
    gone = world.ask("d.weave.local")
    assert (gone.rcode(), len(gone.answer), len(gone.authority)) == (dns.rcode.NXDOMAIN, 1, 1)


def test_a_circle_of_aliases_is_answered_once_around() -> None:
    world = World([record("a", "CNAME", "b"), record("b", "CNAME", "a"), record("self", "CNAME", "self")])
    assert answer(world, "a") == ["a CNAME b.weave.local.", "b CNAME a.weave.local."]
    assert answer(world, "self") == ["self CNAME self.weave.local."]


def test_a_chain_longer_than_its_bound_is_a_failure() -> None:
    chain = [record(f"c{number}", "CNAME", f"c{number + 1}") for number in range(100)]
    world = World([*chain, record("c100", "A", "10.2.0.1")])
    assert lookup(world.answers, names.parse(f"c{100 - MAX_ALIASES}", DOMAIN), RecordType.A) == [bytes((10, 2, 0, 1))]
    assert answer(world, f"c{99 - MAX_ALIASES}") == ["SERVFAIL"]


@pytest.mark.parametrize("other", [("A", "10.2.0.1"), ("TXT", "x")])
def test_other_records_beat_an_alias_whoever_came_first(other: tuple[str, str]) -> None:
    alias, data = record("x", "CNAME", "y", holder="added"), record("x", *other, holder="container")
    for records in ([alias, data], [data, alias]):
        world = World(records)
        assert answer(world, "x", "CNAME") == ["NOERROR"]
        assert len(answer(world, "x", other[0])) == 1
        world.remove(data)
        assert answer(world, "x", "CNAME") == ["x CNAME y.weave.local."]


def test_of_two_aliases_the_same_one_is_answered_whoever_came_first() -> None:
    one, two = record("x", "CNAME", "a", holder="1"), record("x", "CNAME", "b", holder="2")
    assert answer(World([one, two]), "x") == answer(World([two, one]), "x") == ["x CNAME a.weave.local."]


def test_the_domain_itself_is_no_alias() -> None:
    world = World([record("@", "CNAME", "x")])
    assert world.values("weave.local", "CNAME") == []
    assert len(world.values("weave.local", "SOA")) == 1


@pytest.mark.parametrize(
    ("name", "rtype", "found"),
    [
        ("x.apps", "A", ["x.apps A 10.2.3.1"]),
        ("y.x.apps", "A", ["y.x.apps A 10.2.3.1"]),
        ("*.apps", "A", ["*.apps A 10.2.3.1"]),
        ("x.apps", "TXT", ["NOERROR"]),
        ("apps", "A", ["NOERROR"]),
        ("there.apps", "A", ["NOERROR"]),  # it exists
        ("x.there.apps", "A", ["NXDOMAIN"]),  # and what is under it does not
        ("er.apps", "A", ["NOERROR"]),  # an empty non-terminal exists
        ("x.er.apps", "A", ["NXDOMAIN"]),
        ("x.*.apps", "A", ["NXDOMAIN"]),
        ("x.stars", "A", ["NOERROR"]),  # the wildcard exists and has nothing
        ("x.links", "A", ["x.links CNAME any.apps.weave.local.", "any.apps A 10.2.3.1"]),
        ("elsewhere", "A", ["NXDOMAIN"]),
    ],
)
def test_a_wildcard_stands_for_names_that_do_not_exist(name: str, rtype: str, found: list[str]) -> None:
    world = World(
        [
            record("*.apps", "A", "10.2.3.1"),
            record("there.apps", "TXT", "x"),
            record("deep.er.apps", "A", "10.2.3.2"),
            record("below.*.stars", "A", "10.2.3.3"),
            record("*.links", "CNAME", "any.apps"),
        ]
    )
    assert answer(world, name, rtype) == found


def test_a_wildcard_right_below_the_domain_comes_and_goes() -> None:
    star = record("*", "A", "10.2.3.1")
    world = World()
    assert answer(world, "x") == ["NXDOMAIN"]
    world.add(star)
    assert answer(world, "x") == ["x A 10.2.3.1"]
    assert world.values("x.") == ["10.2.3.1"]
    assert answer(world, "redis") == ["redis A 10.2.0.1"]
    world.remove(star)
    assert answer(world, "x") == ["NXDOMAIN"]


def test_no_address_is_said_to_belong_to_a_wildcard() -> None:
    world = World([record("*.apps", "A", "10.2.3.1")])
    assert world.ask("1.3.2.10.in-addr.arpa", "PTR").rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize(
    ("rtype", "data"), [("SRV", ("0", "1", "80", "web")), ("MX", ("5", "web")), ("SRV", ("0", "1", "80", "x.apps"))]
)
def test_the_addresses_of_targets_are_added(rtype: str, data: tuple[str, ...]) -> None:
    host = data[-1]
    known = [record("*.apps", "A", "10.2.0.1"), record("*.apps", "AAAA", "2001:db8::1")]
    known += [record("web", "A", "10.2.0.1"), record("web", "AAAA", "2001:db8::1")]
    reply = World([record("x", rtype, *data), *known]).ask("x.weave.local", rtype)
    added = [(rrset.name.to_text(), rrset[0].to_text()) for rrset in reply.additional]
    assert added == [(f"{host}.weave.local.", "10.2.0.1"), (f"{host}.weave.local.", "2001:db8::1")]


def test_targets_elsewhere_and_aliases_add_nothing() -> None:
    hosts = ("mx.example.org.", "www", "gone", ".")
    world = World([*[record("x", "MX", "5", host) for host in hosts], record("www", "CNAME", "web")])
    assert world.ask("x.weave.local", "MX").additional == []


def test_addresses_that_do_not_fit_are_left_out_whole_and_without_a_word() -> None:
    hosts = [record("many", "A", f"10.2.1.{number}") for number in range(40)]
    world = World(
        [record("x", "MX", "5", "many"), record("x", "MX", "6", "few"), record("few", "A", "10.2.0.1"), *hosts]
    )
    packet = query("x.weave.local", "MX")
    # TCP has room for all, and the fast path does not know which of the two it is.
    assert world.responder.answer(packet, recursion=True) is None
    replies = [world.careful(packet), world.careful(packet, transport=Transport.TCP)]
    added = []
    for reply in replies:
        assert isinstance(reply, bytes)
        message = dns.message.from_wire(reply)
        assert not message.flags & dns.flags.TC
        assert len(message.answer[0]) == 2
        added.append(sorted(len(rrset) for rrset in message.additional))
    assert added == [[1], [1, 40]]


def test_a_long_reply_has_no_pointer_that_does_not_reach() -> None:
    texts = [record("x", "SRV", "0", "1", str(port), f"host{port}") for port in range(700)]
    hosts = [record(f"host{port}", "A", "10.2.0.1") for port in range(700)]
    reply = World([*texts, *hosts]).careful(
        with_records(query("x.weave.local", "SRV"), opt()), transport=Transport.TCP
    )
    assert isinstance(reply, bytes)
    message = dns.message.from_wire(reply)
    assert len(message.answer[0]) == len(message.additional) == 700
    assert {rrset.name for rrset in message.additional} == {item.target for item in message.answer[0]}


def test_lookup_gives_the_data_at_the_end_of_the_aliases() -> None:
    world = World()
    link = names.parse("link", DOMAIN)
    assert lookup(world.answers, link, RecordType.A) == [bytes((10, 2, 0, 1))]
    assert lookup(world.answers, link, RecordType.CNAME) == [names.parse("redis", DOMAIN)]
    assert lookup(world.answers, link, RecordType.TXT) == []


def test_sections_are_cut_at_whole_records_and_additions_at_whole_rrsets() -> None:
    sections = Sections((b"12", b"34"), (b"5",), ((b"6", b"7"), (b"8",)))
    assert sections.fit(8) == (sections, False)
    assert sections.fit(6) == (Sections((b"12", b"34"), (b"5",), ((b"8",),)), False)
    assert sections.fit(4) == (Sections((b"12", b"34")), True)
    assert sections.fit(3) == (Sections((b"12",)), True)
