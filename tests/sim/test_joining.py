from __future__ import annotations

from tests.sim.world import Host, World
from weavedns.gossip.events import JoinedCluster, JoinRefused, MetItself
from weavedns.gossip.message import State


def join(world: World, host: Host, other: Host) -> None:
    host.events.clear()
    host.node.join(other.addr, world.now)
    world.pump(host)


def state(host: Host, name: str) -> State | None:
    peer = host.node.peer(name)
    return peer.state if peer else None


def joined(host: Host) -> list[JoinedCluster]:
    return [event for _, event in host.happened(JoinedCluster)]


def test_who_is_there_is_joined_again_without_a_word_to_it() -> None:
    world = World(1)
    one, two = world.add("p0"), world.add("p1", seeds=["p0"])
    world.run(2.0)
    for host, other in ((two, one), (one, two)):
        syncs = host.node.stats.syncs
        join(world, host, other)
        assert joined(host) == [JoinedCluster(other.name, other.addr)]
        world.run(2.0)
        assert len(joined(host)) == 1
        assert host.node.stats.syncs == syncs


def test_a_suspect_that_is_joined_is_asked_anew() -> None:
    world = World(2)
    one, two = world.add("p0"), world.add("p1", seeds=["p0"])
    world.run(2.0)
    world.kill_daemon(one)
    world.run_until(lambda: state(two, "p0") is State.SUSPECT, 10.0, 0.05)
    join(world, two, one)
    world.run(1.0)
    assert not joined(two)
    assert two.happened(JoinRefused)


def test_a_forgotten_peer_that_starts_again_can_be_joined() -> None:
    world = World(3)
    one, two = world.add("p0"), world.add("p1", seeds=["p0"])
    world.run(2.0)
    world.crash(one)
    world.run_until(lambda: state(two, "p0") is State.DEAD, 10.0, 0.05)
    two.node.forget("p0", world.now)
    world.pump(two)
    assert two.node.seeds() == {one.addr: "p1"}
    world.restart(one)
    # Nobody looks for it by itself.
    world.run(60.0)
    assert state(two, "p0") is None
    join(world, two, one)
    world.run(2.0)
    assert joined(two) == [JoinedCluster("p0", one.addr)]
    assert state(two, "p0") is state(one, "p1") is State.ALIVE


def test_an_address_where_nobody_is_is_dialled_no_more_once_it_is_forgotten() -> None:
    world = World(4)
    one, gone = world.add("p0"), world.add("p1")
    world.kill_daemon(gone)
    join(world, one, gone)
    world.run(1.0)
    assert one.node.seeds() == {gone.addr: ""}
    assert one.node.give_up(gone.addr)
    assert not one.node.give_up(gone.addr)
    world.restart(gone)
    world.run(120.0)
    assert not one.node.peers()
    assert not joined(one)
    join(world, one, gone)
    world.run(2.0)
    assert joined(one) == [JoinedCluster("p1", gone.addr)]


def test_who_joins_itself_hears_so_each_time_and_dials_once_each() -> None:
    world = World(5)
    one = world.add("p0")
    for _ in range(2):
        join(world, one, one)
        world.run(60.0)
        assert [event for _, event in one.happened(MetItself)] == [MetItself(one.addr)]
    assert one.node.seeds() == {one.addr: "p0"}
