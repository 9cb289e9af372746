"""What a password keeps out, and what old packets can do: with a password or without, nothing."""

from __future__ import annotations

import pytest

from tests.sim.invariants import Invariants
from tests.sim.test_spreading import all_have, cluster
from tests.sim.world import Host, Weather, World, agree, record
from weavedns.gossip.core import Config
from weavedns.gossip.events import JoinRefused, PeerMoved, RequestCame, StrangerRejected
from weavedns.gossip.seal import Key, Keyring

BOTH = pytest.mark.parametrize(
    "keyring", [Keyring(), Keyring((Key.from_master(b"1" * 32),))], ids=["plain", "sealed"]
)
OLD, NEW = Key.from_master(b"1" * 32), Key.from_master(b"2" * 32)


def test_a_cluster_with_a_password_agrees_and_shows_no_name_on_the_wire() -> None:
    world = World(1, keyring=Keyring((OLD,)), weather=Weather(loss=0.05))
    seen: list[bytes] = []
    world.on_datagram = lambda _host, data, _addr: seen.append(data)
    hosts = cluster(world, 4)
    Invariants(world)
    world.run_until(lambda: agree(hosts), 20.0, 0.05)
    world.put(hosts[1], record("h1", "secret"))
    world.run_until(lambda: all_have(hosts, "secret"), 5.0)
    assert seen
    assert not any(b"secret" in data for data in seen)


def test_who_has_no_password_gets_no_names_and_is_told_of() -> None:
    world = World(2, keyring=Keyring((OLD,)))
    hosts = cluster(world, 2)
    world.put(hosts[0], record("h0", "secret"))
    world.keyring = Keyring()
    stranger = world.add("stranger", seeds=["h0"])
    world.run(10.0)
    assert not len(stranger.catalog)
    assert agree(hosts)
    assert "plaintext" in hosts[0].happened(StrangerRejected)[0][1].why


Recording = list[tuple[Host, bytes, tuple[str, int]]]


def recorded(world: World, *, of: Host | None = None) -> Recording:
    """What is sent from here on, by everybody or by one host."""
    packets: Recording = []
    world.on_datagram = lambda host, data, addr: packets.append((host, data, addr)) if of in {None, host} else None
    return packets


def play(world: World, packets: Recording) -> None:
    world.on_datagram = None
    for host, data, addr in packets:
        world._deliver(host, addr, data)


def joined(keyring: Keyring, size: int, seed: int) -> tuple[World, list[Host]]:
    world = World(seed, keyring=keyring)
    hosts = cluster(world, size)
    world.run_until(lambda: agree(hosts), 10.0, 0.05)
    return world, hosts


@BOTH
def test_a_recorded_datagram_does_nothing_when_it_is_played_again(keyring: Keyring) -> None:
    world, hosts = joined(keyring, 3, 3)
    packets = recorded(world)
    world.put(hosts[0], record("h0", "redis"))
    world.run(1.0)
    world.on_datagram = None
    world.take(hosts[0], record("h0", "redis"))
    world.run(1.0)
    before = hosts[1].node.stats.rejected["replayed"]
    play(world, packets)
    world.run(1.0)
    assert hosts[1].node.stats.rejected["replayed"] >= before + 10
    assert not any(host.catalog.of_name(record("h0", "redis").name) for host in hosts)


@BOTH
def test_a_recording_of_an_earlier_boot_cannot_pass_the_challenge(keyring: Keyring) -> None:
    world, hosts = joined(keyring, 2, 4)
    packets = recorded(world, of=hosts[1])
    world.put(hosts[1], record("h1", "redis"))
    world.run(1.0)
    # A receiver that knows nothing of that boot.
    world.crash(hosts[0])
    world.crash(hosts[1])
    hosts[0].config = Config("h0", *hosts[0].addr, keyring=keyring)
    world.restart(hosts[0])
    play(world, packets)
    world.run(2.0)
    assert not hosts[0].node.peers()
    assert hosts[0].node.stats.rejected["challenged"] > 0


def test_a_password_is_changed_without_a_restart() -> None:
    world = World(6, keyring=Keyring((OLD,)))
    hosts = cluster(world, 3)
    world.run_until(lambda: agree(hosts), 10.0, 0.05)
    whys = ("unknown_key", "forged", "replayed")
    refused = [[host.node.stats.rejected[why] for why in whys] for host in hosts]
    for number, keys in enumerate(((OLD, NEW), (NEW, OLD), (NEW,))):
        for host in hosts:
            host.node.rekey(Keyring(keys))
            world.put(host, record(host.name, f"{host.name}-{number}"))
            world.run_until(lambda name=f"{host.name}-{number}": all_have(hosts, name), 2.0)  # type: ignore[misc]
    assert not any(host.node.stats.suspicions for host in hosts)
    assert [[host.node.stats.rejected[why] for why in whys] for host in hosts] == refused
    # Also by streams, which a new peer needs.
    world.keyring = Keyring((NEW,))
    assert agree([*hosts, world.add("h9", seeds=["h0"])]) is False
    world.run_until(lambda: agree(world.hosts.values()), 10.0, 0.05)


