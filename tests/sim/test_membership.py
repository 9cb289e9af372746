from __future__ import annotations

import pytest

from tests.sim.invariants import Invariants
from tests.sim.test_spreading import all_have, cluster, none_has
from tests.sim.world import Weather, World, agree, answers, record
from weavedns.errors import PeerError
from weavedns.gossip.events import JoinRefused, NameConflict, PeerJoined, PeerLeft, PeerLost, PeerReturned
from weavedns.gossip.message import Alive, State
from weavedns.records.log import Snapshot


@pytest.mark.parametrize(("peers", "within"), [(2, 4.0), (3, 4.0), (10, 4.0), (40, 5.0)])
def test_a_dead_peers_names_are_hidden_in_seconds(peers: int, within: float) -> None:
    world = World(peers)
    hosts = world.add_acquainted(peers)
    world.put(hosts[0], record("p0", "redis"))
    world.run(3.0)
    assert all_have(hosts, "redis")
    world.crash(hosts[0])
    world.run_until(lambda: none_has(hosts[1:], "redis"), within, 0.01)
    assert all(len(host.happened(PeerLost)) == 1 for host in hosts[1:])


def test_a_suspect_is_still_answered() -> None:
    world = World(2)
    hosts = world.add_acquainted(5)
    world.put(hosts[0], record("p0", "redis"))
    world.run(3.0)
    world.pause(hosts[0])
    world.run_until(lambda: all(_state(host, "p0") is State.SUSPECT for host in hosts[1:]), 2.0, 0.01)
    assert all_have(hosts, "redis")


@pytest.mark.parametrize("seed", range(5))
def test_a_pause_of_three_seconds_is_no_death(seed: int) -> None:
    world = World(seed)
    hosts = world.add_acquainted(8)
    world.run(3.0)
    for _ in range(20):
        victim = world.rng.choice(hosts)
        world.pause(victim)
        world.run(3.0)
        world.resume(victim)
        world.run(2.0 + world.rng.random())
    assert sum(host.node.stats.deaths for host in hosts) == 0
    assert sum(host.node.stats.suspicions for host in hosts) > 0


def test_heavy_loss_is_no_death() -> None:
    world = World(3, weather=Weather(loss=0.3))
    hosts = world.add_acquainted(10)
    world.run(600.0)
    assert sum(host.node.stats.deaths for host in hosts) == 0


def test_who_was_away_for_long_comes_back_at_once_with_nothing_sent_again() -> None:
    world = World(4)
    hosts = world.add_acquainted(4)
    Invariants(world)
    fresh = [record("p0", f"r{number}", number) for number in range(500)]
    world.put(hosts[0], *fresh)
    world.run_until(lambda: agree(hosts), 5.0, 0.05)
    world.pause(hosts[0])
    world.run_until(lambda: all(not len(host.catalog) for host in hosts[1:]), 10.0, 0.05)
    syncs = sum(host.node.stats.syncs for host in hosts)
    world.resume(hosts[0])
    took = world.run_until(lambda: all(len(host.catalog) == 500 for host in hosts[1:]), 5.0, 0.01)
    assert took < 1.0
    assert all(host.happened(PeerReturned) for host in hosts[1:])
    assert sum(host.node.stats.syncs for host in hosts) == syncs


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_two_halves_that_were_cut_off_come_together_again(loss: float) -> None:
    world = World(5, weather=Weather(loss=loss))
    hosts = world.add_acquainted(8)
    Invariants(world)
    for number, host in enumerate(hosts):
        world.put(host, record(host.name, f"r{number}", number))
    world.run_until(lambda: agree(hosts), 10.0, 0.05)
    world.split(hosts[:3], hosts[3:])
    world.run_until(lambda: len(hosts[0].catalog) == 3 and len(hosts[7].catalog) == 5, 30.0, 0.05)
    world.put(hosts[0], record("p0", "meanwhile-left"))
    world.put(hosts[7], record("p7", "meanwhile-right"))
    world.run(20.0)
    world.heal()
    world.run_until(lambda: agree(hosts), 30.0, 0.05)
    assert all(answers(host) == answers(hosts[0]) for host in hosts)
    assert len(hosts[0].catalog) == 10


def test_halves_that_forgot_each_other_find_each_other_again() -> None:
    world = World(6)
    hosts = world.add_acquainted(4)
    world.run(3.0)
    world.split(hosts[:2], hosts[2:])
    world.run(31 * 60.0)
    assert len(hosts[0].node.peers()) == 1
    world.heal()
    world.run_until(lambda: agree(hosts), 300.0, 0.5)


