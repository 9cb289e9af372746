"""Aliases, wildcards and additional records, asked of a running daemon over UDP and TCP."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.conformance import packets as p
from tests.conformance.conftest import Ask
from tests.conformance.served import TTL_S, ZONE, Served, Upstream, served

CHAIN = 40
MANY = 40
ADDED = f"""
link CNAME redis
chain CNAME link
deep CNAME chain
toweb CNAME web
gone CNAME absent
ent CNAME project
out CNAME www.example.org.
ping CNAME pong
pong CNAME ping
self CNAME self
CapItal CNAME ReDis
tomany CNAME many
{chr(10).join(f"step{number} CNAME step{number + 1}" for number in range(CHAIN))}
step{CHAIN} A 10.2.0.40
*.apps A 10.2.0.20
*.apps TXT wild
real.apps A 10.2.0.21
under.there.apps A 10.2.0.22
*.alias.apps CNAME redis
toomany SRV 0 0 80 huge
; the example of RFC 4592, section 2.2.1, under a name of its own
*.w TXT "this is a wildcard"
*.w MX 10 host1.w
sub.*.w TXT "this is not a wildcard"
host1.w A 192.0.2.1
_ssh._tcp.host1.w SRV 1 2 22 host1.w
_ssh._tcp.host2.w SRV 1 2 22 host2.w
both SRV 0 0 80 db
both SRV 0 0 81 redis
outside SRV 0 0 80 www.example.org.
mails MX 10 db
mails MX 20 link
{chr(10).join(f"crowd SRV 0 0 {number + 1} many" for number in range(MANY))}
"""


@pytest.fixture(scope="module")
def server(world: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    host, port = world.address
    with served(tmp_path_factory.mktemp("daemon"), "--upstream", f"{host}:{port}", zone=ZONE + ADDED) as made:
        yield made


@pytest.fixture(params=list(p.TRANSPORTS))
def ask(request: pytest.FixtureRequest, server: Served) -> Ask:
    """Ask the daemon, over either transport, with EDNS or without."""
    over = p.TRANSPORTS[request.param]

    def asked(text: str, rtype: int = p.A, *, flags: int = p.RD) -> p.Reply:
        plain = over(p.query(text, rtype, flags=flags), server.address)
        extended = over(p.query(text, rtype, flags=flags, opt=p.edns()), server.address)
        assert extended.flags & ~p.TC == plain.flags & ~p.TC
        assert len(extended.opts) == 1
        return extended

    return asked


def owners(reply: p.Reply) -> list[tuple[str, int]]:
    return [(record.owner, record.rtype) for record in reply.answer]


def added(reply: p.Reply) -> list[tuple[str, str]]:
    """The addresses among the additional records."""
    families = {p.A: socket.AF_INET, p.AAAA: socket.AF_INET6}
    return sorted(
        (record.owner, socket.inet_ntop(families[record.rtype], record.data))
        for record in reply.additional
        if record.rtype != p.OPT
    )


# RFC 1034 section 3.6.2: aliases


def test_an_alias_comes_with_what_it_stands_for(ask: Ask) -> None:
    reply = ask("link.weave.local")
    assert owners(reply) == [("link.weave.local.", p.CNAME), ("redis.weave.local.", p.A)]
    assert reply.answer[0].text == "redis.weave.local."
    assert reply.addresses == ["10.2.0.1"]
    assert reply.flags & p.AA
    assert {record.ttl_s for record in reply.answer} == {TTL_S}


def test_aliases_of_aliases_are_followed_in_order(ask: Ask) -> None:
    reply = ask("deep.weave.local")
    names = ["deep.weave.local.", "chain.weave.local.", "link.weave.local.", "redis.weave.local."]
    assert [owner for owner, _ in owners(reply)] == names
    assert sorted(ask("toweb.weave.local").addresses) == ["10.2.0.2", "10.2.0.3", "10.2.0.4"]


def test_letters_of_an_alias_make_no_difference(ask: Ask) -> None:
    reply = ask("cApItAl.weave.local")
    assert reply.addresses == ["10.2.0.1"]
    assert reply.answer[0].owner == "cApItAl.weave.local."


@pytest.mark.parametrize("rtype", [p.CNAME, p.ANY])
def test_an_alias_that_is_asked_for_itself_is_not_followed(ask: Ask, rtype: int) -> None:
    assert owners(ask("link.weave.local", rtype)) == [("link.weave.local.", p.CNAME)]


@pytest.mark.parametrize(
    ("text", "rtype", "rcode"),
    [
        ("link.weave.local", p.AAAA, p.NOERROR),
        ("link.weave.local", 65, p.NOERROR),
        ("ent.weave.local", p.A, p.NOERROR),
        ("gone.weave.local", p.A, p.NXDOMAIN),
        ("gone.weave.local", p.TXT, p.NXDOMAIN),
    ],
)
def test_an_alias_to_nothing_is_as_negative_as_its_target(ask: Ask, text: str, rtype: int, rcode: int) -> None:
    # RFC 2308 section 2.1, 6604: the code is that of the last name.
    reply = ask(text, rtype)
    assert reply.rcode == rcode
    assert owners(reply) == [(f"{text}.", p.CNAME)]
    (soa,) = reply.authority
    assert (soa.rtype, soa.owner, soa.ttl_s) == (p.SOA, "weave.local.", TTL_S)


def test_an_alias_to_a_name_of_others_is_followed_for_who_may(ask: Ask) -> None:
    reply = ask("out.weave.local")
    assert reply.rcode == p.NOERROR
    assert owners(reply)[0] == ("out.weave.local.", p.CNAME)
    assert reply.addresses == ["192.0.2.80"]
    alone = ask("out.weave.local", flags=0)
    assert owners(alone) == [("out.weave.local.", p.CNAME)]
    assert alone.rcode == p.NOERROR


@pytest.mark.parametrize("text", ["ping.weave.local", "self.weave.local"])
def test_aliases_in_a_circle_are_given_once(ask: Ask, text: str) -> None:
    reply = ask(text)
    assert reply.rcode == p.NOERROR
    found = [record.owner for record in reply.answer]
    assert 0 < len(found) == len(set(found)) <= 2


def test_a_chain_of_aliases_that_is_too_long_is_a_failure(ask: Ask) -> None:
    reply = ask("step0.weave.local")
    assert (reply.rcode, reply.answer, reply.flags & p.AA) == (p.SERVFAIL, [], 0)


def test_what_does_not_fit_behind_an_alias_is_cut_at_whole_records(server: Served) -> None:
    cut = p.udp(p.query("tomany.weave.local"), server.address)
    whole = p.tcp(p.query("tomany.weave.local"), server.address)
    assert cut.flags & p.TC
    assert len(cut.raw) <= 512
    assert cut.answer[0].rtype == p.CNAME
    assert len(whole.addresses) == MANY
    assert set(cut.addresses) < set(whole.addresses)


# RFC 4592: wildcards


@pytest.mark.parametrize(
    "text", ["x.apps.weave.local", "X.Apps.weave.local", "a.b.c.apps.weave.local", "*.apps.weave.local"]
)
def test_a_wildcard_answers_with_the_name_that_was_asked_for(ask: Ask, text: str) -> None:
    reply = ask(text)
    assert (reply.rcode, reply.addresses) == (p.NOERROR, ["10.2.0.20"])
    assert owners(reply) == [(f"{text}.", p.A)]
    assert ask(text, p.TXT).answer[0].data == b"\4wild"
    nothing = ask(text, p.MX)
    assert (nothing.rcode, nothing.answer, len(nothing.authority)) == (p.NOERROR, [], 1)


@pytest.mark.parametrize(
    ("text", "rcode"),
    [
        ("real.apps.weave.local", p.NOERROR),
        ("there.apps.weave.local", p.NOERROR),
        ("apps.weave.local", p.NOERROR),
        ("x.real.apps.weave.local", p.NXDOMAIN),
        ("x.there.apps.weave.local", p.NXDOMAIN),
        ("x.under.there.apps.weave.local", p.NXDOMAIN),
        ("xapps.weave.local", p.NXDOMAIN),
    ],
)
def test_a_wildcard_does_not_cross_names_that_exist(ask: Ask, text: str, rcode: int) -> None:
    reply = ask(text, p.TXT)
    assert (reply.rcode, reply.answer) == (rcode, [])
    assert reply.authority[0].rtype == p.SOA


def test_a_wildcard_may_be_an_alias(ask: Ask) -> None:
    reply = ask("any.alias.apps.weave.local")
    assert owners(reply) == [("any.alias.apps.weave.local.", p.CNAME), ("redis.weave.local.", p.A)]


@pytest.mark.parametrize(
    ("text", "rtype", "rcode", "answers"),
    [
        ("host3.w.weave.local", p.MX, p.NOERROR, 1),
        ("host3.w.weave.local", p.A, p.NOERROR, 0),
        ("foo.bar.w.weave.local", p.TXT, p.NOERROR, 1),
        ("host1.w.weave.local", p.MX, p.NOERROR, 0),
        ("sub.*.w.weave.local", p.MX, p.NOERROR, 0),
        ("sub.*.w.weave.local", p.TXT, p.NOERROR, 1),
        ("_telnet._tcp.host1.w.weave.local", p.SRV, p.NXDOMAIN, 0),
        ("_tcp.host1.w.weave.local", p.TXT, p.NOERROR, 0),
        ("host2.w.weave.local", p.TXT, p.NOERROR, 0),
        ("ghost.*.w.weave.local", p.MX, p.NXDOMAIN, 0),
        ("*.w.weave.local", p.TXT, p.NOERROR, 1),
    ],
)
def test_the_example_of_the_rfc_answers_as_it_says(ask: Ask, text: str, rtype: int, rcode: int, answers: int) -> None:
    reply = ask(text, rtype)
    assert (reply.rcode, len(reply.answer)) == (rcode, answers)
    assert all(record.owner == f"{text}." for record in reply.answer)
    assert len(reply.authority) == (not answers)


# RFC 2782, 1035 section 3.3.9: additional records


def test_the_addresses_of_targets_are_added_where_they_are_ours(ask: Ask) -> None:
    db = [("db.weave.local.", "10.2.0.5"), ("db.weave.local.", "2001:db8::5")]
    assert added(ask("both.weave.local", p.SRV)) == [*db, ("redis.weave.local.", "10.2.0.1")]
    assert [each for each in added(ask("mails.weave.local", p.MX)) if each[0] != "link.weave.local."] == db
    assert added(ask("outside.weave.local", p.SRV)) == []
    assert added(ask("redis.weave.local")) == []


def test_targets_are_never_compressed(server: Served) -> None:
    # RFC 2782: the target of an SRV record; RFC 3597 section 4 for all types from then on.
    for record in p.udp(p.query("both.weave.local", p.SRV), server.address).answer:
        assert record.data[6:] in {p.name("db.weave.local"), p.name("redis.weave.local")}


@pytest.mark.parametrize("size", [512, 800, 1000, 1232])
def test_addresses_that_do_not_fit_are_left_out_without_a_word(server: Served, size: int) -> None:
    opt = p.edns(size=size)
    whole = p.tcp(p.query("both.weave.local", p.SRV, opt=opt), server.address)
    assert len(added(whole)) == 3
    crowd = p.tcp(p.query("crowd.weave.local", p.SRV, opt=opt), server.address)
    assert (len(crowd.answer), len(added(crowd))) == (MANY, MANY)
    cut = p.udp(p.query("crowd.weave.local", p.SRV, opt=opt), server.address)
    assert cut.flags & p.TC
    assert len(cut.raw) <= size
    # All of the answer is there, so nothing was cut that was asked for.
    narrow = p.udp(p.query("toomany.weave.local", p.SRV, opt=opt), server.address)
    assert (len(narrow.answer), narrow.flags & p.TC) == (1, 0)
    assert len(narrow.raw) <= size
    fits = p.udp(p.query("_http._tcp.web.weave.local", p.SRV, opt=opt), server.address)
    assert not fits.flags & p.TC
    assert sorted(address for _, address in added(fits)) == ["10.2.0.2", "10.2.0.3", "10.2.0.4"]
