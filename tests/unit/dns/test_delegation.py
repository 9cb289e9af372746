"""Parts of the domain that NS records hand to other servers: referrals, and those servers asked for who may."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import dns.flags
import dns.message
import dns.rdatatype
import pytest

from tests.unit.dns.upstreams import Asked, Behaviour, FakeUpstream, upstream
from tests.unit.dns.world import USUAL, World, exchange, opt, query, record, serving, with_records
from weavedns.dns import resolver
from weavedns.dns.access import Access
from weavedns.dns.compose import lookup
from weavedns.dns.onward import Forward, Onward
from weavedns.dns.resolver import Transport
from weavedns.dns.server import DnsServer
from weavedns.records import names

HANDED = (
    record("sub", "NS", "ns.sub", ttl_s=60),
    record("ns.sub", "A", "127.0.0.1", ttl_s=60),
)
PARTS = (
    *USUAL,
    *HANDED,
    record("sub", "NS", "web"),
    record("sub", "NS", "ns.example.org."),
    record("sub", "TXT", "not ours to say"),
    record("one.sub", "A", "10.2.7.1"),
    record("x.deep.sub", "NS", "redis"),
    record("far", "NS", "ns.example.org."),
    record("self", "NS", "weavedns"),
    record("into", "CNAME", "host.sub"),
    record("*.wild", "A", "10.2.7.2"),
    record("part.wild", "NS", "ns.sub"),
    record("lead", "MX", "5", "ns.sub"),
)
AT_AND_UNDER = ("sub", "SUB", "one.sub", "host.sub", "ns.sub", "a.b.sub", "x.deep.sub", "y.x.deep.sub")
NO_RD = 0


def told(reply: dns.message.Message) -> tuple[list[str], list[str], list[str]]:
    """Every record, by section, in a fixed order."""
    sections = (reply.answer, reply.authority, reply.additional)
    return tuple(sorted(f"{rrset.name} {item}" for rrset in section for item in rrset) for section in sections)  # type: ignore[return-value]


def referral(world: World, name: str, rtype: str = "A", *, flags: int = NO_RD) -> dns.message.Message:
    packet = query(f"{name}.weave.local", rtype, flags=flags)
    reply = world.careful(packet, recursion=False)
    assert isinstance(reply, bytes)
    return dns.message.from_wire(reply)


@pytest.mark.parametrize("flags", [NO_RD, 0x0100])
@pytest.mark.parametrize("rtype", ["A", "AAAA", "NS", "MX", "TXT", "ANY", "SOA", "CAA"])
@pytest.mark.parametrize("name", AT_AND_UNDER)
def test_names_of_other_servers_are_referred_to_them(name: str, rtype: str, flags: int) -> None:
    reply = referral(World(PARTS), name, rtype, flags=flags)
    answer, authority, additional = told(reply)
    assert reply.rcode() == 0
    assert not reply.flags & (dns.flags.AA | dns.flags.TC)
    assert answer == []
    assert [each.lower() for each in authority] == [
        "sub.weave.local. ns.example.org.",
        "sub.weave.local. ns.sub.weave.local.",
        "sub.weave.local. web.weave.local.",
    ]
    assert [each.lower() for each in additional] == [
        "ns.sub.weave.local. 127.0.0.1",
        "web.weave.local. 10.2.0.2",
        "web.weave.local. 10.2.0.3",
        "web.weave.local. 10.2.0.4",
    ]


@pytest.mark.parametrize("recursion", [False, True])
@pytest.mark.parametrize("name", AT_AND_UNDER)
def test_the_fast_path_leaves_them_alone(name: str, recursion: bool) -> None:
    world = World(PARTS)
    for rtype in ("A", "AAAA", "NS", "TXT"):
        assert world.responder.answer(query(f"{name}.weave.local", rtype), recursion=recursion) is None


@pytest.mark.parametrize("name", ["redis", "web", "nope", "text", "wild", "x.wild", "y.nosub", "weave"])
def test_beside_them_both_paths_answer_as_before(name: str) -> None:
    for rtype in ("A", "AAAA", "NS", "TXT"):
        packet = query(f"{name}.weave.local", rtype)
        assert World(PARTS).responder.answer(packet, recursion=True) == World(PARTS).careful(packet)


def test_a_cut_stops_a_wildcard() -> None:
    world = World(PARTS)
    assert world.values("x.wild.weave.local") == ["10.2.7.2"]
    assert told(referral(world, "x.part.wild"))[1] == ["part.wild.weave.local. ns.sub.weave.local."]


def test_the_key_of_a_part_is_asked_for_here() -> None:
    # RFC 4035 section 3.1.4.1: DS stands above the cut.
    world = World([*PARTS, record("far", "TYPE43", r"\#", "24", "30390501" + "ab" * 20)])
    signed, unsigned = referral(world, "far", "DS"), referral(world, "sub", "DS")
    assert len(signed.answer) == 1
    assert [rrset.rdtype for rrset in unsigned.authority] == [dns.rdatatype.SOA]
    assert signed.flags & unsigned.flags & dns.flags.AA
    assert not referral(world, "x.sub", "DS").flags & dns.flags.AA


def test_an_alias_into_such_a_part_stands_before_the_referral() -> None:
    reply = referral(World(PARTS), "into")
    answer, authority, _ = told(reply)
    assert answer == ["into.weave.local. host.sub.weave.local."]
    assert len(authority) == 3
    assert reply.flags & dns.flags.AA


def test_addresses_that_only_lead_to_servers_are_added_to_nothing_else() -> None:
    assert told(referral(World(PARTS), "lead", "MX"))[2] == []


def test_glue_that_does_not_fit_is_missed() -> None:
    # RFC 9471: without the addresses of servers under the cut a referral is of no use.
    many = [record("sub", "NS", "ns.sub"), *(record("ns.sub", "A", f"10.2.9.{number}") for number in range(40))]
    packet = query("x.sub.weave.local", flags=NO_RD)
    cut, whole = (
        dns.message.from_wire(World(many).careful(packet, recursion=False, transport=transport))  # type: ignore[arg-type]
        for transport in (Transport.UDP, Transport.TCP)
    )
    assert cut.flags & dns.flags.TC
    assert not whole.flags & dns.flags.TC
    assert len(whole.additional[0]) == 40


def test_addresses_of_servers_elsewhere_may_be_left_out() -> None:
    many = [record("sub", "NS", "big"), *(record("big", "A", f"10.2.9.{number}") for number in range(40))]
    reply = referral(World(many), "x.sub")
    assert not reply.flags & dns.flags.TC
    assert reply.additional == []


def test_what_was_handed_over_and_comes_back_is_ours_again() -> None:
    world = World(PARTS)
    for each in [known for known in PARTS if known.rtype == dns.rdatatype.NS]:
        world.remove(each)
    assert not world.answers.cuts
    assert world.values("one.sub.weave.local") == ["10.2.7.1"]
    assert world.ask("nope.sub.weave.local").rcode() == dns.rcode.NXDOMAIN
    assert world.responder.answer(query("one.sub.weave.local"), recursion=True)


def test_the_domain_itself_cannot_be_handed_over() -> None:
    world = World([*USUAL, record("@", "NS", "redis")])
    assert not world.answers.cuts
    assert world.values("weave.local", "NS") == ["weavedns.weave.local."]


def test_a_lookup_tells_the_servers_of_a_part_and_nothing_under_it() -> None:
    world = World(PARTS)
    assert len(lookup(world.answers, names.parse("sub.weave.local."), 2)) == 3
    assert lookup(world.answers, names.parse("one.sub.weave.local."), 1) == []


# For who may have queries forwarded: asked where the servers are


def servers_asked(world: World, name: str, rtype: str = "A") -> list[str]:
    decision = world.careful(query(name, rtype))
    assert isinstance(decision, Forward)
    return [host for host, _ in decision.servers]


def test_the_servers_whose_addresses_are_known_here_are_asked() -> None:
    world = World(PARTS)
    assert sorted(servers_asked(world, "x.sub.weave.local")) == ["10.2.0.2", "10.2.0.3", "10.2.0.4", "127.0.0.1"]
    assert servers_asked(World([*USUAL, *HANDED]), "sub.weave.local", "NS") == ["127.0.0.1"]


@pytest.mark.parametrize("name", ["x.far", "x.self"])
def test_without_an_address_or_with_ours_alone_there_is_the_referral(name: str) -> None:
    reply = World(PARTS).careful(query(f"{name}.weave.local"))
    assert isinstance(reply, bytes)
    assert not reply[2] & 0x04
    assert dns.message.from_wire(reply).authority


def test_a_single_label_leads_there_by_an_alias() -> None:
    decision = World(PARTS).careful(query("sub"))
    assert isinstance(decision, Onward)
    assert decision.forward.query.name == names.parse("sub.weave.local.")


Ask = Callable[..., "asyncio.Future[dns.message.Message]"]


@contextlib.asynccontextmanager
async def handing_over(
    behave: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[World, DnsServer, FakeUpstream]]:
    """A server, and the one that a part of its domain is handed to, on a port that can be had."""
    world = World([*USUAL, *HANDED, record("into", "CNAME", "host.sub")])
    async with upstream(behave) as up, serving(world, access=Access()) as server:
        monkeypatch.setattr(resolver, "DNS_PORT", up.address[1])
        yield world, server, up


async def ask(server: DnsServer, name: str, rtype: str = "A") -> dns.message.Message:
    packet = with_records(query(name, rtype), opt())
    return dns.message.from_wire(await exchange(packet, server.listening[0]))


def says(asked: Asked) -> None:
    asked.answer('0 issue "x"' if asked.message.question[0].rdtype == dns.rdatatype.CAA else "192.0.2.7")


async def test_who_may_have_queries_forwarded_is_told_what_the_other_servers_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with handing_over(says, monkeypatch) as (_, server, up):
        for _ in range(2):  # from there, then from the cache
            reply = await ask(server, "Host.Sub.weave.local")
            assert [item.to_text() for rrset in reply.answer for item in rrset] == ["192.0.2.7"]
            assert not reply.flags & dns.flags.AA
            assert reply.flags & dns.flags.RA
        assert up.names == ["host.sub.weave.local"]


@pytest.mark.parametrize("name", ["into.weave.local", "sub"])
async def test_aliases_and_short_names_lead_there(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    async with handing_over(says, monkeypatch) as (_, server, _):
        reply = await ask(server, name)
        assert reply.answer[0].rdtype == dns.rdatatype.CNAME
        assert reply.answer[1][0].to_text() == "192.0.2.7"


async def test_what_was_said_there_is_forgotten_when_the_part_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with handing_over(says, monkeypatch) as (world, server, _):
        # A type that the fast path knows nothing of would come from the cache.
        assert (await ask(server, "host.sub.weave.local", "CAA")).rcode() == 0
        world.remove(HANDED[0])
        assert (await ask(server, "host.sub.weave.local", "CAA")).rcode() == dns.rcode.NXDOMAIN


async def test_the_health_of_such_servers_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    async with handing_over(says, monkeypatch) as (world, server, up):
        await ask(server, "a.sub.weave.local")
        assert world.upstreams.health(up.address).answered == 1
        assert world.upstreams.servers == ()
