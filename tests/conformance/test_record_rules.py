"""What records come back, whole or cut, and that every query gets a reply: asked of a running daemon."""

from __future__ import annotations

import pytest

from tests.conformance import packets as p
from tests.conformance.conftest import Ask
from tests.conformance.served import HUGE, MANY, TEXTS, Served, Upstream

ROUNDS = 12
# All that anybody has given a meaning, and many that nobody has.
RTYPES = (*range(300), *range(300, 65536, 37), 65535)


# RFC 2181, 1794: sets of records


def test_records_of_a_set_have_one_ttl(ask: Ask) -> None:
    assert {record.ttl_s for record in ask("web.weave.local").answer} == {10}


def test_all_addresses_come_and_each_is_first_in_its_turn(ask: Ask) -> None:
    replies = [ask("web.weave.local").addresses for _ in range(ROUNDS)]
    assert all(sorted(addresses) == ["10.2.0.2", "10.2.0.3", "10.2.0.4"] for addresses in replies)
    assert {addresses[0] for addresses in replies} == {"10.2.0.2", "10.2.0.3", "10.2.0.4"}


def test_a_datagram_comes_from_the_address_that_was_asked(server: Served) -> None:
    # A socket that is connected takes nothing from elsewhere.
    for address in server.addresses:
        for text in ("redis.weave.local", "nope.weave.local", "www.example.org"):
            assert p.udp(p.query(text, opt=p.edns(p.option(65001))), address).id == p.IDENT


# RFC 1035 section 4.2, RFC 2181 section 9: truncation


@pytest.mark.parametrize(
    ("text", "rtype", "total"),
    [("many", p.A, MANY), ("huge", p.A, HUGE), ("texts", p.TXT, TEXTS)],
    ids=str,
)
@pytest.mark.parametrize("size", [None, 0, 511, 512, 513, 800, 1232, 4096, 65535])
def test_what_does_not_fit_is_cut_at_whole_records(
    server: Served, text: str, rtype: int, total: int, size: int | None
) -> None:
    full = f"{text}.weave.local"
    opt = p.edns(size=size) if size is not None else b""
    limit = min(max(size or 0, 512), 1232)
    cut = p.udp(p.query(full, rtype, opt=opt), server.address)
    whole = p.tcp(p.query(full, rtype, opt=opt), server.address)
    assert len(whole.answer) == total
    assert not whole.flags & p.TC
    assert len(cut.opts) == bool(opt)
    assert len(cut.raw) <= limit
    record_bytes = 12 + len(cut.answer[0].data)
    fits = (limit - 12 - len(cut.question) - len(opt)) // record_bytes
    assert len(cut.answer) == min(total, fits)
    assert bool(cut.flags & p.TC) == (fits < total)
    assert {record.data for record in cut.answer} <= {record.data for record in whole.answer}


# RFC 3597, 8482, 6895: types and classes


def test_records_of_types_without_a_name_are_given_as_they_are(ask: Ask) -> None:
    (record,) = ask("odd.weave.local", 65280).answer
    assert (record.rtype, record.data) == (65280, bytes((0, 1, 2)))


@pytest.mark.parametrize("rtype", [3, 64, 65, 257, 1234, 65534])
def test_unknown_types_of_others_pass_through(ask: Ask, world: Upstream, rtype: int) -> None:
    (record,) = ask("types.example.org", rtype).answer
    assert (record.rtype, record.data) == (rtype, bytes((192, 0, 2, 80)))
    assert any(p.question("types.example.org", rtype) in packet for packet in world.packets)


@pytest.mark.parametrize(
    "text", ["redis.weave.local", "web.weave.local", "db.weave.local", "weave.local", "mail.weave.local"]
)
def test_any_gets_one_set_of_records(ask: Ask, text: str) -> None:
    reply = ask(text, p.ANY)
    assert reply.rcode == p.NOERROR
    assert len({record.rtype for record in reply.answer}) == 1
    assert not reply.flags & p.TC


