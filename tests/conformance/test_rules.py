"""The rules of the wire, by the document that makes each, asked of a running daemon over UDP and TCP."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from tests.conformance import packets as p
from tests.conformance.served import HUGE, MANY, TEXTS, TTL_S, Served, Upstream

Ask = Callable[..., p.Reply]
DOMAIN = "weave.local"
ZONE = "weave.local."
REVERSE = "2.10.in-addr.arpa."
ROUNDS = 12


@pytest.fixture(params=list(p.TRANSPORTS))
def ask(request: pytest.FixtureRequest, server: Served) -> Ask:
    """Ask the daemon, over either transport."""
    over = p.TRANSPORTS[request.param]

    def asked(
        text: str, rtype: int = p.A, rclass: int = p.IN, *, flags: int = p.RD, ident: int = p.IDENT, opcode: int = 0
    ) -> p.Reply:
        return over(p.query(text, rtype, rclass, flags=flags, ident=ident, opcode=opcode), server.address)

    return asked


@pytest.fixture(params=list(p.TRANSPORTS))
def send(request: pytest.FixtureRequest, server: Served) -> Callable[[bytes], p.Reply]:
    """Send the daemon any bytes, over either transport."""
    return lambda packet: p.TRANSPORTS[request.param](packet, server.address)


def is_soa_of(reply: p.Reply, zone: str) -> bool:
    """Whether the reply is negative, from this zone, with what RFC 2308 wants."""
    (soa,) = reply.authority
    minimum = int.from_bytes(soa.data[-4:], "big")
    return (soa.rtype, soa.owner, soa.ttl_s, minimum) == (p.SOA, zone, TTL_S, TTL_S) and not reply.answer


# RFC 1035 section 4.1: the message


def test_an_address_comes_with_id_question_and_flags_of_its_query(ask: Ask) -> None:
    reply = ask("redis.weave.local")
    assert reply.id == p.IDENT
    assert reply.flags == p.QR | p.AA | p.RD | p.RA
    assert reply.question == p.question("redis.weave.local")
    (record,) = reply.answer
    assert (record.owner, record.rtype, record.rclass, record.ttl_s) == ("redis.weave.local.", p.A, p.IN, TTL_S)
    assert record.data == bytes((10, 2, 0, 1))
    assert not reply.authority
    assert not reply.additional


@pytest.mark.parametrize("ident", [0, 1, 0x00FF, 0x8000, 0xFFFF])
def test_every_id_comes_back(ask: Ask, ident: int) -> None:
    for text in ("redis.weave.local", "nope.weave.local", "www.example.org"):
        assert ask(text, ident=ident).id == ident


@pytest.mark.parametrize("text", ["redis.weave.local", "absent.weave.local", "www.example.org"])
@pytest.mark.parametrize("flags", [0, p.RD, p.CD, p.AD, p.RD | p.CD | p.AD])
def test_rd_and_cd_come_back_and_nothing_else_does(ask: Ask, text: str, flags: int) -> None:
    reply = ask(text, flags=flags)
    assert reply.flags & (p.RD | p.CD) == flags & (p.RD | p.CD)
    assert not reply.flags & (p.TC | p.AD)
    assert reply.flags & p.RA


@pytest.mark.parametrize("flag", [p.AA, p.TC, p.RA, p.Z, p.AA | p.TC | p.RA | p.Z | p.AD | p.CD, 0xF])
def test_flags_that_mean_nothing_in_a_query_change_nothing(ask: Ask, flag: int) -> None:
    reply = ask("redis.weave.local", flags=flag | p.RD)
    assert reply.addresses == ["10.2.0.1"]
    assert reply.flags & ~(p.CD | p.AD) == p.QR | p.AA | p.RD | p.RA


@pytest.mark.parametrize("opcode", range(1, 16))
@pytest.mark.parametrize("text", ["redis.weave.local", "www.example.org"])
def test_other_opcodes_are_not_implemented(ask: Ask, opcode: int, text: str) -> None:
    reply = ask(text, opcode=opcode)
    assert reply.rcode == p.NOTIMP
    assert reply.flags >> 11 & 0xF == opcode
    assert not reply.flags & p.AA
    assert not reply.answer


@pytest.mark.parametrize("opcode", range(1, 16))
def test_other_opcodes_may_come_without_a_question(send: Callable[[bytes], p.Reply], opcode: int) -> None:
    reply = send(p.message(opcode=opcode))
    assert (reply.rcode, reply.question) == (p.NOTIMP, b"")


def test_an_update_with_records_is_not_implemented(send: Callable[[bytes], p.Reply]) -> None:
    record = p.name("redis.weave.local") + struct.pack("!HHIH", p.A, p.IN, 60, 4) + bytes(4)
    assert send(p.message([p.question(DOMAIN, p.SOA)], (), [record], (), opcode=5)).rcode == p.NOTIMP


def test_answers_and_runts_are_met_with_silence(server: Served) -> None:
    silent = [p.query("redis.weave.local", flags=flags) for flags in (p.QR, p.QR | p.RD | p.AA, 0xFFFF)]
    silent += [p.query("redis.weave.local")[:size] for size in range(12)]
    for over in ("udp", "tcp"):
        with p.datagrams(server.address) if over == "udp" else p.stream(server.address) as sock:
            for packet in (*silent, p.query("redis.weave.local", ident=7)):
                sock.sendall(packet if over == "udp" else p.framed(packet))
            first = sock.recv(65535) if over == "udp" else p.receive(sock)
            assert p.read(first).id == 7


def test_an_answer_to_a_forwarded_question_is_no_query(server: Served, world: Upstream) -> None:
    # Two servers that answered each other's answers would never stop.
    reply = p.udp(p.query("www.example.org"), server.address)
    with p.datagrams(server.address) as sock:
        sock.send(reply.raw)
        sock.send(p.query("redis.weave.local", ident=9))
        assert p.read(sock.recv(65535)).id == 9


@pytest.mark.parametrize("text", ["redis.weave.local", "absent.weave.local", "www.example.org"])
def test_what_is_cut_short_is_a_format_error(server: Served, text: str) -> None:
    whole = p.query(text)
    for size in range(12, len(whole)):
        for over in (p.udp, p.tcp):
            reply = over(whole[:size], server.address)
            assert (reply.rcode, reply.id, reply.question) == (p.FORMERR, p.IDENT, b"")
            assert not reply.answer


LONG = ".".join(["a" * 63] * 4)
BROKEN = {
    "a pointer in the question": p.message([b"\xc0\x0c" + struct.pack("!HH", p.A, p.IN)]),
    "a pointer behind a label": p.message([b"\x05redis\xc0\x0c" + struct.pack("!HH", p.A, p.IN)]),
    "a label of an unknown kind": p.message([b"\x40redis\0" + struct.pack("!HH", p.A, p.IN)]),
    "a label of 64 bytes": p.message([b"\x40" + b"a" * 64 + b"\0" + struct.pack("!HH", p.A, p.IN)]),
    "a name of 257 bytes": p.message([p.question(LONG)]),
    "a record that is not there": p.message([p.question("redis.weave.local")])[:10]
    + b"\0\1"
    + p.query("redis.weave.local")[12:],
    "a record cut short": p.query("redis.weave.local", opt=p.edns()[:-3]),
    "data cut short": p.query("redis.weave.local", opt=p.edns()[:-1] + b"\5abcd"),
}


@pytest.mark.parametrize("packet", BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_is_a_format_error(send: Callable[[bytes], p.Reply], packet: bytes) -> None:
    reply = send(packet)
    assert (reply.rcode, reply.id) == (p.FORMERR, p.IDENT)
    assert not reply.flags & p.AA


# RFC 9619: one question


@pytest.mark.parametrize("count", [0, 2, 3, 100])
def test_any_number_of_questions_but_one_is_a_format_error(send: Callable[[bytes], p.Reply], count: int) -> None:
    reply = send(p.message([p.question(f"redis{number or ''}.weave.local") for number in range(count)]))
    assert (reply.rcode, reply.question) == (p.FORMERR, b"")


def test_a_count_of_questions_that_is_a_lie_is_a_format_error(send: Callable[[bytes], p.Reply]) -> None:
    packet = bytearray(p.query("redis.weave.local"))
    for count in (0, 2, 0xFFFF):
        packet[4:6] = count.to_bytes(2, "big")
        assert send(bytes(packet)).rcode == p.FORMERR


# RFC 4343: letter case


def test_letters_match_in_either_case_and_come_back_as_they_were_sent(ask: Ask) -> None:
    for text in ("REDIS.WEAVE.LOCAL", "rEdIs.WeAvE.lOcAl", "Redis", "wWw.ExAmPlE.oRg", "1.0.2.10.IN-ADDR.arpa"):
        rtype = p.PTR if "arpa" in text else p.A
        reply = ask(text, rtype)
        assert reply.rcode == p.NOERROR
        assert reply.question == p.question(text, rtype)
        assert reply.answer[0].owner == text + "."


def test_only_letters_have_a_case(ask: Ask) -> None:
    # '[' and '{', '@' and '`' differ by the same bit as letters do.
    for text in ("redis[.weave.local", "redis{.weave.local", "@.weave.local", "`.weave.local"):
        reply = ask(text)
        assert reply.rcode == p.NXDOMAIN
        assert reply.question == p.question(text)


# RFC 2308, 4074, 8020: what is not there


@pytest.mark.parametrize(
    "text", ["nope.weave.local", "a.b.c.nope.weave.local", "x.redis.weave.local", "nope", "_x._tcp.weave.local"]
)
def test_a_name_that_does_not_exist_is_nxdomain_with_the_soa(ask: Ask, text: str) -> None:
    for rtype in (p.A, p.AAAA, p.TXT, p.SRV, p.ANY, 65280):
        reply = ask(text, rtype)
        assert reply.rcode == p.NXDOMAIN
        assert reply.flags & p.AA
        assert is_soa_of(reply, ZONE)


@pytest.mark.parametrize("text", ["redis.weave.local", "redis", "_http._tcp.web.weave.local", "text.weave.local"])
@pytest.mark.parametrize(
    "rtype", [p.AAAA, p.MX, p.NS, p.CNAME, p.SOA, p.PTR, 64, 65, 43, 48, 257, 1234, 65279, 65534]
)
def test_a_name_without_that_type_is_an_empty_answer_with_the_soa(ask: Ask, text: str, rtype: int) -> None:
    reply = ask(text, rtype)
    assert (reply.rcode, reply.flags & p.AA) == (p.NOERROR, p.AA)
    assert is_soa_of(reply, ZONE)


@pytest.mark.parametrize("text", ["project.weave.local", "_tcp.web.weave.local", "PROJECT.weave.local"])
@pytest.mark.parametrize("rtype", [p.A, p.TXT, p.ANY])
def test_a_name_with_names_under_it_exists(ask: Ask, text: str, rtype: int) -> None:
    reply = ask(text, rtype)
    assert reply.rcode == p.NOERROR
    assert is_soa_of(reply, ZONE)


@pytest.mark.parametrize(
    ("text", "rtype", "rcode"),
    [
        ("200.0.2.10.in-addr.arpa", p.PTR, p.NXDOMAIN),
        ("x.1.0.2.10.in-addr.arpa", p.PTR, p.NXDOMAIN),
        ("256.0.2.10.in-addr.arpa", p.PTR, p.NXDOMAIN),
        ("01.0.2.10.in-addr.arpa", p.PTR, p.NXDOMAIN),
        ("1.0.2.10.in-addr.arpa", p.A, p.NOERROR),
        ("0.2.10.in-addr.arpa", p.PTR, p.NOERROR),
        ("2.10.in-addr.arpa", p.PTR, p.NOERROR),
    ],
)
def test_what_is_not_in_the_reverse_zone_is_told_with_its_soa(ask: Ask, text: str, rtype: int, rcode: int) -> None:
    reply = ask(text, rtype)
    assert reply.rcode == rcode
    assert is_soa_of(reply, REVERSE)


@pytest.mark.parametrize("rtype", [p.A, p.AAAA, p.TXT, p.ANY, p.NS, p.SOA, 43, 48, 65, 4321])
def test_names_of_ours_are_never_forwarded(ask: Ask, world: Upstream, rtype: int) -> None:
    ours = [
        "nope.weave.local",
        "redis.weave.local",
        "a.b.weave.local",
        "weave.local",
        "nope",
        "200.0.2.10.in-addr.arpa",
    ]
    ours += ["localhost", "x.localhost", "1.0.0.127.in-addr.arpa", "2.0.0.127.in-addr.arpa"]
    for text in ours:
        assert ask(text, rtype).flags & p.AA
        assert p.name(text).lower() not in world.asked


def test_names_that_only_look_like_ours_are_forwarded(ask: Ask, world: Upstream) -> None:
    for text in ("xweave.local", "weave.local.example", "redis.weave.localx"):
        reply = ask(text)
        assert reply.addresses == ["192.0.2.80"]
        assert not reply.flags & p.AA
        assert p.name(text) in world.asked


# The apex, and the reverse zone of the weave range


@pytest.mark.parametrize("zone", [ZONE, REVERSE, "WEAVE.Local."])
def test_the_apex_has_soa_and_ns(ask: Ask, zone: str) -> None:
    soa, ns = ask(zone, p.SOA), ask(zone, p.NS)
    for reply, rtype in ((soa, p.SOA), (ns, p.NS)):
        (record,) = reply.answer
        assert (record.owner, record.rtype, record.ttl_s, record.text) == (
            zone,
            rtype,
            TTL_S,
            "weavedns.weave.local.",
        )
        assert reply.flags & p.AA
    assert int.from_bytes(soa.answer[0].data[-4:], "big") == TTL_S
    assert is_soa_of(ask(zone, p.MX), zone)


@pytest.mark.parametrize(
    "text", ["10.in-addr.arpa", "3.10.in-addr.arpa", "1.0.3.10.in-addr.arpa", "10.2.0.192.in-addr.arpa"]
)
def test_reverse_names_outside_the_weave_range_are_not_ours(ask: Ask, world: Upstream, text: str) -> None:
    for rtype in (p.SOA, p.PTR):
        assert not ask(text, rtype).flags & p.AA
    assert p.name(text) in world.asked


def test_an_address_gives_each_of_its_names(ask: Ask) -> None:
    reply = ask("1.0.2.10.in-addr.arpa", p.PTR)
    assert sorted(record.text for record in reply.answer) == ["alias.weave.local.", "redis.weave.local."]
    assert {record.owner for record in reply.answer} == {"1.0.2.10.in-addr.arpa."}


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


def test_every_type_of_every_kind_of_name_gets_an_answer(server: Served) -> None:
    texts = ("redis.weave.local", "nope.weave.local", "weave.local", "redis", "localhost", "1.0.2.10.in-addr.arpa")
    for text in texts:
        with p.stream(server.address) as sock:
            for start in range(0, 65536, 500):
                rtypes = range(start, min(start + 500, 65536), 5)
                sock.sendall(b"".join(p.framed(p.query(text, rtype, ident=rtype)) for rtype in rtypes))
                assert {p.read(p.receive(sock)).id for _ in rtypes} == set(rtypes)


def test_every_value_of_the_flags_gets_an_answer_unless_it_is_one_itself(server: Served) -> None:
    with p.stream(server.address) as sock:
        for start in range(0, p.QR, 256):
            words = range(start, start + 256)
            sock.sendall(b"".join(p.framed(p.query("redis.weave.local", flags=word, ident=word)) for word in words))
            replies = [p.read(p.receive(sock)) for _ in words]
            assert [reply.id for reply in replies] == list(words)
            for word, reply in zip(words, replies, strict=True):
                assert reply.rcode == (p.NOTIMP if word >> 11 & 0xF else p.NOERROR)
