from __future__ import annotations

import dns.flags
import dns.message
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.dns.world import opt, query, with_records
from weavedns.dns.message import Query, build_upstream_query, parse_query, parse_reply, read_question, relay
from weavedns.dns.wire import Flag
from weavedns.errors import WireError

IDENT = 0x4242


def asked(name: str = "example.org", rtype: str = "A", *extra: bytes, flags: int = 0x0100) -> Query:
    parsed = parse_query(with_records(query(name, rtype, flags=flags), *extra))
    assert parsed
    return parsed


def upstream_reply(
    name: str = "example.org",
    rtype: str = "A",
    *values: str,
    ident: int = IDENT,
    edns: int | None = 0,
    **changes: int,
) -> bytes:
    message = dns.message.make_response(dns.message.make_query(name, rtype, id=ident, use_edns=edns))
    message.flags |= dns.flags.RA | changes.get("flags", 0)
    message.set_rcode(dns.rcode.Rcode(changes.get("rcode", 0)))
    if values:
        message.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", rtype, *values))
    return message.to_wire(max_size=65535)


def test_a_query_for_an_upstream_has_our_id_our_opt_and_the_askers_question() -> None:
    packet = build_upstream_query(asked("ExAmPlE.org", "A", opt(4096, dnssec_ok=True), flags=0x0110), IDENT)
    message = dns.message.from_wire(packet)
    assert (message.id, message.edns, message.payload) == (IDENT, 0, 1232)
    assert message.flags & ~dns.flags.AD == dns.flags.RD | dns.flags.CD
    assert message.ednsflags & dns.flags.DO
    assert message.question[0].name.to_text() == "ExAmPlE.org."


def test_an_askers_options_do_not_leak_to_the_upstream() -> None:
    packet = build_upstream_query(asked("example.org", "A", opt(options=b"\0\x0a\0\x08" + b"c" * 8)), IDENT)
    assert b"cccc" not in packet
    plain = build_upstream_query(asked(), IDENT, edns=False)
    assert dns.message.from_wire(plain).edns == -1


def test_a_reply_is_relayed_with_the_askers_id_and_letters_and_without_aa() -> None:
    wanted = asked("EXAMPLE.org")
    reply = parse_reply(upstream_reply("example.org", "A", "192.0.2.1", flags=dns.flags.AA), wanted, IDENT)
    packet = relay(wanted, reply, limit_bytes=512, flags=Flag.RA)
    message = dns.message.from_wire(packet)
    assert message.id == 0x1234
    assert packet[12 : 12 + len(wanted.question)] == wanted.question
    assert message.flags == dns.flags.QR | dns.flags.RD | dns.flags.RA
    assert message.answer[0][0].to_text() == "192.0.2.1"
    assert message.edns == -1


def test_opt_comes_back_only_to_an_asker_who_sent_it() -> None:
    for edns in (None, 0):
        wanted = asked("example.org", "A", opt(dnssec_ok=True))
        reply = parse_reply(upstream_reply("example.org", "A", "192.0.2.1", edns=edns), wanted, IDENT)
        message = dns.message.from_wire(relay(wanted, reply, limit_bytes=1232, flags=0))
        assert (message.edns, message.payload, message.options) == (0, 1232, ())


@pytest.mark.parametrize(
    "packet",
    [
        upstream_reply(ident=IDENT + 1),
        upstream_reply("example.com"),
        upstream_reply(rtype="AAAA"),
        query("example.org", ident=IDENT),
        upstream_reply()[:11],
        upstream_reply("example.org", "A", "192.0.2.1", edns=None)[:-1],
        upstream_reply("example.org", "A", "192.0.2.1", edns=None)[:-12],
        upstream_reply()[:4] + b"\0\0" + upstream_reply()[6:],
        upstream_reply()[:4] + b"\0\2" + upstream_reply()[6:],
        upstream_reply()[:2] + b"\xa8" + upstream_reply()[3:],
    ],
    ids=[
        "another ID",
        "another name",
        "another type",
        "a query",
        "a runt",
        "data cut",
        "record cut",
        "no question",
        "two questions",
        "another opcode",
    ],
)
def test_what_does_not_answer_the_query_is_no_reply(packet: bytes) -> None:
    with pytest.raises(WireError):
        parse_reply(packet, asked(), IDENT)


