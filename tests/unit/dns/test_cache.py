from __future__ import annotations

from dataclasses import dataclass

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.unit.dns.world import opt, query, with_records
from weavedns.dns.cache import (
    FIRST_FAILURE_S,
    MAX_FAILURE_S,
    MAX_FAILURES,
    MAX_NEGATIVE_TTL_S,
    MAX_STALE_S,
    MAX_TTL_S,
    STALE_TTL_S,
    Cache,
    Entry,
    key_of,
)
from weavedns.dns.message import Query, build_upstream_query, parse_query, parse_reply, relay
from weavedns.dns.wire import MAX_TCP_BYTES, Flag, Rcode
from weavedns.records import names

SOA = "ns.example. host.example. 1 2 3 4 {minimum}"


@dataclass(frozen=True)
class Said:
    """What an upstream says to a question."""

    values: tuple[str, ...] = ("192.0.2.1",)
    ttl_s: int = 60
    rcode: int = 0
    soa: tuple[int, int] | None = None  # its TTL and minimum
    flags: int = 0
    others: tuple[tuple[str, int, str, str], ...] = ()  # name, TTL, type, data; into the answer


def asked(name: str = "www.example", rtype: str = "A", *additional: bytes, flags: int = 0x0100) -> Query:
    found = parse_query(with_records(query(name, rtype, flags=flags), *additional))
    assert found
    return found


def said(question: Query, what: Said) -> bytes:
    message = dns.message.from_wire(build_upstream_query(question, 7))
    reply = dns.message.make_response(message, recursion_available=True, our_payload=1232)
    reply.flags |= what.flags
    reply.set_rcode(dns.rcode.Rcode(what.rcode))
    owner, rtype = message.question[0].name, message.question[0].rdtype
    for name, ttl_s, kind, data in what.others:
        reply.answer.append(dns.rrset.from_text(name, ttl_s, "IN", kind, data))
    if what.values:
        reply.answer.append(dns.rrset.from_text(owner, what.ttl_s, "IN", rtype, *what.values))
    if what.soa:
        text = SOA.format(minimum=what.soa[1])
        reply.authority.append(dns.rrset.from_text("example.", what.soa[0], "IN", "SOA", text))
    return reply.to_wire(max_size=65535)


def store(cache: Cache, question: Query, what: Said = Said(), *, now: float = 0.0) -> Entry | None:
    return cache.store(question, parse_reply(said(question, what), question, 7), now)


def fast(cache: Cache, packet: bytes, now: float = 0.0) -> dns.message.Message | None:
    reply = cache.answer(packet, now)
    return dns.message.from_wire(reply) if reply else None


@pytest.mark.parametrize(("later_s", "left_s"), [(0, 60), (0.9, 60), (1, 59), (59.9, 1), (60, None), (61, None)])
def test_an_answer_is_given_with_its_ttl_counted_down_until_it_expires(later_s: float, left_s: int | None) -> None:
    cache = Cache()
    store(cache, asked(), now=1000.5)
    reply = fast(cache, query("www.example"), 1000.5 + later_s)
    assert (reply.answer[0].ttl if reply else None) == left_s
    entry = cache.get(key_of(asked()), 1000.5 + later_s)
    assert (entry is not None) == (left_s is not None)


def test_an_answer_has_the_askers_id_letters_and_flags() -> None:
    cache = Cache()
    store(cache, asked("www.example"), Said(flags=Flag.AA | Flag.AD))
    packet = query("wWw.eXample", flags=0x0100, ident=0xBEEF)
    reply = cache.answer(packet, 0.0)
    assert reply
    assert reply[:2] == b"\xbe\xef"
    assert reply[12 : len(packet)] == packet[12:]
    flags = int.from_bytes(reply[2:4], "big")
    assert flags == Flag.QR | Flag.RD | Flag.RA


@pytest.mark.parametrize(
    ("packet", "is_authentic"),
    [
        (query("www.example", flags=0x0100), False),
        (query("www.example", flags=0x0120), True),
        (with_records(query("www.example"), opt(dnssec_ok=True)), True),
    ],
)
def test_authentic_data_is_told_to_who_knows_of_it(packet: bytes, is_authentic: bool) -> None:
    cache = Cache()
    question = parse_query(packet)
    assert question
    store(cache, question, Said(flags=Flag.AD))
    reply = fast(cache, packet)
    assert reply
    assert bool(reply.flags & dns.flags.AD) is is_authentic
    careful = relay(question, cache.entries[key_of(question)].reply, limit_bytes=1232, flags=Flag.RA)
    assert bool(dns.message.from_wire(careful).flags & dns.flags.AD) is is_authentic