def test_no_name_blinks_when_a_daemon_restarts() -> None:
    world = World(7)
    hosts = cluster(world, 4)
    Invariants(world)
    fresh = [record("h2", f"r{number}", number) for number in range(100)]
    world.put(hosts[2], *fresh)
    world.run_until(lambda: agree(hosts), 10.0, 0.05)
    others = [host for host in hosts if host.name != "h2"]
    world.crash(hosts[2])
    world.run(1.0)
    hosts[2].config = type(hosts[2].config)("h2", hosts[2].addr[0], hosts[2].addr[1], (hosts[0].addr,))
    world.restart(hosts[2], [*fresh[1:], record("h2", "new")])

    def through() -> bool:
        assert all(all_have(others, f"r{number}") for number in range(1, 100))
        return agree(hosts)

    world.run_until(through, 10.0, 0.01)
    assert none_has(hosts, "r0")
    assert all_have(hosts, "new")
    assert not any(host.happened(PeerLost) for host in others)


def test_a_restart_with_a_clock_that_went_back_is_heard_all_the_same() -> None:
    world = World(8)
    hosts = cluster(world, 3)
    Invariants(world)
    world.put(hosts[0], record("h0", "before"))
    world.run_until(lambda: agree(hosts), 10.0, 0.05)
    world.crash(hosts[0])
    world.run(0.5)
    hosts[0].config = type(hosts[0].config)("h0", hosts[0].addr[0], hosts[0].addr[1], (hosts[1].addr,))
    world.restart(hosts[0], [record("h0", "after")], clock_back_ms=3_600_000)
    world.run_until(lambda: agree(hosts), 20.0, 0.05)
    assert all_have(hosts, "after")
    assert none_has(hosts, "before")


def test_who_leaves_is_gone_at_once_and_cannot_be_brought_back_by_others() -> None:
    world = World(9)
    hosts = world.add_acquainted(5)
    world.put(hosts[0], record("p0", "redis"))
    world.run(3.0)
    world.pause(hosts[4])
    world.leave(hosts[0])
    world.run_until(lambda: none_has(hosts[1:4], "redis"), 0.1)
    world.run(1.0)
    world.crash(hosts[0])
    # It did not hear of the leave, and now syncs with those who did.
    hosts[4].backlog.clear()
    world.resume(hosts[4])
    world.run_until(lambda: none_has(hosts[1:], "redis"), 20.0, 0.05)
    world.run(30.0)
    assert none_has(hosts[1:], "redis")
    assert all(len(host.node.peers()) == 3 for host in hosts[1:])
    assert all(len(host.happened(PeerLeft)) == 1 for host in hosts[1:])


def test_who_left_may_come_again() -> None:
    world = World(10)
    hosts = cluster(world, 3)
    world.run_until(lambda: agree(hosts), 10.0, 0.05)
    world.leave(hosts[2])
    world.run(1.0)
    world.restart(hosts[2], [record("h2", "again")])
    world.run_until(lambda: agree(hosts) and all_have(hosts, "again"), 10.0, 0.05)


def test_the_dead_are_forgotten_after_half_an_hour_and_come_back_as_new() -> None:
    world = World(11)
    hosts = world.add_acquainted(3)
    Invariants(world)
    world.put(hosts[0], record("p0", "redis"))
    world.run(3.0)
    incarnation = hosts[0].node.incarnation
    world.split(hosts[:1], hosts[1:])
    world.run(31 * 60.0)
    assert "p0" not in hosts[1].catalog.owners()
    world.heal()
    world.run_until(lambda: agree(hosts) and all_have(hosts, "redis"), 300.0, 0.5)
    assert hosts[0].node.incarnation > incarnation


def test_a_dead_peer_can_be_forgotten_by_hand_but_a_live_one_cannot() -> None:
    world = World(12)
    hosts = world.add_acquainted(3)
    world.put(hosts[0], record("p0", "redis"))
    world.run(3.0)
    with pytest.raises(PeerError, match="is there"):
        hosts[1].node.forget("p0", world.now)
    with pytest.raises(PeerError, match="no peer"):
        hosts[1].node.forget("nobody", world.now)
    world.crash(hosts[0])
    world.run_until(lambda: none_has(hosts[1:], "redis"), 10.0, 0.05)
    hosts[1].node.forget("p0", world.now)
    world.pump(hosts[1])
    world.run(1.0)
    assert all("p0" not in host.catalog.owners() for host in hosts[1:])


# Names.


def test_a_second_live_peer_of_the_same_name_is_refused_and_both_sides_know() -> None:
    world = World(13)
    hosts = cluster(world, 3)
    world.run_until(lambda: agree(hosts), 10.0, 0.05)
    twin = world.add("h2", seeds=["h1"], at=("10.9.9.9", 6783), records=[record("h2", "twin")])
    world.run(5.0)
    assert none_has(hosts, "twin")
    assert any(event.addr for _, event in twin.happened(JoinRefused))
    assert "10.0.0.3" in twin.happened(JoinRefused)[0][1].text
    assert agree(hosts)


