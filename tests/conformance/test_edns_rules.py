"""EDNS and its options, and the probes of ISC's compliance tester, asked of a running daemon over UDP and TCP."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass

import pytest

from tests.conformance import packets as p
from tests.conformance.conftest import Send
from tests.conformance.served import NAME, TTL_S, Served, Upstream, served

KINDS = (
    "redis.weave.local",
    "nope.weave.local",
    "db.weave.local",
    "weave.local",
    "redis",
    "www.example.org",
    "localhost",
)
CLIENT_COOKIE = bytes(range(8))
DO = 0x8000
HOUR_S = 3600


# RFC 6891


@pytest.mark.parametrize("text", KINDS)
def test_an_opt_comes_only_if_it_was_asked_for(send: Send, text: str) -> None:
    assert send(p.query(text)).opts == []
    (opt,) = send(p.query(text, opt=p.edns())).opts
    assert (opt.owner, opt.rclass, opt.ttl_s, opt.data) == (".", 1232, 0, b"")


@pytest.mark.parametrize("text", KINDS)
@pytest.mark.parametrize("size", [0, 1, 511, 512, 1232, 4096, 65535])
def test_our_own_size_is_told_whatever_theirs_is(send: Send, text: str, size: int) -> None:
    reply = send(p.query(text, opt=p.edns(size=size)))
    assert reply.opts[0].rclass == 1232
    assert reply.rcode in {p.NOERROR, p.NXDOMAIN}


@pytest.mark.parametrize("text", KINDS)
@pytest.mark.parametrize("flags", [0, DO, 0x4000, 0x7FFF, 0xFFFF])
def test_do_comes_back_and_unknown_flags_do_not(send: Send, text: str, flags: int) -> None:
    assert send(p.query(text, opt=p.edns(flags=flags))).opts[0].ttl_s == flags & DO


@pytest.mark.parametrize("text", KINDS)
@pytest.mark.parametrize("version", [1, 2, 100, 255])
def test_a_later_version_is_told_which_one_we_have(send: Send, text: str, version: int) -> None:
    reply = send(p.query(text, opt=p.edns(p.option(65001, b"x"), version=version)))
    assert reply.rcode == p.BADVERS
    assert reply.flags & 0xF == 0
    assert reply.opts[0].ttl_s == 1 << 24
    assert not reply.flags & p.AA
    assert not reply.answer
    assert not reply.authority
    assert reply.question == p.question(text)


def test_two_opts_are_a_format_error(send: Send) -> None:
    for text in KINDS:
        for first, second in (
            (p.edns(), p.edns()),
            (p.edns(), p.edns(version=1)),
            (p.edns(size=512), p.edns(flags=DO)),
        ):
            reply = send(p.message([p.question(text)], (), (), [first, second]))
            assert reply.rcode == p.FORMERR
            assert not reply.answer


@pytest.mark.parametrize(
    "packet",
    [
        p.message([p.question("redis.weave.local")], [p.edns()]),
        p.message([p.question("redis.weave.local")], (), [p.edns()]),
        p.query("redis.weave.local", opt=p.edns(owner=p.name("x"))),
        p.query("redis.weave.local", opt=p.edns(b"\0")),
        p.query("redis.weave.local", opt=p.edns(b"\xfd\xe9\0")),
        p.query("redis.weave.local", opt=p.edns(b"\xfd\xe9\0\5four")),
    ],
    ids=["in the answer", "in the authority", "with a name", "odd byte", "half a length", "length beyond its end"],
)
def test_a_broken_opt_is_a_format_error(send: Send, packet: bytes) -> None:
    reply = send(packet)
    assert (reply.rcode, reply.id, reply.answer) == (p.FORMERR, p.IDENT, [])


@pytest.mark.parametrize("text", KINDS)
@pytest.mark.parametrize("code", [0, 1, p.ECS, p.EXPIRE, p.PADDING, 4242, 65001, 65535])
def test_unknown_options_change_nothing_and_do_not_come_back(send: Send, text: str, code: int) -> None:
    for data in (b"", b"x", bytes(range(100))):
        reply = send(p.query(text, opt=p.edns(p.option(code, data), p.option(code, data))))
        assert reply.rcode in {p.NOERROR, p.NXDOMAIN}
        assert reply.options == {}


def test_an_opt_may_stand_before_other_records(send: Send) -> None:
    other = p.name("x") + struct.pack("!HHIH", p.A, p.IN, 1, 4) + bytes(4)
    for rows in ([p.edns(), other], [other, p.edns()]):
        reply = send(p.message([p.question("redis.weave.local")], (), (), rows))
        assert (reply.addresses, len(reply.opts)) == (["10.2.0.1"], 1)


def test_options_of_a_client_go_no_further(server: Served, world: Upstream) -> None:
    private = b"for nobody else"
    opt = p.edns(p.option(p.COOKIE, CLIENT_COOKIE), p.option(p.ECS, private), p.option(65001, private), flags=DO)
    p.udp(p.query("hop.example.org", opt=opt), server.address)
    (packet,) = [packet for packet in world.packets if p.name("hop.example.org") in packet.lower()]
    assert private not in packet
    assert CLIENT_COOKIE not in packet


# RFC 7873, 9018: cookies


def cookie(send: Send, sent: bytes, text: str = "redis.weave.local") -> p.Reply:
    return send(p.query(text, opt=p.edns(p.option(p.COOKIE, sent))))


@pytest.mark.parametrize("text", KINDS)
def test_a_client_gets_its_cookie_with_one_of_ours(send: Send, text: str) -> None:
    given = cookie(send, CLIENT_COOKIE, text).options[p.COOKIE]
    assert given[:8] == CLIENT_COOKIE
    assert given[8:12] == b"\1\0\0\0"
    assert abs(int.from_bytes(given[12:16], "big") - time.time()) < 60
    assert len(given) == 24


def test_a_client_may_ask_for_a_cookie_alone(send: Send) -> None:
    # RFC 7873 section 5.4.
    reply = send(p.message([], (), (), [p.edns(p.option(p.COOKIE, CLIENT_COOKIE))]))
    assert (reply.rcode, reply.question, reply.answer, reply.authority) == (p.NOERROR, b"", [], [])
    assert reply.options[p.COOKIE][:8] == CLIENT_COOKIE
    assert len(reply.options[p.COOKIE]) == 24
    again = send(p.message([], (), (), [p.edns(p.option(p.COOKIE, reply.options[p.COOKIE]))]))
    assert again.options == reply.options


@pytest.mark.parametrize(
    ("opt", "rcode"),
    [
        (p.edns(), p.FORMERR),
        (p.edns(p.option(p.NSID)), p.FORMERR),
        (p.edns(p.option(p.COOKIE, b"short")), p.FORMERR),
        (p.edns(p.option(p.COOKIE, CLIENT_COOKIE), version=1), p.BADVERS),
    ],
)
def test_nothing_else_may_be_asked_without_a_question(send: Send, opt: bytes, rcode: int) -> None:
    assert send(p.message([], (), (), [opt])).rcode == rcode


@pytest.mark.parametrize("text", KINDS)
def test_a_fresh_cookie_of_ours_comes_back_as_it_is(send: Send, text: str) -> None:
    given = cookie(send, CLIENT_COOKIE, text).options[p.COOKIE]
    reply = cookie(send, given, text)
    assert reply.options[p.COOKIE] == given
    assert reply.rcode in {p.NOERROR, p.NXDOMAIN}


def test_cookies_hang_on_the_client_and_its_address(server: Served) -> None:
    def given(sent: bytes, source: str) -> bytes:
        asked = p.query("redis.weave.local", opt=p.edns(p.option(p.COOKIE, sent)))
        return p.udp(asked, server.address, source=source).options[p.COOKIE]

    ours = given(CLIENT_COOKIE, "127.0.0.1")
    assert given(ours, "127.0.0.1") == ours
    # Elsewhere it is a stranger's, and is answered with a new one.
    assert given(ours, "127.0.0.2") != ours
    assert given(CLIENT_COOKIE[::-1], "127.0.0.1")[16:] != ours[16:]


@pytest.mark.parametrize("change", ["earlier", "later", "hash", "version", "short", "long"])
def test_a_cookie_that_was_tampered_with_is_answered_with_a_new_one(send: Send, change: str) -> None:
    given = cookie(send, CLIENT_COOKIE).options[p.COOKIE]
    now = int.from_bytes(given[12:16], "big")
    sent = {
        "earlier": given[:12] + (now - HOUR_S).to_bytes(4, "big") + given[16:],
        "later": given[:12] + (now + HOUR_S).to_bytes(4, "big") + given[16:],
        "hash": given[:-1] + bytes((given[-1] ^ 1,)),
        "version": given[:8] + b"\2" + given[9:],
        "short": given[:16],
        "long": given + bytes(16),
    }[change]
    reply = cookie(send, sent)
    assert reply.addresses == ["10.2.0.1"]
    fresh = reply.options[p.COOKIE]
    assert fresh != sent
    assert fresh[:12] == given[:12]
    assert cookie(send, fresh).options[p.COOKIE] == fresh


@pytest.mark.parametrize("size", [0, 1, 7, 9, 15, 41, 64, 500])
@pytest.mark.parametrize("text", KINDS)
def test_a_cookie_of_a_wrong_length_is_a_format_error(send: Send, text: str, size: int) -> None:
    reply = cookie(send, bytes(size), text)
    assert (reply.rcode, reply.answer) == (p.FORMERR, [])
    assert p.COOKIE not in reply.options


# RFC 5001 and 8914


@pytest.mark.parametrize("text", KINDS)
def test_nsid_is_the_name_of_the_peer(send: Send, text: str) -> None:
    assert send(p.query(text, opt=p.edns(p.option(p.NSID)))).options == {p.NSID: NAME.encode()}


@pytest.mark.parametrize(
    ("text", "rclass", "flags", "rcode", "ede"),
    [
        ("www.example.org", p.IN, 0, p.REFUSED, 20),
        ("version.bind", p.CH, p.RD, p.REFUSED, 21),
        ("redis.weave.local", 254, p.RD, p.REFUSED, 21),
    ],
)
def test_refusals_say_why(send: Send, text: str, rclass: int, flags: int, rcode: int, ede: int) -> None:
    reply = send(p.query(text, p.TXT, rclass, flags=flags, opt=p.edns()))
    assert (reply.rcode, reply.ede) == (rcode, ede)
    reply.options[p.EDE][2:].decode()
    # And only to who knows what that is.
    plain = send(p.query(text, p.TXT, rclass, flags=flags))
    assert (plain.rcode, plain.additional) == (rcode, [])


def test_failures_say_why(send: Send) -> None:
    reply = send(p.query("x.broken.example", opt=p.edns()))
    assert reply.rcode == p.SERVFAIL
    assert reply.ede in {13, 22, 23}


def test_with_no_upstream_in_reach_names_of_others_fail_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    with served(tmp_path_factory.mktemp("alone"), "--upstream", "127.0.0.1:9") as alone:
        for over in p.TRANSPORTS.values():
            reply = over(p.query("www.example.org", opt=p.edns()), alone.address)
            assert reply.rcode == p.SERVFAIL
            assert reply.ede in {13, 22, 23}
            # Our own names do not care.
            assert over(p.query("redis.weave.local"), alone.address).addresses == ["10.2.0.1"]


# The probes of ISC's compliance tester, as it describes them, at the apex of our zone


@dataclass(frozen=True)
class Probe:
    """What is asked, and what a server that keeps to the standards says."""

    opt: bytes = b""
    rtype: int = p.SOA
    flags: int = 0
    opcode: int = 0
    rcode: int = p.NOERROR
    answers: bool = True
    do: bool = False
    options: frozenset[int] = frozenset()


_COOKIE = p.option(p.COOKIE, CLIENT_COOKIE)
_NSID = p.option(p.NSID)
_ECS = p.option(p.ECS, b"\0\1\0\0")
_EXPIRE = p.option(p.EXPIRE)
_UNKNOWN = p.option(100)
PROBES: dict[str, Probe] = {
    "dns": Probe(),
    "aa": Probe(flags=p.AA),
    "ad": Probe(flags=p.AD),
    "cd": Probe(flags=p.CD),
    "ra": Probe(flags=p.RA),
    "rd": Probe(flags=p.RD),
    "tc": Probe(flags=p.TC),
    "zflag": Probe(flags=p.Z),
    "opcode": Probe(opcode=15, rcode=p.NOTIMP, answers=False),
    "opcodeflg": Probe(opcode=15, flags=p.TC | p.RD | p.RA | p.CD | p.AD | p.AA | p.Z, rcode=p.NOTIMP, answers=False),
    "type666": Probe(rtype=666, answers=False),
    "edns": Probe(p.edns()),
    "edns1": Probe(p.edns(version=1), rcode=p.BADVERS, answers=False),
    "edns@512": Probe(p.edns(size=512, flags=DO), do=True),
    "ednsopt": Probe(p.edns(_UNKNOWN)),
    "edns1opt": Probe(p.edns(_UNKNOWN, version=1), rcode=p.BADVERS, answers=False),
    "do": Probe(p.edns(flags=DO), do=True),
    "edns1do": Probe(p.edns(version=1, flags=DO), rcode=p.BADVERS, answers=False, do=True),
    "ednsflags": Probe(p.edns(flags=0x0080)),
    "edns1flags": Probe(p.edns(version=1, flags=0x0080), rcode=p.BADVERS, answers=False),
    "docookie": Probe(p.edns(_COOKIE, flags=DO), do=True, options=frozenset({p.COOKIE})),
    "ednscookie": Probe(p.edns(_COOKIE), options=frozenset({p.COOKIE})),
    "ednsnsid": Probe(p.edns(_NSID), options=frozenset({p.NSID})),
    "ednsexpire": Probe(p.edns(_EXPIRE)),
    "ednssubnet": Probe(p.edns(_ECS)),
    "optlist": Probe(p.edns(_NSID, _ECS, _EXPIRE, _COOKIE), options=frozenset({p.NSID, p.COOKIE})),
    "bind11": Probe(p.edns(_COOKIE, flags=DO), flags=p.AD, do=True, options=frozenset({p.COOKIE})),
    "dig11": Probe(p.edns(_COOKIE), flags=p.RD | p.AD, options=frozenset({p.COOKIE})),
    "signed": Probe(p.edns(flags=DO), rtype=48, answers=False, do=True),
    "signed@512": Probe(p.edns(size=512, flags=DO), rtype=48, answers=False, do=True),
}


@pytest.mark.parametrize("zone", ["weave.local", "2.10.in-addr.arpa"])
@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_the_compliance_tester_would_say_ok(send: Send, zone: str, probe: Probe) -> None:
    reply = send(p.query(zone, probe.rtype, flags=probe.flags, opcode=probe.opcode, opt=probe.opt))
    assert reply.rcode == probe.rcode
    assert len(reply.opts) == bool(probe.opt)
    if probe.opt:
        assert reply.opts[0].ttl_s & 0xFFFFFF == (DO if probe.do else 0)
    assert set(reply.options) == probe.options
    assert [record.rtype for record in reply.answer] == ([p.SOA] if probe.answers else [])
    assert bool(reply.flags & p.AA) == (probe.rcode == p.NOERROR)
    assert not reply.flags & (p.TC | p.Z | p.AD)
    assert reply.flags & p.RD == probe.flags & p.RD
    assert len(reply.raw) <= 512
    if not probe.answers and probe.rcode == p.NOERROR:
        assert (reply.authority[0].rtype, reply.authority[0].ttl_s) == (p.SOA, TTL_S)
