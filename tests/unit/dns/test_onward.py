"""Aliases of ours that lead elsewhere: followed for who may have queries forwarded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.dns.upstreams import Asked, Behaviour, FakeUpstream, upstream
from tests.unit.dns.world import DEADLINE_S, USUAL, World, exchange, opt, query, record, serving, with_records
from weavedns.dns.onward import Forward, Onward
from weavedns.dns.resolver import Transport
from weavedns.dns.server import DnsServer

AWAY = "www.example.org."
LINKS = (
    *USUAL,
    record("away", "CNAME", AWAY, ttl_s=7),
    record("chain", "CNAME", "away"),
    record("*.apps", "CNAME", AWAY),
    record("short", "CNAME", "db."),
    record("here", "CNAME", "localhost."),
)


def world() -> World:
    made = World(LINKS)
    made.upstreams.replace([("192.0.2.53", 53)])
    return made


@contextlib.asynccontextmanager
async def following(behave: Behaviour) -> AsyncIterator[tuple[DnsServer, FakeUpstream]]:
    """A server with those aliases, and the upstream that it asks."""
    made = World(LINKS)
    async with upstream(behave) as up, serving(made) as server:
        made.upstreams.replace([up.address])
        yield server, up


async def ask(server: DnsServer, name: str, rtype: str = "A", *, flags: int = 0x0100) -> dns.message.Message:
    packet = with_records(query(f"{name}.weave.local", rtype, flags=flags), opt())
    return dns.message.from_wire(await exchange(packet, server.listening[0]))


def values(reply: dns.message.Message) -> list[str]:
    return [f"{rrset.name} {rrset.ttl} {item}" for rrset in reply.answer for item in rrset]


def says(*data: str, rcode: int = 0) -> Callable[[Asked], None]:
    return lambda asked: asked.answer(*data, rcode=rcode)


@pytest.mark.parametrize("name", ["away", "chain", "x.apps", "AwAy"])
async def test_the_reply_goes_on_where_the_alias_leads(name: str) -> None:
    async with following(says("192.0.2.1", "192.0.2.2")) as (server, up):
        for _ in range(2):  # from upstream, then from the cache
            reply = await ask(server, name)
            assert reply.question[0].name.to_text() == f"{name}.weave.local."
            assert reply.answer[0].name == reply.question[0].name
            assert {f"{AWAY} 60 192.0.2.1", f"{AWAY} 60 192.0.2.2"} < set(values(reply))
            assert reply.flags & dns.flags.AA
            assert reply.flags & dns.flags.RA
        assert up.names == ["www.example.org"]


async def test_over_tcp_too() -> None:
    async with following(says("192.0.2.1")) as (server, _):
        reader, writer = await asyncio.open_connection(*server.listening[0])
        packet = query("away.weave.local")
        writer.write(len(packet).to_bytes(2, "big") + packet)
        async with asyncio.timeout(DEADLINE_S):
            size = int.from_bytes(await reader.readexactly(2), "big")
            reply = dns.message.from_wire(await reader.readexactly(size))
        writer.close()
        assert values(reply) == [f"away.weave.local. 7 {AWAY}", f"{AWAY} 60 192.0.2.1"]


async def test_a_name_that_does_not_exist_there_does_not_exist() -> None:
    def no(asked: Asked) -> None:
        reply = asked.reply(rcode=3)
        reply.authority.append(dns.rrset.from_text("example.org.", 60, "IN", "SOA", "ns.example.org. h. 1 2 3 4 5"))
        asked.send(reply.to_wire())

    async with following(no) as (server, _):
        reply = await ask(server, "away")
        assert (reply.rcode(), values(reply)) == (dns.rcode.NXDOMAIN, [f"away.weave.local. 7 {AWAY}"])
        assert [rrset.name.to_text() for rrset in reply.authority] == ["example.org."]


async def test_when_nobody_can_say_where_it_leads_the_reply_says_so() -> None:
    async with following(says(rcode=2)) as (server, _):
        reply = await ask(server, "away")
        assert (reply.rcode(), reply.answer) == (dns.rcode.SERVFAIL, [])
        assert [option.code for option in reply.extended_errors()] == [22]


@pytest.mark.parametrize("rtype", ["CNAME", "ANY"])
async def test_the_alias_itself_is_asked_of_nobody(rtype: str) -> None:
    async with following(says("192.0.2.1")) as (server, up):
        assert values(await ask(server, "away", rtype)) == [f"away.weave.local. 7 {AWAY}"]
        assert up.names == []


async def test_who_does_not_want_recursion_gets_the_alias_alone() -> None:
    async with following(says("192.0.2.1")) as (server, up):
        assert values(await ask(server, "away", flags=0)) == [f"away.weave.local. 7 {AWAY}"]
        assert up.names == []


@pytest.mark.parametrize(("name", "recursion"), [("away", False), ("short", True), ("here", True)])
def test_where_nothing_may_be_forwarded_the_alias_stands_alone(name: str, recursion: bool) -> None:
    reply = world().careful(query(f"{name}.weave.local"), recursion=recursion)
    assert isinstance(reply, bytes)
    assert [rrset.rdtype for rrset in dns.message.from_wire(reply).answer] == [dns.rdatatype.CNAME]


def test_without_upstreams_the_alias_stands_alone() -> None:
    reply = World(LINKS).careful(query("away.weave.local"))
    assert isinstance(reply, bytes)
    assert len(dns.message.from_wire(reply).answer) == 1


def onward(packet: bytes, *, transport: Transport = Transport.UDP) -> Onward:
    decision = world().careful(packet, transport=transport)
    assert isinstance(decision, Onward)
    return decision


@pytest.mark.parametrize(
    ("rtype", "data"),
    [
        ("MX", "5 mail.example.org."),
        ("SOA", "ns.example.org. mail.example.org. 1 2 3 4 5"),
        ("SRV", "1 2 3 www.example.org."),
        ("NS", "ns.www.example.org."),
        ("TXT", '"text"'),
        ("TYPE65280", r"\# 3 c00c00"),
        ("RP", "a.example.org. b.example.org."),
    ],
)
def test_names_in_the_data_are_given_in_full(rtype: str, data: str) -> None:
    made = onward(query("chain.weave.local", rtype))
    asked = dns.message.make_query(AWAY, rtype)
    reply = dns.message.make_response(asked)
    reply.answer.append(dns.rrset.from_text(AWAY, 60, "IN", rtype, data))
    joined = dns.message.from_wire(made.join(reply.to_wire()))
    assert [rrset.to_text() for rrset in joined.answer[2:]] == [rrset.to_text() for rrset in reply.answer]


def test_what_is_too_long_with_the_aliases_before_it_is_cut() -> None:
    reply = dns.message.make_response(dns.message.make_query(AWAY, "A"))
    reply.answer.append(dns.rrset.from_text(AWAY, 60, "IN", "A", *[f"192.0.2.{number}" for number in range(40)]))
    packet = reply.to_wire(max_size=65535)
    cut = dns.message.from_wire(onward(query("away.weave.local")).join(packet))
    assert cut.flags & dns.flags.TC
    whole = onward(query("away.weave.local"), transport=Transport.TCP).join(packet)
    assert len(dns.message.from_wire(whole).answer[1]) == 40


def test_no_reply_at_all_stays_none() -> None:
    assert onward(query("away.weave.local")).join(b"") == b""


@given(st.binary(max_size=80), st.integers(0, 3))
def test_nonsense_from_upstream_gives_an_error_or_a_sound_reply(tail: bytes, answers: int) -> None:
    made = onward(query("away.weave.local"))
    assert isinstance(made.forward, Forward)
    head = b"\0\0\x81\x80\0\1" + answers.to_bytes(2, "big") + b"\0\0\0\0"
    joined = made.join(head + made.forward.query.question + tail)
    assert dns.message.from_wire(joined, ignore_trailing=False, continue_on_error=True).id == 0x1234
    assert len(replace(made, limit_bytes=512).join(head + made.forward.query.question + tail)) <= 512
