"""The rules of the wire, by the document that makes each, asked of a running daemon over UDP and TCP."""

from __future__ import annotations

import struct

import pytest

from tests.conformance import packets as p
from tests.conformance.conftest import Ask, Send
from tests.conformance.served import TTL_S, Served, Upstream

DOMAIN = "weave.local"
ZONE = "weave.local."
REVERSE = "2.10.in-addr.arpa."


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
def test_other_opcodes_may_come_without_a_question(send: Send, opcode: int) -> None:
    reply = send(p.message(opcode=opcode))
    assert (reply.rcode, reply.question) == (p.NOTIMP, b"")


def test_an_update_with_records_is_not_implemented(send: Send) -> None:
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
CAA = p.name("redis.weave.local") + struct.pack("!HHI", 257, p.IN, 1)
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
    "data that is no text": p.message([p.question("redis.weave.local")], (), (), [CAA + b"\0\3\0\1\xff"]),
    "data cut short": p.query("redis.weave.local", opt=p.edns()[:-1] + b"\5abcd"),
}


@pytest.mark.parametrize("packet", BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_is_a_format_error(send: Send, packet: bytes) -> None:
    reply = send(packet)
    assert (reply.rcode, reply.id) == (p.FORMERR, p.IDENT)
    assert not reply.flags & p.AA


# RFC 9619: one question


@pytest.mark.parametrize("count", [0, 2, 3, 100])
def test_any_number_of_questions_but_one_is_a_format_error(send: Send, count: int) -> None:
    reply = send(p.message([p.question(f"redis{number or ''}.weave.local") for number in range(count)]))
    assert (reply.rcode, reply.question) == (p.FORMERR, b"")


def test_a_count_of_questions_that_is_a_lie_is_a_format_error(send: Send) -> None:
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
