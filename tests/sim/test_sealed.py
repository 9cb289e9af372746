from __future__ import annotations

from tests.sim.invariants import Invariants
from tests.sim.test_spreading import all_have, cluster
from tests.sim.world import Host, Weather, World, agree, record
from weavedns.gossip.core import Config
from weavedns.gossip.events import JoinRefused, PeerMoved, StrangerRejected
from weavedns.gossip.seal import Key, Keyring

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


def test_a_recorded_datagram_does_nothing_when_it_is_played_again() -> None:
    world = World(3, keyring=Keyring((OLD,)))
    hosts = cluster(world, 3)
    world.run_until(lambda: agree(hosts), 10.0, 0.05)
    recorded: list[tuple[Host, bytes, tuple[str, int]]] = []
    world.on_datagram = lambda host, data, addr: recorded.append((host, data, addr))
    world.put(hosts[0], record("h0", "redis"))
    world.run(1.0)
    world.on_datagram = None
    world.take(hosts[0], record("h0", "redis"))
    world.run(1.0)
    before = hosts[1].node.stats.rejected["replayed"]
    for host, data, addr in recorded:
        world._deliver(host, addr, data)
    world.run(1.0)
    assert hosts[1].node.stats.rejected["replayed"] > before
    assert not any(host.catalog.of_name(record("h0", "redis").name) for host in hosts)


def test_a_recording_of_an_earlier_boot_cannot_pass_the_challenge() -> None:
    world = World(4, keyring=Keyring((OLD,)))
    hosts = cluster(world, 2)
    world.run_until(lambda: agree(hosts), 10.0, 0.05)
    recorded: list[tuple[bytes, tuple[str, int]]] = []
    world.on_datagram = lambda host, data, addr: recorded.append((data, addr)) if host is hosts[1] else None
    world.put(hosts[1], record("h1", "redis"))
    world.run(1.0)
    world.on_datagram = None
    # A receiver that knows nothing of that boot.
    world.crash(hosts[0])
    world.crash(hosts[1])
    hosts[0].config = Config("h0", *hosts[0].addr, keyring=Keyring((OLD,)))
    world.restart(hosts[0])
    for data, addr in recorded:
        world._deliver(hosts[1], addr, data)
    world.run(2.0)
    assert not hosts[0].node.peers()
    assert hosts[0].node.stats.rejected["challenged"] > 0


def test_a_password_is_changed_without_a_restart() -> None:
    world = World(6, keyring=Keyring((OLD,)))
    hosts = cluster(world, 3)
    world.run_until(lambda: agree(hosts), 10.0, 0.05)
    for number, keys in enumerate(((OLD, NEW), (NEW, OLD), (NEW,))):
        for host in hosts:
            host.node.rekey(Keyring(keys))
            world.put(host, record(host.name, f"{host.name}-{number}"))
            world.run_until(lambda name=f"{host.name}-{number}": all_have(hosts, name), 2.0)  # type: ignore[misc]
    assert not any(host.node.stats.suspicions for host in hosts)
    assert not any(host.node.stats.rejected[why] for host in hosts for why in ("unknown_key", "forged", "replayed"))
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
