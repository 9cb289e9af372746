from __future__ import annotations

import random
from ipaddress import IPv4Network

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.dns.world import USUAL, World, opt, query, record, with_records
from weavedns.dns.answers import Answers, Zone
from weavedns.dns.resolver import Answer, Forward, Resolver, Transport
from weavedns.dns.responder import Responder
from weavedns.dns.slots import Slots
from weavedns.dns.upstream import Upstreams
from weavedns.records import names
from weavedns.records.catalog import Catalog
from weavedns.records.record import Record

# Everything whose answer is more than one RRset.
RICH = (
    *USUAL,
    record("chain", "CNAME", "link", ttl_s=9),
    record("nowhere", "CNAME", "gone"),
    record("empty", "CNAME", "text"),
    record("self", "CNAME", "self"),
    record("tick", "CNAME", "tock"),
    record("tock", "CNAME", "tick"),
    record("away", "CNAME", "www.example.org."),
    record("many", "CNAME", "web"),
    record("loud", "CNAME", "long"),
    *[record("long", "TXT", "x" * size) for size in (200, 201, 202)],
    record("*.apps", "A", "10.2.3.1"),
    record("*.apps", "AAAA", "2001:db8::1"),
    record("there.apps", "TXT", "x"),
    record("deep.er.apps", "A", "10.2.3.2"),
    record("*.er.apps", "CNAME", "link"),
    record("*.mx", "MX", "5", "db"),
    record("*.mx", "MX", "6", "host.apps"),
    record("below.*.stars", "A", "10.2.3.3"),
    record("_ldap._tcp", "SRV", "0", "1", "389", "db"),
    record("_ldap._tcp", "SRV", "0", "1", "389", "web"),
    record("_ldap._tcp", "SRV", "0", "1", "389", "gone"),
    record("_ldap._tcp", "SRV", "0", "1", "389", "ldap.example.org."),
    record("_alias._tcp", "CNAME", "_ldap._tcp"),
    *[record("_wide._tcp", "SRV", "0", "1", str(port), f"h{port}.apps") for port in range(9)],
)
RICH_NAMES = st.one_of(
    st.sampled_from([names.render(each.name) for each in RICH]),
    st.builds(
        "{}.{}.weave.local".format,
        st.sampled_from(["a", "there", "a.there", "er", "b.er", "a.b.er", "deep.er", "*", "x.*"]),
        st.sampled_from(["apps", "mx", "stars", "link", "web"]),
    ),
)
LABEL = st.text(alphabet="abXY09-_", min_size=1, max_size=12)
NAMES = st.one_of(
    st.sampled_from([f"{names.render(each.name)}" for each in USUAL]),
    st.sampled_from(["weave.local", "project.weave.local", "_tcp.web.weave.local", "2.10.in-addr.arpa"]),
    st.sampled_from(
        ["1.0.2.10.in-addr.arpa", "0.2.10.in-addr.arpa", "9.9.2.10.in-addr.arpa", "x.1.0.2.10.in-addr.arpa"]
    ),
    st.lists(LABEL, min_size=1, max_size=4).map(lambda labels: ".".join(labels) + ".weave.local"),
    st.lists(LABEL, min_size=1, max_size=3).map(".".join),
)
TYPES = st.sampled_from(
    ["A", "AAAA", "PTR", "NS", "SOA", "MX", "TXT", "SRV", "CNAME", "TYPE65", "TYPE90", "DS", "ANY"]
)


@st.composite
def queries(draw: st.DrawFn, asked: st.SearchStrategy[str] = NAMES) -> bytes:
    name = "".join(draw(st.sampled_from([char.lower(), char.upper()])) for char in draw(asked))
    flags = sum(draw(st.sets(st.sampled_from([0x0100, 0x0010, 0x0020]))))
    packet = query(name, draw(TYPES), flags=flags, ident=draw(st.integers(0, 65535)))
    if draw(st.booleans()):
        size = draw(st.sampled_from([0, 511, 512, 1232, 4096, 65535]))
        packet = with_records(packet, opt(size, dnssec_ok=draw(st.booleans())))
    return packet


@settings(deadline=None)
@given(queries(), st.booleans())
def test_the_fast_path_answers_what_it_answers_as_the_careful_path_does(packet: bytes, recursion: bool) -> None:
    fast = World().responder.answer(packet, recursion=recursion)
    if fast is not None:
        assert fast == World().careful(packet, recursion=recursion)


