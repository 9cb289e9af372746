"""Settings that all peers have to have equal: who has others is kept out, and both sides hear why."""

from __future__ import annotations

import pytest

from tests.sim.test_spreading import cluster
from tests.sim.world import World, agree, record
from weavedns.gossip.events import JoinRefused, StrangerRejected
from weavedns.gossip.seal import Key, Keyring, terms_digest

OURS = {"--domain": "weave.local", "--range": "10.2.0.0/16"}
THEIRS = {"--domain": "weave.local", "--range": "10.32.0.0/16"}
KEYS = [Keyring(), Keyring((Key.from_master(b"1" * 32),))]


@pytest.mark.parametrize("keyring", KEYS, ids=["plain", "sealed"])
def test_a_stranger_with_other_terms_is_refused_in_words_on_both_sides(keyring: Keyring) -> None:
    world = World(1, terms=OURS, keyring=keyring)
    hosts = cluster(world, 2)
    world.put(hosts[0], record("h0", "redis"))
    world.terms = THEIRS
    stranger = world.add("stranger", seeds=["h0"])
    world.run(20.0)
    assert not len(stranger.catalog)
    assert not stranger.node.peers()
    assert agree(hosts)
    refused = stranger.happened(JoinRefused)[0][1].text
    assert "it has --range 10.2.0.0/16, and this peer --range 10.32.0.0/16" in refused
    rejected = hosts[0].happened(StrangerRejected)[0][1].why
    assert "it has --range 10.32.0.0/16, and this peer --range 10.2.0.0/16" in rejected


@pytest.mark.parametrize("keyring", KEYS, ids=["plain", "sealed"])
def test_a_peer_that_restarts_with_other_terms_is_out_though_the_others_know_it(keyring: Keyring) -> None:
    world = World(2, terms=OURS, keyring=keyring)
    hosts = cluster(world, 3)
    world.run_until(lambda: agree(hosts), 20.0, 0.05)
    world.crash(hosts[2])
    config = hosts[2].config
    hosts[2].config = type(config)(config.name, config.host, config.port, (), config.cluster, keyring, THEIRS)
    world.restart(hosts[2], [record("h2", "redis")])
    world.run(30.0)
    assert not hosts[2].node.peers()
    assert not any(host.catalog.of_name(record("h2", "redis").name) for host in hosts[:2])
    assert "--range" in hosts[2].happened(StrangerRejected)[0][1].why
    assert agree(hosts[:2])


def test_terms_are_told_apart_wherever_they_differ() -> None:
    different = [
        terms_digest("weave", {}),
        terms_digest("weave", OURS),
        terms_digest("other", OURS),
        terms_digest("weave", THEIRS),
        terms_digest("weave", {"--domain": "weave.local--range", "": "10.2.0.0/16"}),
    ]
    assert len(set(different)) == len(different)
    assert terms_digest("weave", dict(reversed(OURS.items()))) == terms_digest("weave", OURS)
