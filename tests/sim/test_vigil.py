"""A daemon that dies on a host that lives: its names are answered on, everywhere, until the host goes too."""

from __future__ import annotations

import pytest

from tests.sim.invariants import Invariants
from tests.sim.test_spreading import all_have, none_has
from tests.sim.world import Host, Weather, World, agree, record
from weavedns.gossip.events import PeerDown, PeerLost, PeerReturned
from weavedns.gossip.message import State
from weavedns.gossip.profile import FAST

REDIS = record("p0", "redis")


def with_redis(world: World, peers: int) -> list[Host]:
    """Hosts that all answer redis, which is on the first."""
    hosts = world.add_acquainted(peers)
    world.put(hosts[0], REDIS)
    world.run(3.0)
    assert all_have(hosts, "redis")
    return hosts


def is_down(host: Host, name: str = "p0") -> bool:
    peer = host.node.peer(name)
    return peer is not None and peer.state is State.DEAD and peer.host_there


@pytest.mark.parametrize(("peers", "loss"), [(2, 0.0), (3, 0.0), (10, 0.1), (40, 0.0)])
def test_names_of_a_dead_daemon_are_never_missing_while_its_host_lives(peers: int, loss: float) -> None:
    world = World(peers, weather=Weather(loss=loss))
    hosts = with_redis(world, peers)
    world.kill_daemon(hosts[0])
    others = hosts[1:]
    world.run_until(lambda: all(is_down(host) for host in others) or not all_have(others, "redis"), 12.0, 0.01)
    assert all_have(others, "redis")
    for _ in range(600):
        world.run(0.1)
        assert all_have(others, "redis")
    assert all(len(host.happened(PeerDown)) == 1 for host in others)
    assert not any(host.happened(PeerLost) for host in others)
    # Nobody distrusts itself for it, where there are others to tell the difference.
    assert peers == 2 or all(host.node.health == 0 for host in others)


def test_names_of_a_dead_daemon_go_with_its_host_and_do_not_come_back_with_the_bare_host() -> None:
    world = World(3)
    hosts = with_redis(world, 3)
    world.kill_daemon(hosts[0])
    world.run_until(lambda: all(is_down(host) for host in hosts[1:]), 8.0, 0.01)
    hosts[0].machine_up = False
    world.run_until(lambda: none_has(hosts[1:], "redis"), 4.0, 0.01)
    assert all(len(host.happened(PeerLost)) == 1 for host in hosts[1:])
    hosts[0].machine_up = True
    world.run(60.0)
    assert none_has(hosts[1:], "redis")


def test_a_daemon_that_is_back_after_a_long_time_is_taken_in_without_a_blink() -> None:
    world = World(4)
    hosts = with_redis(world, 3)
    Invariants(world)
    world.kill_daemon(hosts[0])
    world.run(120.0)
    world.restart(hosts[0], [REDIS])
    hosts[0].node.join(hosts[1].addr, world.now)
    world.pump(hosts[0])
    for _ in range(100):
        world.run(0.05)
        assert all_have(hosts[1:], "redis")
    world.run_until(lambda: agree(hosts), 20.0, 0.05)
    assert not any(is_down(host) for host in hosts[1:])


def test_a_peer_that_joins_while_a_daemon_is_down_answers_its_names_too() -> None:
    world = World(5)
    hosts = with_redis(world, 3)
    world.kill_daemon(hosts[0])
    world.run(20.0)
    late = world.add("late", seeds=["p1"])
    world.run_until(lambda: all_have([late], "redis"), 2.0, 0.01)
    for _ in range(200):
        world.run(0.1)
        assert all_have([late, *hosts[1:]], "redis")
    assert is_down(late)


def test_a_peer_that_was_paused_itself_does_not_take_that_for_a_hosts_silence() -> None:
    world = World(8)
    hosts = with_redis(world, 3)
    world.kill_daemon(hosts[0])
    world.run_until(lambda: all(is_down(host) for host in hosts[1:]), 8.0, 0.01)
    world.pause(hosts[1])
    world.run(10.0)
    world.resume(hosts[1])
    for _ in range(100):
        assert all_have(hosts[1:], "redis")
        world.run(0.1)


def test_a_partition_hides_names_as_ever() -> None:
    world = World(6)
    hosts = with_redis(world, 3)
    world.split(hosts[:1], hosts[1:])
    world.run_until(lambda: none_has(hosts[1:], "redis"), 6.0, 0.01)
    world.heal()
    world.run_until(lambda: agree(hosts), 30.0, 0.05)
    assert all(host.happened(PeerReturned) for host in hosts[1:])


def test_a_daemon_that_stays_dead_is_forgotten_with_its_names() -> None:
    world = World(7)
    hosts = with_redis(world, 3)
    world.kill_daemon(hosts[0])
    world.run(FAST.forget_after_s + 60.0)
    assert none_has(hosts[1:], "redis")
    assert all(host.node.peer("p0") is None for host in hosts[1:])