@settings(deadline=None)
@given(
    queries(st.one_of(NAMES, RICH_NAMES)),
    st.booleans(),
    st.sampled_from([(), (record("*", "A", "10.2.3.9"),)]),
    st.sampled_from(Transport),
)
@example(query("_wide._tcp.weave.local", "SRV"), True, (), Transport.TCP)
def test_aliases_wildcards_and_added_addresses_are_the_same_on_both_paths(
    packet: bytes, recursion: bool, more: tuple[Record, ...], transport: Transport
) -> None:
    fast = World((*RICH, *more)).responder.answer(packet, recursion=recursion)
    careful = World((*RICH, *more)).careful(packet, recursion=recursion, transport=transport)
    if fast is not None:
        assert fast == careful
    if isinstance(careful, bytes):
        dns.message.from_wire(careful)


@given(st.integers(2, 80), st.sampled_from(["a", "aaaaaaaaaaaa"]), st.booleans())
def test_large_rrsets_are_answered_alike_or_left_to_the_careful_path(count: int, label: str, edns: bool) -> None:
    records = [record(label, "A", f"10.2.1.{number}") for number in range(count)]
    packet = query(f"{label}.weave.local")
    packet = with_records(packet, opt(1232)) if edns else packet
    fast = World(records).responder.answer(packet, recursion=False)
    careful = World(records).careful(packet, recursion=False)
    assert isinstance(careful, bytes)
    limit = 1232 if edns else 512
    assert len(careful) <= limit
    assert fast == (None if careful[2] & 0x02 else careful)


@given(st.binary(max_size=700))
@example(b"")
@example(b"\0" * 12)
@example(query("a.weave.local")[:14])
@example(b"\0\1\1\0\0\1\0\0\0\0\0\1" + b"\0" * 16)
def test_any_bytes_get_a_reply_or_none(packet: bytes) -> None:
    world = World()
    fast = world.responder.answer(packet, recursion=True)
    careful = world.careful(packet)
    if len(packet) < 12 or packet[2] & 0x80:
        assert (fast, careful) == (None, None)
    else:
        assert isinstance(careful, bytes | Forward) or fast is not None
        for reply in (fast, careful):
            if isinstance(reply, bytes):
                assert reply[:2] == packet[:2]
                assert reply[2] & 0x80
                dns.message.from_wire(reply)


@given(queries(), st.integers(0, 80), st.data())
def test_cut_and_bent_queries_are_never_misread(packet: bytes, cut: int, data: st.DataObject) -> None:
    bent = bytearray(packet[: len(packet) - cut])
    if bent:
        bent[data.draw(st.integers(0, len(bent) - 1))] = data.draw(st.integers(0, 255))
    fast = World().responder.answer(bytes(bent), recursion=True)
    careful = World().careful(bytes(bent))
    if fast is not None:
        assert fast == careful
    if len(bent) >= 12 and not bent[2] & 0x80:
        assert careful is not None


def test_what_a_slot_held_before_does_not_shine_through() -> None:
    world = World()
    slots = Slots(3)
    heads = world.responder.heads(recursion=True)
    slots.put(0, query("redis.weave.local"))
    slots.put(1, query("redis.weave.local"))
    slots.put(2, query("redis.weave.local"))
    # The datagrams that came are shorter than what is in the slots.
    assert world.responder.answer_slots(slots, [3, 16, 20], [heads] * 3) == [0, 0, 0]
    assert slots.get(0, 35) == query("redis.weave.local")


def test_a_batch_is_answered_in_its_slots() -> None:
    world = World()
    packets = [query("redis.weave.local"), query("example.org"), query("nope.weave.local"), query("db.weave.local")]
    slots = Slots(8)
    for slot, packet in enumerate(packets):
        slots.put(slot, packet)
    heads = world.responder.heads(recursion=False)
    sizes = world.responder.answer_slots(slots, [len(packet) for packet in packets], [heads] * 4)
    assert [bool(size) for size in sizes] == [True, False, True, True]
    replies = [dns.message.from_wire(slots.get(slot, size)) for slot, size in enumerate(sizes) if size]
    assert [reply.rcode().name for reply in replies] == ["NOERROR", "NXDOMAIN", "NOERROR"]
    assert slots.get(1, len(packets[1])) == packets[1]


def test_a_packet_that_the_fast_path_fails_at_is_left_to_the_careful_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(Responder, "_select", fault)
    world = World()
    packets = [query("redis.weave.local"), query("redis.weave.local", "TXT"), query("db.weave.local")]
    slots = Slots(3)
    for slot, packet in enumerate(packets):
        slots.put(slot, packet)
    heads = world.responder.heads(recursion=False)
    sizes = world.responder.answer_slots(slots, map(len, packets), [heads] * 3)
    # Of db there are an A and an AAAA record, so that takes a closer look as well.
    assert [bool(size) for size in sizes] == [True, False, False]
    assert slots.get(1, len(packets[1])) == packets[1]