@pytest.mark.parametrize(
    "other",
    [
        query("www.example", "AAAA"),
        query("example"),
        query("www.example", flags=0x0110),
        with_records(query("www.example"), opt(dnssec_ok=True)),
        query("www.example")[:-1] + b"\3",
    ],
)
def test_questions_that_differ_have_answers_of_their_own(other: bytes) -> None:
    cache = Cache()
    store(cache, asked())
    assert cache.answer(query("www.example"), 0.0)
    assert cache.answer(other, 0.0) is None
    question = parse_query(other)
    assert question
    assert cache.get(key_of(question), 0.0) is None


def test_types_are_not_letters() -> None:
    cache = Cache()
    store(cache, asked("www.example", "HTTPS"), Said(values=("1 . alpn=h2",)))
    assert cache.answer(query("www.example", "HTTPS"), 0.0)
    assert cache.answer(query("www.example", "TYPE97"), 0.0) is None


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        bytes(12),
        query("www.example", flags=0x0000),
        query("www.example", flags=0x8100),
        query("www.example", flags=0x2900),
        query("www.example")[:-1],
        query("www.example") + b"\0",
        with_records(query("www.example"), opt(version=1)),
        with_records(query("www.example"), opt(options=b"\0\3\0\0")),
        with_records(query("www.example"), opt(), opt()),
        with_records(query("www.example"), opt()[:-1]),
        with_records(query(""), b""),
    ],
)
def test_what_is_no_plain_question_is_left_to_the_careful_path(packet: bytes) -> None:
    cache = Cache()
    store(cache, asked())
    assert cache.answer(packet, 0.0) is None


def test_names_that_are_withheld_are_not_answered_at_once() -> None:
    cache = Cache()
    store(cache, asked())
    assert cache.answer(query("WWW.example"), 0.0, withheld={names.parse("www.example.")}) is None
    assert cache.answer(query("www.example"), 0.0, withheld={names.parse("example.")})


def test_an_answer_too_large_for_the_asker_is_left_to_the_careful_path() -> None:
    cache = Cache()
    many = tuple(f"192.0.2.{number}" for number in range(1, 101))
    question = asked()
    entry = store(cache, question, Said(values=many))
    assert entry
    assert cache.answer(query("www.example"), 0.0) is None
    cut = dns.message.from_wire(relay(question, entry.aged(0.0), limit_bytes=512, flags=Flag.RA))
    assert cut.flags & dns.flags.TC
    assert 0 < len(cut.answer[0]) < 100
    whole = dns.message.from_wire(relay(question, entry.aged(0.0), limit_bytes=MAX_TCP_BYTES, flags=Flag.RA))
    assert len(whole.answer[0]) == 100


@pytest.mark.parametrize(
    ("what", "lifetime_s"),
    [
        (Said(ttl_s=0), 0),
        (Said(ttl_s=MAX_TTL_S + 1), MAX_TTL_S),
        (Said(ttl_s=0x7FFFFFFF), MAX_TTL_S),
        (Said(others=(("alias.example.", 5, "CNAME", "www.example."),)), 5),
        (Said(values=(), soa=(300, 60)), 60),
        (Said(values=(), soa=(30, 60)), 30),
        (Said(values=(), soa=(300, 0)), 0),
        (Said(values=(), rcode=3, soa=(300, 60)), 60),
        (Said(values=(), rcode=3, soa=(10**6, 10**6)), MAX_NEGATIVE_TTL_S),
        (Said(values=(), rcode=3), 0),
        (Said(values=()), 0),
        (Said(values=(), others=(("www.example.", 50, "CNAME", "x.example."),), soa=(300, 60)), 50),
        (Said(values=(), others=(("www.example.", 50, "CNAME", "x.example."),)), 0),
        (Said(rcode=2), 0),
        (Said(rcode=5), 0),
        (Said(rcode=6), 0),
        (Said(flags=Flag.TC), 0),
    ],
)
def test_how_long_an_answer_is_kept(what: Said, lifetime_s: int) -> None:
    cache = Cache()
    entry = store(cache, asked(), what)
    assert (entry.expires_s if entry else 0) == lifetime_s
    assert len(cache) == bool(lifetime_s)


