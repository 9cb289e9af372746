from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from tests.unit.dns.world import World, opt, query, record, with_records
from weavedns.dns.resolver import Forward, Transport

UPSTREAM = ("192.0.2.53", 53)


def reply_to(packet: bytes, *, recursion: bool = True, transport: Transport = Transport.UDP) -> dns.message.Message:
    world = World()
    world.upstreams.replace([UPSTREAM])
    reply = world.careful(packet, recursion=recursion, transport=transport)
    assert isinstance(reply, bytes)
    return dns.message.from_wire(reply)


def ede_of(reply: dns.message.Message) -> list[int]:
    return [int(option.code) for option in reply.options if isinstance(option, dns.edns.EDEOption)]


def test_runts_and_replies_get_no_answer() -> None:
    world = World()
    assert world.careful(b"") is None
    assert world.careful(b"\0" * 11) is None
    assert world.careful(query("redis.weave.local", flags=0x8100)) is None


@pytest.mark.parametrize(
    "packet",
    [
        b"\0" * 12,
        query("redis.weave.local")[:-1],
        query("redis.weave.local")[:20],
        query("redis.weave.local")[:4] + b"\0\2" + query("redis.weave.local")[6:] + query("a.weave.local")[12:],
        b"\0\0\1\0\0\1\0\0\0\0\0\0" + b"\xc0\x0c\0\1\0\1",
        b"\0\0\1\0\0\1\0\0\0\0\0\0" + b"\x40" + b"a" * 64 + b"\0\0\1\0\1",
        b"\0\0\1\0\0\1\0\0\0\0\0\0" + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1",
        with_records(query("redis.weave.local"), opt(), opt()),
        with_records(query("redis.weave.local"), b"\1a" + opt()),
        with_records(query("redis.weave.local"), opt()[:-3]),
        with_records(query("redis.weave.local"), opt(options=b"\0\3\0\7abc")),
        query("redis.weave.local")[:6] + b"\xff\xff" + query("redis.weave.local")[8:],
        query("redis.weave.local")[:6] + b"\0\1\0\0\0\0" + query("redis.weave.local")[12:] + opt(),
    ],
    ids=[
        "no question",
        "class cut",
        "name cut",
        "two questions",
        "pointer in the question",
        "label type 01",
        "name too long",
        "two OPTs",
        "OPT with a name",
        "OPT cut",
        "option cut",
        "more records than are there",
        "OPT in the answer section",
    ],
)
def test_what_cannot_be_parsed_is_a_format_error(packet: bytes) -> None:
    reply = reply_to(packet)
    assert reply.rcode() == dns.rcode.FORMERR
    assert reply.id == int.from_bytes(packet[:2], "big")
    assert not reply.flags & dns.flags.AA


@pytest.mark.parametrize("opcode", [1, 2, 4, 5, 6, 15])
def test_an_opcode_other_than_query_is_not_implemented(opcode: int) -> None:
    packet = query("weave.local", "SOA", flags=opcode << 11)
    world = World()
    for asked in (packet, packet[:4] + b"\0\0" + packet[6:12], packet[:18]):
        reply = world.careful(asked)
        assert isinstance(reply, bytes)
        assert reply[3] & 0xF == dns.rcode.NOTIMP
        assert reply[2] >> 3 & 0xF == opcode


def test_a_later_edns_version_is_told_so() -> None:
    reply = reply_to(with_records(query("redis.weave.local"), opt(version=1)))
    assert reply.rcode() == dns.rcode.BADVERS
    assert (reply.edns, reply.answer) == (0, [])


def test_unknown_options_are_neither_an_error_nor_echoed() -> None:
    cookie = b"\0\x0a\0\x08" + b"c" * 8
    for options in (cookie, b"\0\3\0\0", cookie + b"\xff\xfe\0\1x"):
        reply = reply_to(with_records(query("redis.weave.local"), opt(options=options)))
        assert reply.rcode() == dns.rcode.NOERROR
        assert reply.answer[0][0].to_text() == "10.2.0.1"
        assert reply.options == ()


def test_opt_comes_back_only_to_who_sent_it_with_our_size_and_their_do() -> None:
    assert reply_to(query("redis")).edns == -1
    for dnssec_ok in (False, True):
        reply = reply_to(with_records(query("redis"), opt(4096, dnssec_ok=dnssec_ok)))
        assert (reply.edns, reply.payload) == (0, 1232)
        assert bool(reply.ednsflags & dns.flags.DO) == dnssec_ok