@pytest.mark.parametrize("rtype", [249, 250, 251, 252])
@pytest.mark.parametrize("text", ["weave.local", "redis.weave.local"])
def test_transfers_and_keys_are_refused(ask: Ask, text: str, rtype: int) -> None:
    reply = ask(text, rtype)
    assert (reply.rcode, reply.flags & p.AA) == (p.REFUSED, 0)


@pytest.mark.parametrize("rclass", [0, 2, p.CH, 4, 254, 255, 65535])
def test_other_classes_are_refused(ask: Ask, rclass: int) -> None:
    for text in ("redis.weave.local", "version.bind", "www.example.org"):
        assert ask(text, p.TXT, rclass).rcode == p.REFUSED


def test_a_question_for_an_opt_is_a_format_error(ask: Ask) -> None:
    assert ask("redis.weave.local", p.OPT).rcode == p.FORMERR


# RFC 6761 section 6.3


@pytest.mark.parametrize("text", ["localhost", "LocalHost", "any.thing.localhost"])
def test_localhost_is_this_host(ask: Ask, text: str) -> None:
    assert ask(text).answer[0].data == bytes((127, 0, 0, 1))
    assert ask(text, p.AAAA).answer[0].data == bytes(15) + b"\1"
    assert ask(text, p.MX).rcode == p.NOERROR


def test_loopback_addresses_are_localhost(ask: Ask) -> None:
    for text in ("1.0.0.127.in-addr.arpa", f"1.{'0.' * 31}ip6.arpa"):
        assert ask(text, p.PTR).answer[0].text == "localhost."


# Names of one label, and names that are not ours


def test_a_single_label_is_tried_in_the_domain(ask: Ask) -> None:
    reply = ask("redis")
    assert reply.addresses == ["10.2.0.1"]
    assert reply.answer[0].owner == "redis."
    assert reply.flags & p.AA


@pytest.mark.parametrize("text", ["local", "arpa"])
def test_a_name_above_one_of_ours_exists(ask: Ask, text: str) -> None:
    # RFC 8020: who hears that there is no such name asks for none under it either.
    reply = ask(text, p.SOA)
    assert (reply.rcode, reply.answer, len(reply.authority)) == (p.NOERROR, [], 1)
    assert ask("locals").rcode == p.NXDOMAIN


def test_what_others_say_is_not_authoritative(ask: Ask) -> None:
    reply = ask("www.example.org")
    assert reply.addresses == ["192.0.2.80"]
    assert reply.flags == p.QR | p.RD | p.RA


@pytest.mark.parametrize("text", ["www.example.org", "x.broken.example", "."])
def test_what_is_not_ours_is_refused_without_rd(ask: Ask, text: str) -> None:
    assert ask(text, flags=0).rcode == p.REFUSED


def test_the_root_is_asked_of_others(ask: Ask, world: Upstream) -> None:
    assert ask(".").addresses == ["192.0.2.80"]
    assert p.name(".") in world.asked


# RFC 8906: every query gets an answer


def test_types_of_all_kinds_get_an_answer_at_names_of_all_kinds(server: Served) -> None:
    texts = ("redis.weave.local", "nope.weave.local", "weave.local", "redis", "localhost", "1.0.2.10.in-addr.arpa")
    for text in texts:
        with p.stream(server.address) as sock:
            for start in range(0, len(RTYPES), 100):
                some = RTYPES[start : start + 100]
                sock.sendall(b"".join(p.framed(p.query(text, rtype, ident=rtype)) for rtype in some))
                assert {p.read(p.receive(sock)).id for _ in some} == set(some)


def test_every_value_of_the_flags_gets_an_answer_unless_it_is_one_itself(server: Served) -> None:
    with p.stream(server.address) as sock:
        for start in range(0, p.QR, 256):
            words = range(start, start + 256)
            sock.sendall(b"".join(p.framed(p.query("redis.weave.local", flags=word, ident=word)) for word in words))
            replies = [p.read(p.receive(sock)) for _ in words]
            assert [reply.id for reply in replies] == list(words)
            for word, reply in zip(words, replies, strict=True):
                assert reply.rcode == (p.NOTIMP if word >> 11 & 0xF else p.NOERROR)