def test_a_peer_of_another_cluster_is_refused_and_both_say_why() -> None:
    world = World(7)
    hosts = cluster(world, 2)
    world.put(hosts[0], record("h0", "redis"))
    stranger = world.add("stranger")
    stranger.config = Config("stranger", *stranger.addr, seeds=(hosts[0].addr,), cluster="shop")
    world.crash(stranger)
    world.restart(stranger)
    world.run(3.0)
    assert not len(stranger.catalog)
    assert agree(hosts)
    assert "it has --cluster weave, and this peer --cluster shop" in stranger.happened(JoinRefused)[0][1].text
    assert "it has --cluster shop, and this peer --cluster weave" in hosts[0].happened(StrangerRejected)[0][1].why
    assert hosts[0].node.stats.rejected["other_terms"] > 0


def test_the_address_that_a_peers_datagrams_come_from_is_known() -> None:
    world = World(8)
    hosts = cluster(world, 2)
    world.run_until(lambda: agree(hosts), 10.0, 0.05)
    known = hosts[0].node.peer("h1")
    assert known is not None
    assert known.source == ""
    assert not hosts[0].happened(PeerMoved)
    # It has a second address, which is nearer.
    away, hosts[1].addr = hosts[1].addr, ("10.7.7.7", 6783)
    world.run(2.0)
    assert (known.host, known.source) == (away[0], "10.7.7.7")
    assert [event.name for _, event in hosts[0].happened(PeerMoved)] == ["h1"]


@BOTH
def test_a_request_is_not_done_again_when_it_is_played_to_a_peer_that_restarted(keyring: Keyring) -> None:
    world, (one, two) = joined(keyring, 2, 6)
    packets = recorded(world, of=one)
    one.node.request("h1", "remove", b"redis", world.now, timeout_s=0.1)
    world.pump(one)
    world.run(0.01)
    world.on_datagram = None
    assert len(two.happened(RequestCame)) == 1
    world.crash(two)
    two.config = Config("h1", *two.addr, keyring=keyring, seeds=(one.addr,))
    two.events.clear()
    world.restart(two)
    world.run(0.2)
    # Before it has heard anything of the asker, and after.
    play(world, packets)
    world.run_until(lambda: agree([one, two]), 10.0, 0.01)
    play(world, packets)
    world.run(1.0)
    one.node.request("h1", "remove", b"another", world.now)
    world.pump(one)
    world.run(1.0)
    assert [event.body for _, event in two.happened(RequestCame)] == [b"another"]


@BOTH
def test_a_peers_own_earlier_life_played_back_does_not_take_its_name(keyring: Keyring) -> None:
    world, hosts = joined(keyring, 2, 7)
    # Made to say since when it has its name, as a namesake would make it.
    packets = recorded(world, of=hosts[1])
    hosts[1].node._standing.met_namesake(hosts[0].addr)
    world.pump(hosts[1])
    world.run(1.0)
    world.on_datagram = None
    world.crash(hosts[1])
    hosts[1].config = Config("h1", *hosts[1].addr, keyring=keyring, seeds=(hosts[0].addr,))
    world.restart(hosts[1])
    world.run_until(lambda: agree(hosts), 10.0, 0.05)
    play(world, [(hosts[0], data, hosts[1].addr) for _, data, _ in packets])
    world.run(1.0)
    assert hosts[1].node.stats.rejected["challenged"] >= len(packets)
    assert not hosts[1].node.muted


def test_a_password_is_changed_while_the_cluster_runs() -> None:
    world = World(5, keyring=Keyring((OLD,)))
    hosts = cluster(world, 3)
    world.run_until(lambda: agree(hosts), 10.0, 0.05)
    for keys in ((OLD, NEW), (NEW, OLD), (NEW,)):
        for host in hosts:
            world.crash(host)
            others = tuple(other.addr for other in hosts if other is not host)
            host.config = Config(host.name, *host.addr, seeds=others, keyring=Keyring(keys))
            world.restart(host, [record(host.name, host.name)])
            world.run_until(lambda: agree(hosts), 20.0, 0.05)
    assert all(all_have(hosts, host.name) for host in hosts)