@pytest.mark.parametrize("rclass", [3, 4, 254, 255])
def test_other_classes_are_refused(rclass: int) -> None:
    packet = with_records(query("version.bind", "TXT")[:-2] + rclass.to_bytes(2, "big"), opt())
    reply = reply_to(packet)
    assert reply.rcode() == dns.rcode.REFUSED
    assert ede_of(reply) == [21]


@pytest.mark.parametrize("name", ["weave.local", "redis.weave.local", "example.org"])
@pytest.mark.parametrize("rtype", ["AXFR", "IXFR", "TKEY"])
def test_there_are_no_zone_transfers(name: str, rtype: str) -> None:
    assert reply_to(query(name, rtype), transport=Transport.TCP).rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize("rtype", ["MX", "TXT", "DS", "DNSKEY", "TYPE65", "TYPE1234", "TYPE65280", "ANY"])
def test_names_of_our_domain_are_never_forwarded_whatever_the_type(rtype: str) -> None:
    for name in ("redis.weave.local", "nope.weave.local", "weave.local", "9.9.2.10.in-addr.arpa"):
        reply = reply_to(query(name, rtype))
        assert reply.rcode() in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}
        assert reply.flags & dns.flags.AA


@pytest.mark.parametrize("rtype", ["A", "AAAA", "TYPE1234", "ANY"])
def test_no_such_name_is_nxdomain_with_the_soa(rtype: str) -> None:
    reply = reply_to(query("nope.weave.local", rtype))
    assert reply.rcode() == dns.rcode.NXDOMAIN
    assert reply.authority[0].to_text() == (
        "weave.local. 1 IN SOA weavedns.weave.local. hostmaster.weave.local. 1 3600 600 86400 1"
    )


def test_the_negative_ttl_is_the_zones() -> None:
    reply = World(ttl_s=30).ask("nope.weave.local")
    assert (reply.authority[0].ttl, reply.authority[0][0].minimum) == (30, 30)


def test_any_gets_one_rrset() -> None:
    reply = reply_to(query("db.weave.local", "ANY"))
    assert [rrset.rdtype.name for rrset in reply.answer] == ["A"]
    assert [rrset.rdtype.name for rrset in reply_to(query("redis.weave.local", "ANY")).answer] == ["A"]
    empty = reply_to(query("project.weave.local", "ANY"))
    assert (empty.rcode(), empty.answer, len(empty.authority)) == (dns.rcode.NOERROR, [], 1)


def test_a_cname_answers_for_every_type_with_what_its_target_has() -> None:
    for rtype, more in (("A", ["10.2.0.1"]), ("CNAME", []), ("ANY", []), ("TXT", [])):
        assert World().values("link.weave.local", rtype) == ["redis.weave.local.", *more]


@pytest.mark.parametrize(
    ("name", "rtype", "value"),
    [
        ("_http._tcp.web.weave.local", "SRV", "0 1 80 web.weave.local."),
        ("mail.weave.local", "MX", "10 web.weave.local."),
        ("text.weave.local", "TXT", '"one" "two"'),
        ("odd.weave.local", "TYPE65", "1 ."),
        ("db.weave.local", "AAAA", "2001:db8::5"),
    ],
)
def test_other_types_are_answered(name: str, rtype: str, value: str) -> None:
    assert World().values(name, rtype) == [value]


@pytest.mark.parametrize(("name", "value"), [("redis", "10.2.0.1"), ("REDIS", "10.2.0.1")])
def test_a_single_label_is_tried_in_the_domain(name: str, value: str) -> None:
    reply = reply_to(query(name))
    assert reply.answer[0][0].to_text() == value
    assert reply.answer[0].name.to_text() == f"{name}."


@pytest.mark.parametrize("name", ["nope", "com", "x" * 63])
@pytest.mark.parametrize("rtype", ["A", "NS", "TXT"])
def test_a_single_label_is_never_forwarded(name: str, rtype: str) -> None:
    assert reply_to(query(name, rtype)).rcode() == dns.rcode.NXDOMAIN


def test_the_root_is_forwarded() -> None:
    world = World()
    world.upstreams.replace([UPSTREAM])
    assert isinstance(world.careful(query(".", "NS")), Forward)


