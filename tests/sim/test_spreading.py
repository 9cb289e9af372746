from __future__ import annotations

from functools import partial

import pytest

from tests.sim.invariants import Invariants
from tests.sim.world import Host, Weather, World, agree, answers, record
from weavedns.gossip import codec
from weavedns.gossip.events import FactsChanged, OwnerOverLimit
from weavedns.gossip.message import Changes, Vector
from weavedns.gossip.node import Node
from weavedns.gossip.seal import Keyring, Rejection, Sealer
from weavedns.gossip.sync import Conversation
from weavedns.records.log import FactKind, Snapshot


def cluster(world: World, size: int) -> list[Host]:
    first = world.add("h0")
    return [first, *(world.add(f"h{number}", seeds=["h0"]) for number in range(1, size))]


def all_have(hosts: list[Host], name: str) -> bool:
    wire = record("", name).name
    return all(host.catalog.of_name(wire) for host in hosts)


def none_has(hosts: list[Host], name: str) -> bool:
    wire = record("", name).name
    return not any(host.catalog.of_name(wire) for host in hosts)


@pytest.mark.parametrize("size", [2, 3, 10])
def test_a_new_record_is_answered_everywhere_within_milliseconds(size: int) -> None:
    world = World(size)
    hosts = cluster(world, size)
    Invariants(world)
    world.run_until(lambda: agree(hosts), 10.0, 0.1)
    for number, host in enumerate(hosts):
        world.put(host, record(host.name, f"app{number}", number))
        took = world.run_until(partial(all_have, hosts, f"app{number}"), 1.0)
        assert took < 0.005


@pytest.mark.parametrize("seed", range(3))
def test_a_removed_record_is_answered_nowhere(seed: int) -> None:
    world = World(seed, weather=Weather(loss=0.1, double=0.1, overtaken=0.1))
    hosts = cluster(world, 4)
    world.put(hosts[1], record("h1", "redis"))
    world.run_until(lambda: all_have(hosts, "redis"), 20.0)
    world.take(hosts[1], record("h1", "redis"))
    world.run_until(lambda: none_has(hosts, "redis"), 5.0)


@pytest.mark.parametrize("loss", [0.1, 0.3, 0.5])
def test_what_is_lost_comes_in_the_end(loss: float) -> None:
    world = World(3, weather=Weather(loss=loss, double=0.05, overtaken=0.2))
    hosts = world.add_acquainted(6)
    invariants = Invariants(world)
    for number in range(40):
        host = hosts[number % 6]
        world.put(host, record(host.name, f"r{number}", number))
        world.run(0.02)
    world.run_until(lambda: agree(hosts), 30.0, 0.05)
    assert all(answers(host) == answers(hosts[0]) for host in hosts)
    assert invariants.checks > 100


def test_changes_in_one_moment_share_datagrams() -> None:
    world = World(5)
    hosts = world.add_acquainted(2)
    world.run(1.0)
    sent: list[int] = []
    world.on_datagram = lambda host, data, _addr: (
        sent.append(len(data)) if host is hosts[0] and len(data) > 150 else None
    )
    for number in range(20):
        world.put(hosts[0], record("p0", f"r{number}", number))
    world.run_until(lambda: len(hosts[1].catalog) == 20, 1.0)
    assert len(sent) <= 3


def test_a_thousand_changes_at_once_are_fetched() -> None:
    world = World(6)
    hosts = world.add_acquainted(5)
    Invariants(world)
    world.run(1.0)
    fresh = [record("p0", f"r{number}", number) for number in range(4_000)]
    world.put(hosts[0], *fresh)
    world.run_until(lambda: all(len(host.catalog) == 4_000 for host in hosts), 5.0, 0.01)
    world.run(1.0)
    assert agree(hosts)


def test_a_record_too_large_for_a_datagram_arrives() -> None:
    world = World(7)
    hosts = world.add_acquainted(3)
    world.run(1.0)
    text = record("p0", "text")
    large = type(text)("p0", "c1", text.name, 16, (b"\xff" + b"x" * 255) * 200, 1, text.origin)
    world.put(hosts[0], large)
    world.run_until(lambda: all(len(host.catalog) == 1 for host in hosts), 5.0, 0.01)


def test_a_new_peer_gets_all_there_is_from_one_peer() -> None:
    world = World(8)
    hosts = cluster(world, 3)
    for host in hosts:
        fresh = [record(host.name, f"{host.name}-{number}", number) for number in range(2_000)]
        world.put(host, *fresh)
    world.run_until(lambda: all(len(host.catalog) == 6_000 for host in hosts), 20.0, 0.05)
    late = world.add("late", seeds=["h1"], records=[record("late", "late")])
    took = world.run_until(lambda: len(late.catalog) == 6_001, 5.0, 0.005)
    assert took < 1.0
    world.run_until(lambda: agree([*hosts, late]), 5.0, 0.05)


def test_facts_travel_with_records_and_are_no_answers() -> None:
    world = World(9)
    hosts = world.add_acquainted(3)
    world.run(1.0)
    world.do(hosts[0], lambda catalog: catalog.tell(FactKind.CLAIM, b"\x0a\x02\x00\x07", b"c7"))
    world.run_until(lambda: all(list(host.catalog.facts(FactKind.CLAIM)) for host in hosts), 1.0)
    assert all(not list(host.catalog) for host in hosts)
    world.do(hosts[0], lambda catalog: catalog.untell(FactKind.CLAIM, b"\x0a\x02\x00\x07"))
    world.run_until(lambda: not any(list(host.catalog.facts(FactKind.CLAIM)) for host in hosts), 1.0)


