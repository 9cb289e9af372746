"""Names that only some askers have: what comes before what, and what a stranger is told."""

from __future__ import annotations

from ipaddress import IPv4Network

import dns.edns
import dns.message
import pytest

from tests.unit.dns.world import USUAL, World, opt, query, record, with_records
from weavedns.containers.memberships import Membership
from weavedns.containers.neighbours import Neighbours
from weavedns.dns.private import Data
from weavedns.dns.resolver import Answer, Forward, Resolver, Transport
from weavedns.records import names
from weavedns.records.record import RecordType

APP, OTHER, STRANGER = bytes((10, 2, 0, 50)), bytes((10, 2, 0, 51)), bytes((10, 2, 0, 99))
DB = bytes((172, 18, 0, 2))
WEAVE, HOSTS = IPv4Network("10.2.0.0/16"), IPv4Network("10.2.254.0/24")
# In the app's part of the domain only names below `up` exist.
UP, DOWN = record("up", "A", "10.2.0.62"), record("down.up.project", "A", "10.2.0.63")


def wire(text: str) -> bytes:
    return names.parse(text + ".")


class Table:
    """The app has a few names of its own, and is in a part of the domain."""

    def __init__(self) -> None:
        self.app: dict[bytes, Data] = {
            wire("db"): {RecordType.A: [DB]},
            wire("db.shop_default"): {RecordType.A: [DB]},
            wire("many"): {RecordType.A: [bytes((172, 18, 0, n)) for n in range(3, 6)]},
            wire("api.example.org"): {RecordType.A: [DB], RecordType.AAAA: []},
            wire("redis.weave.local"): {RecordType.A: [DB]},
            wire("localhost"): {RecordType.A: [DB]},
            wire("2.0.18.172.in-addr.arpa"): {RecordType.PTR: [wire("db.shop_default")]},
        }
        self.names = {*self.app, wire("theirs")}

    def find(self, asker: bytes, name: bytes) -> Data | None:
        return self.app.get(name) if asker == APP else None

    def is_stranger(self, asker: bytes) -> bool:
        return asker == STRANGER

    def subdomain_of(self, asker: bytes) -> bytes | None:
        return wire("project.weave.local") if asker == APP else None


class Private(World):
    def __init__(self) -> None:
        super().__init__([*USUAL, record("sub.project", "A", "10.2.0.60"), record("sub", "A", "10.2.0.61"), UP, DOWN])
        self.upstreams.replace([("192.0.2.53", 53)])
        self.private = Resolver(self.answers, self.upstreams, private=Table())

    def asked_by(self, client: bytes, packet: bytes) -> dns.message.Message | Forward:
        match self.private.resolve(packet, recursion=True, transport=Transport.UDP, client=client):
            case Answer(reply):
                return dns.message.from_wire(reply)
            case Forward() as wanted:
                return wanted
        raise AssertionError


def values(reply: dns.message.Message | Forward) -> list[str]:
    assert isinstance(reply, dns.message.Message)
    assert reply.rcode() == 0
    return [item.to_text() for rrset in reply.answer for item in rrset]


@pytest.mark.parametrize(
    ("client", "name", "addresses"),
    [
        (APP, "db", ["172.18.0.2"]),
        (APP, "DB", ["172.18.0.2"]),
        (APP, "db.shop_default", ["172.18.0.2"]),
        (APP, "api.example.org", ["172.18.0.2"]),
        (OTHER, "db", ["10.2.0.5"]),
        (b"", "db", ["10.2.0.5"]),
        (APP, "redis", ["10.2.0.1"]),
        (APP, "redis.weave.local", ["10.2.0.1"]),
        (APP, "localhost", ["127.0.0.1"]),
        (APP, "sub", ["10.2.0.60"]),
        (OTHER, "sub", ["10.2.0.61"]),
        (APP, "up", ["10.2.0.62"]),
        (APP, "project", []),
    ],
)
def test_the_askers_own_names_come_before_the_domain_and_after_what_is_the_same_for_all(
    client: bytes, name: str, addresses: list[str]
) -> None:
    assert values(Private().asked_by(client, query(name))) == addresses


@pytest.mark.parametrize(
    ("name", "rtype"),
    [("db", "AAAA"), ("db", "MX"), ("db", "HTTPS"), ("db.shop_default", "AAAA"), ("api.example.org", "HTTPS")],
)
def test_a_type_that_a_private_name_does_not_have_is_no_data_that_nobody_keeps(name: str, rtype: str) -> None:
    reply = Private().asked_by(APP, query(name, rtype))
    assert values(reply) == []
    assert isinstance(reply, dns.message.Message)
    assert reply.authority == []