@pytest.mark.parametrize(
    ("name", "rtype", "values"),
    [
        ("localhost", "A", ["127.0.0.1"]),
        ("LocalHost", "AAAA", ["::1"]),
        ("a.b.localhost", "A", ["127.0.0.1"]),
        ("1.0.0.127.in-addr.arpa", "PTR", ["localhost."]),
        ("1." + "0." * 31 + "ip6.arpa", "PTR", ["localhost."]),
        ("localhost", "MX", []),
        ("0.0.127.in-addr.arpa", "PTR", []),
    ],
)
def test_localhost_is_answered_here_for_anybody(name: str, rtype: str, values: list[str]) -> None:
    reply = reply_to(query(name, rtype), recursion=False)
    assert reply.rcode() == dns.rcode.NOERROR
    assert [item.to_text() for rrset in reply.answer for item in rrset] == values
    assert bool(reply.authority) == (not values)


def test_the_rest_of_the_loopback_range_has_no_names() -> None:
    assert reply_to(query("9.0.0.127.in-addr.arpa", "PTR")).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize(
    "name", ["example.org", "1.0.3.10.in-addr.arpa", "10.in-addr.arpa", "local"[::-1] + ".local"]
)
def test_other_names_are_forwarded_for_who_may(name: str) -> None:
    world = World()
    world.upstreams.replace([UPSTREAM])
    wanted = world.careful(query(name))
    assert isinstance(wanted, Forward)
    assert (wanted.servers, wanted.limit_bytes) == ((UPSTREAM,), 512)
    assert isinstance(world.careful(query(name, "TYPE1234")), Forward)


def test_strangers_are_refused_with_the_reason() -> None:
    reply = reply_to(with_records(query("example.org"), opt()), recursion=False)
    assert reply.rcode() == dns.rcode.REFUSED
    assert ede_of(reply) == [18]
    assert not reply.flags & dns.flags.RA
    assert reply_to(query("example.org"), recursion=False).edns == -1


def test_who_desires_no_recursion_is_refused_what_is_not_ours() -> None:
    reply = reply_to(with_records(query("example.org", flags=0), opt()))
    assert (reply.rcode(), ede_of(reply)) == (dns.rcode.REFUSED, [20])


def test_without_upstreams_there_is_a_server_failure_with_the_reason() -> None:
    reply = World().careful(with_records(query("example.org"), opt()))
    assert isinstance(reply, bytes)
    message = dns.message.from_wire(reply)
    assert (message.rcode(), ede_of(message)) == (dns.rcode.SERVFAIL, [23])


def many(count: int) -> World:
    return World([record("many", "A", f"10.2.1.{number}") for number in range(count)])


@pytest.mark.parametrize(
    ("size", "limit"), [(None, 512), (512, 512), (100, 512), (1000, 1000), (1232, 1232), (4096, 1232)]
)
def test_answers_that_do_not_fit_are_cut_at_whole_records(size: int | None, limit: int) -> None:
    packet = query("many.weave.local")
    packet = with_records(packet, opt(size)) if size is not None else packet
    reply = many(200).careful(packet)
    assert isinstance(reply, bytes)
    assert limit - 16 < len(reply) <= limit
    message = dns.message.from_wire(reply)
    assert message.flags & dns.flags.TC
    assert len(message.answer[0]) == (limit - len(packet)) // 16


def test_an_answer_that_just_fits_is_not_cut() -> None:
    room = (512 - len(query("many.weave.local"))) // 16
    for count, cut in ((room, False), (room + 1, True)):
        reply = many(count).careful(query("many.weave.local"))
        assert isinstance(reply, bytes)
        assert bool(reply[2] & 0x02) == cut


def test_tcp_carries_the_lot() -> None:
    message = many(200).ask("many.weave.local", transport=Transport.TCP)
    assert not message.flags & dns.flags.TC
    assert len(message.answer[0]) == 200


def test_more_than_tcp_can_carry_is_cut_too() -> None:
    world = World([record("many", "TXT", f"{number:05}" + "x" * 245) for number in range(300)])
    reply = world.careful(query("many.weave.local", "TXT"), transport=Transport.TCP)
    assert isinstance(reply, bytes)
    assert 65000 < len(reply) <= 65535
    assert dns.message.from_wire(reply).flags & dns.flags.TC


def test_rotation_goes_on_in_answers_that_are_cut() -> None:
    world = many(100)
    first, second = (world.values_in_order("many.weave.local") for _ in range(2))
    assert first[1:5] == second[:4]