@pytest.mark.parametrize("length", [250, 255, 256, 266])
def test_names_around_the_longest_are_the_same_on_both_paths(length: int) -> None:
    domain = ".".join(["d" * 60] * 3 + ["d" * 10])
    label = "n" * (length - len(domain) - 3)
    answers = Answers(
        Zone(names.parse(domain), IPv4Network("10.2.0.0/16"), names.parse(f"ns.{domain}"), 1), Catalog()
    )
    packet = query(f"{label}.{domain}")
    assert len(packet) == length + 16
    decision = Resolver(answers, Upstreams()).resolve(packet, recursion=False, transport=Transport.UDP)
    assert isinstance(decision, Answer)
    assert dns.rcode.to_text(dns.rcode.Rcode(decision.packet[3] & 15)) == ("NXDOMAIN" if length <= 255 else "FORMERR")
    assert Responder(answers).answer(packet, recursion=False) in (None, decision.packet)


@pytest.mark.parametrize(
    ("name", "rtype"),
    [
        ("redis.weave.local", "A"),
        ("ReDiS.WeAvE.lOcAl", "A"),
        ("redis.weave.local", "AAAA"),
        ("nope.weave.local", "A"),
        ("nope.weave.local", "AAAA"),
        ("a.b.c.weave.local", "A"),
        ("project.weave.local", "A"),
        ("web.weave.local", "A"),
        ("odd.weave.local", "TYPE65"),
        ("1.0.2.10.in-addr.arpa", "PTR"),
        ("link.weave.local", "A"),
        ("mail.weave.local", "MX"),
        ("_http._tcp.web.weave.local", "SRV"),
        ("weave.local", "NS"),
    ],
)
def test_plain_questions_of_ours_take_the_fast_path(name: str, rtype: str) -> None:
    world = World()
    for packet in (query(name, rtype), with_records(query(name, rtype), opt())):
        assert world.responder.answer(packet, recursion=True) is not None


@pytest.mark.parametrize(
    "packet",
    [
        query("example.org"),
        query("redis"),
        query("localhost"),
        query("1.0.3.10.in-addr.arpa", "PTR"),
        query("redis.weave.local", "ANY"),
        query("redis.weave.local", "AXFR"),
        query("redis.weave.local", flags=0x0900),
        query("redis.weave.local", flags=0x8100),
        query("redis.weave.local")[:-2] + b"\0\3",
        query("redis.weave.local") + b"\0",
        with_records(query("redis.weave.local"), opt(options=b"\0\3\0\0")),
        with_records(query("redis.weave.local"), opt(version=1)),
        with_records(query("redis.weave.local"), opt(), opt()),
        b"\0\0\1\0\0\1\0\0\0\0\0\0" + b"\xc0\x0c\0\1\0\1",
    ],
)
def test_everything_unusual_is_left_to_the_careful_path(packet: bytes) -> None:
    assert World().responder.answer(packet, recursion=True) is None


def test_the_question_comes_back_as_it_was_sent() -> None:
    packet = query("ReDiS.WeAvE.LoCaL", ident=0xBEEF)
    reply = World().responder.answer(packet, recursion=True)
    assert reply
    assert reply[:2] == b"\xbe\xef"
    assert reply[12 : len(packet)] == packet[12:]


@pytest.mark.parametrize("recursion", [True, False])
def test_ra_is_set_for_who_may_have_queries_forwarded(recursion: bool) -> None:
    reply = dns.message.from_wire(World().responder.answer(query("redis.weave.local"), recursion=recursion) or b"")
    assert bool(reply.flags & dns.flags.RA) == recursion
    assert reply.flags & dns.flags.AA


def test_sizes_in_opt_that_nobody_else_uses_do_not_pile_up() -> None:
    world = World()
    for size in range(0, 65536, 64):
        assert world.responder.answer(with_records(query("redis.weave.local"), opt(size)), recursion=True)
    assert len(world.responder._opts) <= 512


def test_a_long_name_server_name_still_fits_or_is_left_to_the_careful_path() -> None:
    # The SOA of a reverse zone spells the domain out twice; 512 bytes must still hold.
    world = World()
    generator = random.Random(7)
    for _ in range(200):
        labels = [str(generator.randrange(10**9)) * 6 for _ in range(3)]
        packet = query(".".join([*labels, "1.0.2.10.in-addr.arpa"]), "PTR")
        fast = Responder(world.answers).answer(packet, recursion=True)
        assert fast is None or len(fast) <= 512