def test_a_negative_answer_says_how_long_it_holds() -> None:
    cache = Cache()
    store(cache, asked(), Said(values=(), rcode=3, soa=(300, 60)))
    reply = fast(cache, query("www.example"), 10.0)
    assert reply
    assert reply.rcode() == dns.rcode.NXDOMAIN
    assert reply.authority[0].ttl == 50


def test_an_answer_that_is_not_to_be_kept_ends_the_one_before_it() -> None:
    cache = Cache()
    store(cache, asked())
    store(cache, asked(), Said(ttl_s=0))
    assert (len(cache), cache.size_bytes) == (0, 0)


def test_nothing_of_an_opt_is_kept() -> None:
    cache = Cache()
    question = asked("www.example", "A", opt(options=b"\0\x0a\0\x08clientck"))
    packet = said(question, Said())
    with_cookie = packet[:-2] + b"\0\x14\0\x0a\0\x10" + b"servercookiesecr"
    entry = cache.store(question, parse_reply(with_cookie, question, 7), 0.0)
    assert entry
    assert b"cookie" not in entry.reply.packet
    assert b"clientck" not in entry.key
    reply = fast(cache, with_records(query("www.example"), opt()))
    assert reply
    assert (reply.edns, reply.options) == (0, ())
    plain = fast(cache, query("www.example"))
    assert plain
    assert plain.edns == -1


def test_an_expired_answer_can_be_had_for_a_day_with_a_short_ttl() -> None:
    cache = Cache()
    store(cache, asked())
    key = key_of(asked())
    assert cache.get(key, 60.0) is None
    entry = cache.get_stale(key, 60.0 + MAX_STALE_S - 1)
    assert entry
    reply = dns.message.from_wire(relay(asked(), entry.stale(), limit_bytes=1232, flags=0))
    assert reply.answer[0].ttl == STALE_TTL_S
    assert cache.get_stale(key, 60.0 + MAX_STALE_S) is None


def test_failures_are_remembered_for_five_seconds_at_most() -> None:
    cache, now = Cache(), 0.0
    key = key_of(asked())
    lasted = []
    for _ in range(5):
        cache.fail(key, Rcode.SERVFAIL, now)
        failure = cache.failure(key, now)
        assert failure
        lasted.append(failure.until_s - now)
        assert cache.failure(key, failure.until_s - 0.01)
        assert cache.failure(key, failure.until_s) is None
        now = failure.until_s
    assert lasted == [FIRST_FAILURE_S, 2.0, 4.0, MAX_FAILURE_S, MAX_FAILURE_S]
    store(cache, asked(), now=now)
    cache.fail(key, Rcode.REFUSED, now)
    assert cache.failure(key, now + FIRST_FAILURE_S) is None


def test_failures_are_bounded() -> None:
    cache = Cache()
    for number in range(MAX_FAILURES + 10):
        cache.fail(key_of(asked(f"n{number}.example")), Rcode.SERVFAIL, 0.0)
    assert len(cache._failures) == MAX_FAILURES
    assert cache.failure(key_of(asked("n0.example")), 0.0) is None
    assert cache.failure(key_of(asked(f"n{MAX_FAILURES}.example")), 0.0)


def test_what_is_used_stays_longer_than_what_is_not() -> None:
    cache = Cache(max_entries=3)
    for name in ("a.example", "b.example", "c.example"):
        store(cache, asked(name))
    assert cache.answer(query("a.example"), 0.0)
    store(cache, asked("d.example"))
    assert [names.render(key[:-4]) for key in cache.entries] == ["c.example", "a.example", "d.example"]


def test_what_has_expired_goes_even_if_it_was_used() -> None:
    cache = Cache(max_entries=2)
    store(cache, asked("a.example"))
    cache.answer(query("a.example"), 0.0)
    store(cache, asked("b.example"), now=61.0)
    store(cache, asked("c.example"), now=61.0)
    assert [names.render(key[:-4]) for key in cache.entries] == ["b.example", "c.example"]