def test_an_owner_over_the_limit_is_told_of_and_the_rest_goes_on() -> None:
    world = World(10, limit=50)
    hosts = world.add_acquainted(3)
    world.run(1.0)
    for number in range(80):
        world.put(hosts[0], record("p0", f"r{number}", number))
    world.run(5.0)
    assert [len(host.catalog) for host in hosts] == [80, 50, 50]
    assert all(len(host.happened(OwnerOverLimit)) == 1 for host in hosts[1:])
    # Both have the owner's version, so nothing is fetched again and again.
    syncs = sum(host.node.stats.syncs for host in hosts)
    world.run(30.0)
    assert sum(host.node.stats.syncs for host in hosts) == syncs
    world.put(hosts[1], record("p1", "mine"))
    world.run_until(lambda: all_have(hosts, "mine"), 1.0)


def test_nobody_is_told_of_facts_that_are_not_new() -> None:
    world = World(11)
    hosts = world.add_acquainted(2)
    world.run(60.0)
    assert not any(host.happened(FactsChanged) for host in hosts)


@pytest.mark.parametrize("peers", [3, 30])
def test_a_quiet_cluster_sends_little_and_syncs_never(peers: int) -> None:
    world = World(12)
    hosts = world.add_acquainted(peers)
    world.run(5.0)
    sent = sum(host.bytes_out for host in hosts)
    world.run(30.0)
    assert (sum(host.bytes_out for host in hosts) - sent) / peers / 30.0 < 1024
    assert sum(host.node.stats.syncs for host in hosts) == 0


def changes_of(node: Node, now: float) -> list[tuple[int, int]]:
    """From which version to which it passes changes on in what it sends now."""
    reader = Sealer(Keyring(), "reader", 1, 1)
    found: set[tuple[int, int]] = set()
    for data, _ in node.datagrams_to_send(now):
        opened = reader.open(data)
        assert not isinstance(opened, Rejection)
        said = [each for each in codec.decode_datagram(opened[1]) if isinstance(each, Changes)]
        found.update((each.base, each.base + len(each.items)) for each in said)
    return sorted(found)


def test_exactly_what_was_new_is_passed_on() -> None:
    world = World(13)
    owner, node, _ = (host.node for host in world.add_acquainted(3))
    world.run(1.0)
    catalog = world.hosts["p0"].catalog
    for number in range(5):
        catalog.add(record("p0", f"r{number}", number))
    delta = catalog.own.since(0)
    assert delta is not None
    for first, last in ((0, 3), (1, 5)):
        items = [codec.wire_item(entry) for entry in delta.entries[first:last]]
        changes = Changes("p0", owner.incarnation, first, items)
        node._spread.on_changes(changes, "p0", world.hosts["p0"].addr, world.now)
    for at in (world.now, world.now + 0.006, world.now + 0.1):
        node.handle_timer(at)
    assert changes_of(node, world.now + 0.1) == [(0, 3), (3, 5)]


def test_what_is_missing_of_a_few_changes_is_asked_for_without_an_exchange() -> None:
    world = World(14)
    hosts = world.add_acquainted(2)
    world.run(1.0)
    syncs = sum(host.node.stats.syncs for host in hosts)
    world.lossy = {hosts[1].addr[0]: 1.0}
    world.put(hosts[0], record("p0", "lost"))
    # All that the owner says of it by itself is lost; the next change shows that something is missing.
    world.run(0.4)
    world.lossy = {}
    world.put(hosts[0], record("p0", "comes"))
    assert world.run_until(lambda: agree(hosts), 1.0) < 0.15
    assert hosts[1].node.stats.pulls == 1
    assert sum(host.node.stats.syncs for host in hosts) == syncs


def test_what_is_kept_only_in_part_is_offered_to_nobody() -> None:
    world = World(15, limit=5)
    hosts = world.add_acquainted(2)
    world.run(1.0)
    for number in range(8):
        world.put(hosts[0], record("p0", f"r{number}", number))
    world.run(1.0)
    node = hosts[1].node
    words = Conversation(node._core, node._spread, node._standing, "p0").next_message()
    assert words is not None
    vector = codec.decode_stream(words)
    assert isinstance(vector, Vector)
    held = {row.peer.name: (row.record_incarnation, row.record_version) for row in vector.rows}
    assert held["p0"] == (0, 0)
    assert held["p1"][0] == node.incarnation


def test_records_of_an_earlier_life_are_not_taken_once_the_next_is_known() -> None:
    world = World(16)
    hosts = world.add_acquainted(2)
    world.run(1.0)
    node, catalog = hosts[1].node, hosts[1].catalog
    list(catalog.forget("p0"))
    stale = catalog.staged(Snapshot("p0", hosts[0].node.incarnation - 1, 9, ()))
    stale.put(record("p0", "stale"))
    assert not node._spread.adopt(stale, world.now)
    assert none_has([hosts[1]], "stale")