def test_a_type_that_differs_by_what_lower_case_changes_is_another_question() -> None:
    assert dns.rdatatype.from_text("TYPE65") != dns.rdatatype.from_text("TYPE97")
    with pytest.raises(WireError):
        parse_reply(upstream_reply(rtype="TYPE97"), asked(rtype="TYPE65"), IDENT)


def test_an_error_without_a_question_is_believed() -> None:
    packet = IDENT.to_bytes(2, "big") + b"\x80\x01" + b"\0" * 8
    reply = parse_reply(packet, asked(), IDENT)
    assert (reply.rcode, reply.has_opt, reply.records) == (1, False, ())


def test_a_reply_that_was_cut_anywhere_is_taken_for_a_cut_one() -> None:
    whole = upstream_reply("example.org", "A", "192.0.2.1", "192.0.2.2", flags=dns.flags.TC)
    for size in range(len(query("example.org")), len(whole)):
        wanted = asked()
        reply = parse_reply(whole[:size], wanted, IDENT)
        message = dns.message.from_wire(relay(wanted, reply, limit_bytes=512, flags=0))
        assert message.flags & dns.flags.TC


def test_a_relayed_reply_is_cut_at_whole_records_to_what_the_asker_takes() -> None:
    wanted = asked()
    reply = parse_reply(upstream_reply("example.org", "A", *(f"192.0.2.{n}" for n in range(60))), wanted, IDENT)
    packet = relay(wanted, reply, limit_bytes=512, flags=0)
    message = dns.message.from_wire(packet)
    assert len(packet) <= 512
    assert message.flags & dns.flags.TC
    assert len(message.answer[0]) == (512 - len(query("example.org"))) // 16


def test_additional_records_that_do_not_fit_are_left_out_without_a_word() -> None:
    message = dns.message.make_response(dns.message.make_query("example.org", "MX", id=IDENT))
    message.answer.append(dns.rrset.from_text("example.org.", 60, "IN", "MX", "1 mail.example.org."))
    glue = [f"192.0.2.{number}" for number in range(60)]
    message.additional.append(dns.rrset.from_text("mail.example.org.", 60, "IN", "A", *glue))
    wanted = asked("example.org", "MX")
    packet = relay(wanted, parse_reply(message.to_wire(), wanted, IDENT), limit_bytes=512, flags=0)
    relayed = dns.message.from_wire(packet)
    assert not relayed.flags & dns.flags.TC
    assert len(packet) <= 512
    assert relayed.answer


def test_records_behind_an_opt_are_left_out() -> None:
    base = upstream_reply("example.org", "A", "192.0.2.1", edns=None)
    extra = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4abcd"
    packet = with_records(base, opt(), extra)
    wanted = asked()
    relayed = dns.message.from_wire(relay(wanted, parse_reply(packet, wanted, IDENT), limit_bytes=512, flags=0))
    assert (len(relayed.answer), relayed.additional) == (1, [])


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_from_an_upstream_are_a_reply_or_refused(tail: bytes, start_well: bool) -> None:
    wanted = asked()
    packet = (
        upstream_reply("example.org", "A", "192.0.2.1")[: 12 + len(wanted.question)] + tail if start_well else tail
    )
    try:
        reply = parse_reply(packet, wanted, IDENT)
    except WireError:
        return
    relayed = relay(wanted, reply, limit_bytes=512, flags=0)
    assert len(relayed) <= 512
    assert relayed[:2] == b"\x12\x34"


@given(st.binary(max_size=300))
def test_any_bytes_have_a_question_or_none(packet: bytes) -> None:
    question = read_question(packet)
    assert question == packet[12 : 12 + len(question)]


def test_a_zero_byte_within_a_label_does_not_end_the_name() -> None:
    packet = query("a.org")[:12] + b"\3a\0b\0" + b"\0\1\0\1"
    assert read_question(packet) == b"\3a\0b\0\0\1\0\1"