def test_an_answer_larger_than_the_cache_is_not_kept() -> None:
    cache = Cache(max_bytes=2000)
    assert store(cache, asked(), Said(values=tuple(f"192.0.2.{number}" for number in range(1, 100)))) is None
    assert cache.size_bytes == 0


@pytest.mark.parametrize(
    ("name", "left"),
    [
        (None, []),
        ("example.", ["www.other"]),
        ("www.example.", ["deep.a.example", "www.other"]),
        ("le.", ["www.example", "deep.a.example", "www.other"]),
        ("a.example.", ["www.example", "www.other"]),
    ],
)
def test_flushing_forgets_a_name_and_those_under_it(name: str | None, left: list[str]) -> None:
    cache = Cache()
    for each in ("www.example", "deep.a.example", "www.other"):
        store(cache, asked(each))
        cache.fail(key_of(asked(each, "AAAA")), Rcode.SERVFAIL, 0.0)
    before = cache.generation
    assert cache.flush(names.parse(name) if name else None) == 3 - len(left)
    assert [names.render(key[:-4]) for key in cache.entries] == left
    assert [names.render(key[:-4]) for key in cache._failures] == left
    assert cache.generation > before
    if not left:
        assert cache.size_bytes == 0


def test_after_a_change_of_servers_answers_are_only_there_for_want_of_better_ones() -> None:
    cache = Cache()
    store(cache, asked())
    cache.fail(key_of(asked("x.example")), Rcode.SERVFAIL, 0.0)
    cache.expire(5.0)
    assert cache.answer(query("www.example"), 5.0) is None
    assert cache.get_stale(key_of(asked()), 5.0)
    assert cache.failure(key_of(asked("x.example")), 0.0) is None


@given(
    st.lists(st.ip_addresses(v=4).map(str), min_size=1, max_size=20, unique=True),
    st.integers(1, 10**6),
    st.floats(0, 10**6),
    st.sampled_from([0x0100, 0x0110, 0x0120, 0x0130]),
    st.none() | st.tuples(st.integers(0, 65535), st.booleans()),
)
def test_both_ways_to_an_answer_give_the_same_bytes(
    values: list[str], ttl_s: int, later_s: float, flags: int, edns: tuple[int, bool] | None
) -> None:
    packet = query("wWw.example", flags=flags)
    if edns:
        packet = with_records(packet, opt(edns[0], dnssec_ok=edns[1]))
    question = parse_query(packet)
    assert question
    # Two, as the order of addresses turns with each answer.
    quick, slow = Cache(), Cache()
    told = parse_reply(said(question, Said(values=tuple(values), ttl_s=ttl_s, flags=Flag.AD)), question, 7)
    for cache in (quick, slow):
        cache.store(question, told, 0.0)
    reply = quick.answer(packet, later_s)
    entry = slow.get(key_of(question), later_s)
    if reply is None:
        limit = question.udp_limit_bytes
        assert entry is None or len(relay(question, entry.aged(later_s), limit_bytes=9999, flags=Flag.RA)) > limit
    else:
        assert entry
        assert reply == relay(question, entry.aged(later_s), limit_bytes=question.udp_limit_bytes, flags=Flag.RA)


def in_order(reply: bytes | None) -> list[str]:
    """The data of the answer as they stand on the wire."""
    assert reply
    message = dns.message.from_wire(reply, one_rr_per_rrset=True)
    return [f"{rrset.ttl} {rrset[0]}" for rrset in message.answer]


@pytest.mark.parametrize("rtype", ["A", "AAAA"])
def test_each_of_several_addresses_comes_first_in_its_turn(rtype: str) -> None:
    values = ("192.0.2.1", "192.0.2.2", "192.0.2.3") if rtype == "A" else ("2001:db8::1", "2001:db8::2")
    cache = Cache()
    store(cache, asked(rtype=rtype), Said(values=values))
    given = [in_order(cache.answer(query("www.example", rtype), second)) for second in (0, 0, 5, 5, 6, 7)]
    assert [sorted(each) for each in given] == [
        sorted(f"{60 - second} {value}" for value in values) for second in (0, 0, 5, 5, 6, 7)
    ]
    assert {each[0].split()[1] for each in given} == set(values)
    entry = cache.get(key_of(asked(rtype=rtype)), 8)
    assert entry
    question = asked(rtype=rtype)
    replies = [relay(question, entry.aged(8), limit_bytes=MAX_TCP_BYTES, flags=Flag.RA) for _ in values]
    careful = [in_order(reply)[0] for reply in replies]
    assert len(set(careful)) == len(values)


