"""Peers of another version of the protocol: kept out, and both sides hear why in words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sim.test_spreading import cluster
from tests.sim.world import Address, Host, Wire, World, agree, record
from weavedns.gossip.events import JoinRefused, StrangerRejected
from weavedns.gossip.seal import PROTOCOL, Key, Keyring, Rejection

KEYS = [Keyring(), Keyring((Key.from_master(b"1" * 32),))]
BOTH = pytest.mark.parametrize("keyring", KEYS, ids=["plain", "sealed"])
SAID = "of another version of the peer protocol: run the same release of weavedns on all hosts"


class TwoVersions(World):
    """Between a host named in `later` and the others, each reads the other's version as one that it does not know."""

    def __init__(self, seed: int, **settings: Any) -> None:
        super().__init__(seed, **settings)
        self.later: set[str] = set()
        self._shown: set[tuple[Wire, int]] = set()

    def _deliver(self, sender: Host, addr: Address, data: bytes) -> None:
        host = self._by_addr.get(addr)
        super()._deliver(sender, addr, self._seen(data) if host and self._differ(sender, host) else data)

    def _arrived(self, wire: Wire, end: int, data: bytes) -> None:
        if self._differ(*wire.hosts) and (wire, end) not in self._shown:
            self._shown.add((wire, end))
            data = self._seen(data)
        super()._arrived(wire, end, data)

    def _differ(self, one: Host, other: Host) -> bool:
        return (one.name in self.later) != (other.name in self.later)

    @staticmethod
    def _seen(data: bytes) -> bytes:
        return data[:2] + bytes((PROTOCOL + 1,)) + data[3:]


@BOTH
def test_a_peer_of_another_version_that_joins_is_refused_in_words_on_both_sides(keyring: Keyring) -> None:
    world = TwoVersions(1, keyring=keyring)
    hosts = cluster(world, 2)
    world.put(hosts[0], record("h0", "redis"))
    world.later.add("late")
    late = world.add("late", seeds=["h0"])
    world.run(10.0)
    assert not late.node.peers()
    assert not len(late.catalog)
    assert agree(hosts)
    (refused,) = late.happened(JoinRefused)
    assert (refused[1].addr, refused[1].text) == (hosts[0].addr, f"the stream is {SAID}")
    assert [(event.addr[0], event.why) for _, event in hosts[0].happened(StrangerRejected)] == [(late.addr[0], SAID)]


@BOTH
def test_a_peer_that_comes_back_with_another_version_is_told_of_on_both_sides(keyring: Keyring) -> None:
    world = TwoVersions(2, keyring=keyring)
    hosts = cluster(world, 3)
    world.run_until(lambda: agree(hosts), 20.0, 0.05)
    world.crash(hosts[2])
    world.later.add("h2")
    config = hosts[2].config
    hosts[2].config = type(config)(config.name, config.host, config.port, (), config.cluster, keyring)
    world.restart(hosts[2])
    world.run(30.0)
    assert not hosts[2].node.peers()
    assert agree(hosts[:2])
    for host in hosts:
        assert {event.why for _, event in host.happened(StrangerRejected)} == {SAID}
    # By datagrams, which the others sent before they gave it up, and by streams, which tell them as well.
    assert hosts[2].node.stats.rejected[Rejection.OTHER_VERSION.name.lower()] > 2
