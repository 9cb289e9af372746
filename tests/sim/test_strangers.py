"""What somebody who merely can connect does to a node: nothing to those who belong to it, little to its memory."""

from __future__ import annotations

from random import Random

import pytest

from tests.sim.test_bounds import SEALED, dialled, node
from tests.sim.test_spreading import cluster
from tests.sim.world import PORT, WALL_MS, World, agree, record
from weavedns.gossip import codec
from weavedns.gossip.events import JoinRefused, NameConflict, StrangerRejected
from weavedns.gossip.links import MAX_DIALS, Close, Dial
from weavedns.gossip.lobby import MAX_WAITING, MAX_WAITING_A_SOURCE
from weavedns.gossip.message import Alive, Leave, Message, Open, Purpose, Reason, Refuse
from weavedns.gossip.node import Node
from weavedns.gossip.seal import Header, Keyring
from weavedns.gossip.stream import LENGTH_BYTES, Stream

STRANGER = ("10.9.9.9", 40_000)
BOTH = pytest.mark.parametrize("keyring", [Keyring(), SEALED], ids=["plain", "sealed"])
ESCAPES = "gone\n\x1b[2J\u202e over"


def events(victim: Node) -> list[object]:
    told: list[object] = []
    while (event := victim.next_event()) is not None:
        told.append(event)
    return told


def says(victim: Node, link: int, *messages: Message, dials: bool, keyring: Keyring | None = None) -> None:
    """The other end of a stream of the victim shakes hands and says something."""
    stream = Stream(keyring or Keyring(), Header("evil", WALL_MS, 7, 0), Random(1).randbytes, initiator=dials)
    stream.receive(victim.stream_data(link, 0.0))
    for message in messages:
        stream.send(codec.encode(message))
    for _ in range(2):
        if data := stream.take():
            victim.stream_received(link, data, 0.0)
        stream.receive(victim.stream_data(link, 0.0))


def dial(victim: Node, purpose: Purpose) -> int:
    link = victim._links.dial(purpose, STRANGER, 0.0)
    assert link is not None
    assert Dial(link, STRANGER) in victim.stream_actions()
    victim.stream_opened(link, STRANGER)
    return link


@pytest.mark.parametrize("reason", Reason)
def test_a_refusal_that_nobody_asked_for_does_nothing(reason: Reason) -> None:
    victim = node()
    for _ in range(30):
        link = victim.stream_accepted(STRANGER, 0.0)
        assert link is not None
        says(victim, link, Refuse(reason, "x"), dials=True)
        assert Close(link) in victim.stream_actions()
        victim.stream_closed(link, 0.0)
    assert events(victim) == []
    assert victim.stats.malformed == 30


def test_who_was_let_in_cannot_refuse_afterwards() -> None:
    victim = node()
    link = dial(victim, Purpose.JOIN)
    me = Alive("evil", *STRANGER, WALL_MS, 7, 0)
    refusal = Refuse(Reason.NAME_TAKEN, "x")
    says(victim, link, Open(Purpose.JOIN, "weave", me, "10.0.0.1", {}), refusal, dials=False)
    assert not [event for event in events(victim) if isinstance(event, NameConflict | JoinRefused)]
    assert Close(link) in victim.stream_actions()


@pytest.mark.parametrize("reason", [Reason.NAME_TAKEN, Reason.OTHER_CLUSTER])
def test_a_probe_that_is_refused_tells_nobody_anything(reason: Reason) -> None:
    victim = node()
    says(victim, dial(victim, Purpose.PROBE), Refuse(reason, "x"), dials=False)
    assert events(victim) == []


def test_who_is_asked_may_refuse_in_one_line_of_plain_text() -> None:
    victim = node()
    says(victim, dial(victim, Purpose.JOIN), Refuse(Reason.OTHER_CLUSTER, ESCAPES), dials=False)
    (refused,) = events(victim)
    assert refused == JoinRefused(STRANGER, "gone??[2J? over")


def test_settings_of_a_stranger_are_told_once_a_minute_in_one_short_line() -> None:
    victim = node()
    for number in range(5):
        link = victim.stream_accepted(STRANGER, 0.0)
        assert link is not None
        me = Alive("evil", *STRANGER, WALL_MS, 7, 0)
        terms = {f"{ESCAPES}{number}" + "k" * 200: ESCAPES + "v" * 200 for _ in range(8)}
        says(victim, link, Open(Purpose.JOIN, ESCAPES, me, "10.0.0.1", terms), dials=True)
    (rejected,) = events(victim)
    assert isinstance(rejected, StrangerRejected)
    assert rejected.why.isprintable()
    assert len(rejected.why) < 500
    assert "gone??[2J? over" in rejected.why


def test_where_this_peer_is_seen_is_believed_only_when_it_is_an_address() -> None:
    victim = node()
    victim._core.host = ""
    me = Alive("evil", *STRANGER, WALL_MS, 7, 0)
    for said, believed in (("fe80::1%\x1b[2J", ""), ("10.0.0.7", "10.0.0.7")):
        link = victim.stream_accepted(STRANGER, 0.0)
        assert link is not None
        says(victim, link, Open(Purpose.JOIN, "weave", me, said, {}), dials=True)
        assert victim.host == believed


def test_where_this_peers_name_is_said_to_be_is_asked_only_when_it_is_an_address() -> None:
    victim = node()
    victim.datagrams_to_send(0.0)
    victim._standing.on_statement(Alive("victim", "", 1, 2**41, 7, 0), 0.0)
    assert not victim.datagrams_to_send(0.0)