def test_addresses_behind_an_alias_turn_and_the_alias_stays_first() -> None:
    question = asked()
    cache = Cache()
    alias = ("www.example.", 60, "CNAME", "host.example.")
    addresses = tuple(("host.example.", 60, "A", f"192.0.2.{number}") for number in (1, 2))
    store(cache, question, Said(values=(), others=(alias, *addresses)))
    given = [in_order(cache.answer(query("www.example"), 0)) for _ in range(2)]
    assert [each[0] for each in given] == ["60 host.example."] * 2
    assert sorted(each[1] for each in given) == ["60 192.0.2.1", "60 192.0.2.2"]


@pytest.mark.parametrize(
    "others",
    [
        (("www.example.", 60, "A", "192.0.2.1"), ("www.example.", 50, "A", "192.0.2.2")),
        (("www.example.", 60, "A", "192.0.2.1"), ("other.example.", 60, "A", "192.0.2.2")),
    ],
)
def test_records_that_are_no_set_stay_where_they_stand(others: tuple[tuple[str, int, str, str], ...]) -> None:
    cache = Cache()
    store(cache, asked(), Said(values=(), others=others))
    given = [in_order(cache.answer(query("www.example"), 0)) for _ in range(3)]
    assert given[0] == given[1] == given[2]


class AgainstAModel(RuleBasedStateMachine):
    """Whatever happens, the cache says nothing wrong, keeps its bounds, and knows how large it is."""

    MAX_ENTRIES, MAX_BYTES = 5, 12_000
    NAMES = tuple(f"n{number}.example" for number in range(8))

    def __init__(self) -> None:
        super().__init__()
        self.cache = Cache(max_entries=self.MAX_ENTRIES, max_bytes=self.MAX_BYTES)
        self.now = 0.0
        self.model: dict[str, tuple[float, int, str]] = {}
        # What was learnt last, until a flush: after that, what was learnt before it may have been pushed out.
        self.latest = ""

    @rule(name=st.sampled_from(NAMES), ttl_s=st.integers(0, 100), last=st.integers(1, 40))
    def learn(self, name: str, ttl_s: int, last: int) -> None:
        values = tuple(f"192.0.2.{number}" for number in range(1, last + 1))
        store(self.cache, asked(name), Said(values=values, ttl_s=ttl_s), now=self.now)
        self.model.pop(name, None)
        self.model[name] = self.now, ttl_s, values[0]
        self.latest = name

    @rule(later_s=st.floats(0, 50))
    def wait(self, later_s: float) -> None:
        self.now += later_s

    @rule(name=st.sampled_from(NAMES))
    def ask(self, name: str) -> None:
        reply = fast(self.cache, with_records(query(name), opt()), self.now)
        if reply:
            stored_s, ttl_s, value = self.model[name]
            assert self.now < stored_s + ttl_s
            assert reply.answer[0].ttl == ttl_s - int(self.now - stored_s) > 0
            assert value in {item.to_text() for item in reply.answer[0]}

    @precondition(lambda self: self.latest)
    @rule()
    def the_last_one_learnt_is_there(self) -> None:
        stored_s, ttl_s, _ = self.model[self.latest]
        if stored_s == self.now and ttl_s:
            assert self.cache.get(key_of(asked(self.latest)), self.now)

    @rule(name=st.none() | st.sampled_from(NAMES))
    def flush(self, name: str | None) -> None:
        self.cache.flush(names.parse(name + ".") if name else None)
        self.latest = ""
        self.model = {} if name is None else {key: said for key, said in self.model.items() if key != name}

    @invariant()
    def the_bounds_hold(self) -> None:
        assert len(self.cache) <= self.MAX_ENTRIES
        assert self.cache.size_bytes == sum(entry.size_bytes for entry in self.cache.entries.values())
        assert self.cache.size_bytes <= self.MAX_BYTES


TestAgainstAModel = AgainstAModel.TestCase