def test_a_peer_that_asks_its_own_namesake_is_refused() -> None:
    world = World(14)
    hosts = cluster(world, 2)
    world.run_until(lambda: agree(hosts), 10.0, 0.05)
    twin = world.add("h0", seeds=["h0"], at=("10.9.9.9", 6783))
    world.run(3.0)
    assert twin.happened(NameConflict)[0][1].lost
    assert not hosts[0].happened(NameConflict)[0][1].lost


def test_a_peer_that_moved_to_another_address_gets_its_name_back() -> None:
    world = World(15)
    hosts = cluster(world, 3)
    world.run_until(lambda: agree(hosts), 10.0, 0.05)
    world.crash(hosts[2])
    moved = world.add("h2", seeds=["h0"], at=("10.9.9.9", 6783), records=[record("h2", "moved")])
    world.run_until(lambda: all_have([*hosts[:2], moved], "moved"), 10.0, 0.05)
    assert hosts[0].happened(PeerJoined)[-1][1].addr == ("10.9.9.9", 6783)


def test_of_two_namesakes_that_grew_up_apart_the_older_keeps_the_name() -> None:
    world = World(16)
    hosts = cluster(world, 3)
    world.run_until(lambda: agree(hosts), 10.0, 0.05)
    twin = world.add("h1", at=("10.9.9.9", 6783), records=[record("h1", "twin")])
    world.split(hosts, [twin])
    world.run(5.0)
    friend = world.add("friend", at=("10.9.9.8", 6783))
    world.split(hosts, [twin, friend])
    friend.node.join(twin.addr, world.now)
    world.pump(friend)
    world.run(5.0)
    world.heal()
    friend.node.join(hosts[0].addr, world.now)
    world.pump(friend)
    world.run(30.0)
    assert twin.node.muted
    assert not hosts[1].node.muted
    world.run_until(lambda: agree([*hosts, friend]), 30.0, 0.1)
    assert none_has([*hosts, friend], "twin")


def _state(host: object, name: str) -> State | None:
    peer = host.node.peer(name)  # type: ignore[attr-defined]
    return peer.state if peer else None


def test_a_dead_peers_new_snapshot_may_come_before_the_word_that_it_restarted() -> None:
    world = World(17)
    hosts = world.add_acquainted(3)
    world.run(3.0)
    world.crash(hosts[0])
    world.run_until(lambda: all(host.happened(PeerLost) for host in hosts[1:]), 10.0, 0.05)
    catalog, members = hosts[1].catalog, hosts[1].node._core.members
    fresh = catalog.staged(Snapshot("p0", hosts[0].node.incarnation + 5, 1, ()))
    fresh.put(record("p0", "again"))
    assert hosts[1].node._spread.adopt(fresh, world.now)
    assert none_has([hosts[1]], "again")
    peer = members.get("p0")
    assert peer is not None
    hosts[1].node._standing.on_statement(Alive("p0", *peer.addr, hosts[0].node.incarnation + 5, 7, 0), world.now)
    assert all_have([hosts[1]], "again")


def test_who_was_paused_itself_suspects_nobody_for_it() -> None:
    world = World(18)
    hosts = world.add_acquainted(6)
    world.run(3.0)
    for _ in range(5):
        world.pause(hosts[0])
        # Nothing of what came meanwhile is there any more: a socket's buffer is not endless.
        world.run(1.0)
        hosts[0].backlog.clear()
        world.resume(hosts[0])
        world.run(4.0)
    assert hosts[0].node.stats.suspicions == 0
    assert sum(host.node.stats.deaths for host in hosts) == 0


def test_who_was_paused_gives_suspects_that_time_on_top() -> None:
    world = World(19)
    hosts = world.add_acquainted(2)
    world.run(3.0)
    world.pause(hosts[1])
    world.run_until(lambda: _state(hosts[0], "p1") is State.SUSPECT, 3.0, 0.01)
    world.pause(hosts[0])
    world.run(10.0)
    hosts[0].backlog.clear()
    hosts[1].backlog.clear()
    world.resume(hosts[1])
    world.resume(hosts[0])
    world.run(2.0)
    assert _state(hosts[0], "p1") is State.ALIVE
    assert hosts[0].node.stats.deaths == 0


@pytest.mark.parametrize("seed", range(3))
def test_who_clears_itself_is_cleared_everywhere_soon(seed: int) -> None:
    world = World(20 + seed)
    hosts = world.add_acquainted(20)
    world.run(3.0)
    world.pause(hosts[0])
    world.run_until(lambda: any(_state(host, "p0") is State.SUSPECT for host in hosts[1:]), 3.0, 0.01)
    world.run(1.0)
    world.resume(hosts[0])
    took = world.run_until(lambda: all(_state(host, "p0") is State.ALIVE for host in hosts[1:]), 2.0, 0.005)
    assert took < 0.25