def test_what_else_the_world_says_of_a_name_with_dots_is_still_asked_for() -> None:
    assert isinstance(Private().asked_by(APP, query("api.example.org", "MX")), Forward)


@pytest.mark.parametrize("name", ["api.example.org", "db.shop_default", "2.0.18.172.in-addr.arpa"])
def test_somebody_elses_private_name_with_dots_is_the_worlds(name: str) -> None:
    assert isinstance(Private().asked_by(OTHER, query(name)), Forward)


def test_a_private_address_has_a_name() -> None:
    assert values(Private().asked_by(APP, query("2.0.18.172.in-addr.arpa", "PTR"))) == ["db.shop_default."]


def test_several_private_addresses_take_turns_to_be_first() -> None:
    world = Private()
    firsts = set()
    for _ in range(3):
        decision = world.private.resolve(query("many"), recursion=True, transport=Transport.UDP, client=APP)
        assert isinstance(decision, Answer)
        reply = dns.message.from_wire(decision.packet, one_rr_per_rrset=True)
        assert len(reply.answer) == 3
        firsts.add(reply.answer[0][0].to_text())
    assert firsts == {"172.18.0.3", "172.18.0.4", "172.18.0.5"}


@pytest.mark.parametrize("name", ["nosuch", "db", "redis", "theirs"])
@pytest.mark.parametrize("rtype", ["A", "AAAA"])
def test_a_stranger_learns_nothing_of_a_short_name_not_even_that_there_is_none(name: str, rtype: str) -> None:
    reply = Private().asked_by(STRANGER, with_records(query(name, rtype), opt()))
    assert isinstance(reply, dns.message.Message)
    assert reply.rcode().name == "SERVFAIL"
    assert (reply.answer, reply.authority) == ([], [])
    (error,) = [option for option in reply.options if isinstance(option, dns.edns.EDEOption)]
    assert error.code == 14


def test_a_stranger_gets_full_names_as_everybody_does() -> None:
    world = Private()
    assert values(world.asked_by(STRANGER, query("redis.weave.local"))) == ["10.2.0.1"]
    assert isinstance(world.asked_by(STRANGER, query("example.org")), Forward)


def test_who_is_known_to_have_no_names_of_its_own_is_told_that_there_is_none() -> None:
    reply = Private().asked_by(OTHER, query("nosuch"))
    assert isinstance(reply, dns.message.Message)
    assert reply.rcode().name == "NXDOMAIN"


# Two hosts, each with a table of its own containers


def membership(address: bytes, *known_as: str) -> Membership:
    return Membership("id", wire("shop_default"), (address,), tuple(map(wire, known_as)), ())


def host(*containers: tuple[str, bytes, bytes]) -> tuple[Neighbours, Resolver]:
    """The table and the resolver of a host with these containers: name, Docker address, weave address."""
    table = Neighbours(WEAVE, HOSTS)
    for name, address, weave_address in containers:
        table.update(name, [membership(address, name)], weave_addresses=[weave_address])
    world = World()
    world.upstreams.replace([("192.0.2.53", 53)])
    return table, Resolver(world.answers, world.upstreams, private=table)


@pytest.mark.parametrize("name", ["db", "redis", "web", "nosuch", "_http"])
def test_a_peer_to_fall_back_on_neither_denies_nor_tells_short_names_to_containers_of_another(name: str) -> None:
    app, elsewhere = bytes((10, 2, 0, 20)), bytes((10, 2, 0, 30))
    _, own = host(("db", DB, bytes((10, 2, 0, 21))), ("app", bytes((172, 18, 0, 3)), app))
    # The other host has a `db` of its own, on a network of the same name; it never hears of app's host at all.
    table, other = host(("db", bytes((172, 18, 0, 9)), elsewhere))
    assert table.is_stranger(app)
    decision = other.resolve(query(name), recursion=True, transport=Transport.UDP, client=app)
    assert isinstance(decision, Answer)
    reply = dns.message.from_wire(decision.packet)
    assert reply.rcode().name == "SERVFAIL"
    assert (reply.answer, reply.authority, reply.additional) == ([], [], [])
    # Its own peer knows; and so does the other one about its own containers, and about hosts.
    for resolver, client in ((own, app), (other, elsewhere), (other, bytes((10, 2, 254, 1)))):
        known = resolver.resolve(query(name), recursion=True, transport=Transport.UDP, client=client)
        assert isinstance(known, Answer)
        assert known.rcode.name in {"NOERROR", "NXDOMAIN"}
    table.update("app", [membership(bytes((172, 18, 0, 3)), "app")], weave_addresses=[app])
    moved = other.resolve(query("db"), recursion=True, transport=Transport.UDP, client=app)
    assert isinstance(moved, Answer)
    assert moved.rcode.name == "NOERROR"