# Connections.


@BOTH
def test_idle_connections_of_one_source_keep_nobody_out(keyring: Keyring) -> None:
    victim = node(keyring)
    idle = [victim.stream_accepted(STRANGER, 0.0) for _ in range(300)]
    assert sum(link is not None for link in idle) == MAX_WAITING_A_SOURCE
    assert victim.stats.rejected["too_many"] == 300 - MAX_WAITING_A_SOURCE
    for number in range(8):
        dialled(victim, number, keyring)
    assert victim._links.syncs == 8
    assert victim._links.dial(Purpose.PROBE, ("10.0.0.2", PORT), 0.0) is not None


@BOTH
def test_idle_connections_of_many_sources_keep_nobody_out_for_long(keyring: Keyring) -> None:
    victim = node(keyring)
    sources = [(f"10.9.9.{number}", 1) for number in range(9)]
    for source in sources:
        for _ in range(MAX_WAITING_A_SOURCE):
            victim.stream_accepted(source, 0.0)
    # Who has none gets a place of one who has many, at once.
    for number in range(8):
        dialled(victim, number, keyring)
    assert victim._links.syncs == 8
    assert len(victim._links._lobby) <= MAX_WAITING


@BOTH
def test_a_thousand_peers_that_come_at_once_are_served_in_turn(keyring: Keyring) -> None:
    victim = node(keyring)
    waiting = [
        link
        for number in range(1_000)
        if (link := victim.stream_accepted((f"10.4.{number >> 8}.{number & 255}", 1), 0.0))
    ]
    assert len(waiting) == MAX_WAITING
    # None that came first was put out for one that came later.
    assert not victim.stream_actions()
    for link in waiting:
        victim.stream_closed(link, 0.01)
    assert victim.stream_accepted(STRANGER, 0.01) is not None


@BOTH
def test_a_large_frame_that_a_stranger_announces_is_not_kept(keyring: Keyring) -> None:
    victim = node(keyring)
    hello = Stream(keyring, Header("evil", 1, 1, 0), Random(1).randbytes, initiator=True).take()
    for number in range(250):
        link = victim.stream_accepted((f"10.9.9.{number}", 1), 0.0)
        for piece in (hello, (2**20 - 10).to_bytes(LENGTH_BYTES, "big"), *[bytes(2048)] * 10):
            if link is not None:
                victim.stream_received(link, piece, 0.0)
    kept = [len(link.stream._in) for link in victim._links._links.values() if not link.closing]
    assert sum(kept) == 0


def test_who_says_hello_and_then_a_byte_at_a_time_is_closed_in_five_seconds_without_a_password_too() -> None:
    victim = node()
    link = victim.stream_accepted(STRANGER, 0.0)
    assert link is not None
    hello = Stream(Keyring(), Header("evil", 1, 1, 0), Random(1).randbytes, initiator=True).take()
    victim.stream_received(link, hello + bytes(2), 0.0)
    victim.stream_received(link, bytes(1), 4.9)
    victim.stream_actions()
    victim.handle_timer(5.0)
    assert Close(link) in victim.stream_actions()


def test_a_probe_that_does_not_hang_up_is_closed_in_a_second() -> None:
    victim = node()
    link = victim.stream_accepted(STRANGER, 0.0)
    assert link is not None
    me = Alive("evil", *STRANGER, WALL_MS, 7, 0)
    says(victim, link, Open(Purpose.PROBE, "weave", me, "10.0.0.1", {}), dials=True)
    victim.handle_timer(1.0)
    assert Close(link) in victim.stream_actions()


def test_joins_whose_name_is_being_asked_for_count_as_exchanges() -> None:
    victim = node()
    victim._standing.on_statement(Alive("evil", "10.0.0.2", PORT, WALL_MS, 1, 0), 0.0)
    me = Alive("evil", *STRANGER, WALL_MS, 7, 0)
    for number in range(12):
        link = victim.stream_accepted((f"10.9.9.{number}", 1), 0.0)
        assert link is not None
        says(victim, link, Open(Purpose.JOIN, "weave", me, "10.0.0.1", {}), dials=True)
    assert victim._links.syncs == 8
    assert victim.stats.syncs_refused == 4
    # Whoever hangs up meanwhile makes room at once.
    for link in list(victim._links._checks):
        victim.stream_closed(link, 0.1)
    assert victim._links.syncs == 0


def test_others_connections_never_cost_a_node_its_own() -> None:
    world = World(1)
    hosts = cluster(world, 2)
    for number in range(400):
        hosts[0].node.stream_accepted((f"10.9.{number >> 8}.{number & 255}", 1), world.now)
    late = world.add("late", seeds=["h1"])
    hosts[0].node.join(late.addr, world.now)
    world.pump(hosts[0])
    world.put(hosts[0], record("h0", "redis"))
    world.run_until(lambda: agree(world.hosts.values()), 4.0, 0.01)
    assert MAX_DIALS == 256


# Leaving.


def test_a_late_word_of_a_life_that_has_ended_brings_nobody_back() -> None:
    victim = node()
    standing = victim._standing
    standing.on_statement(Alive("p", "10.0.0.2", PORT, 100, 1, 0), 0.0)
    standing.on_statement(Leave("p", 200), 0.0)
    standing.on_statement(Alive("p", "10.0.0.2", PORT, 200, 2, 0), 0.0)
    assert victim.peer("p") is None
    standing.on_statement(Alive("p", "10.0.0.2", PORT, 201, 3, 0), 0.0)
    assert victim.peer("p") is not None
