"""One exchange, and several with one peer at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sim.world import Host, World, record
from weavedns.gossip import codec
from weavedns.gossip.links import Links
from weavedns.gossip.message import SnapshotStart, StreamMessage, Vector
from weavedns.gossip.sync import Conversation


def conversation(host: Host) -> Conversation:
    """One with a peer that knows nothing."""
    made = Conversation(host.node._core, host.node._spread, host.node._standing, "p9")
    made.on_message(Vector([]), 0.0)
    return made


def said(talk: Conversation) -> Iterator[StreamMessage]:
    while (message := talk.next_message()) is not None:
        yield codec.decode_stream(message)


def starts(talk: Conversation) -> list[str]:
    return [message.owner for message in said(talk) if isinstance(message, SnapshotStart)]


def test_a_snapshot_that_is_on_its_way_is_not_sent_by_a_second_exchange() -> None:
    host = World(1).add("p0", records=[record("p0", f"r{number}", number) for number in range(100)])
    first = conversation(host)
    assert any(isinstance(message, SnapshotStart) for message in said(first))
    # What has left may not have come yet.
    second = conversation(host)
    assert starts(second) == []
    second.end()
    assert starts(conversation(host)) == []
    # The first one is over, or broke off.
    first.end()
    assert starts(conversation(host)) == ["p0"]


def test_nobody_is_asked_for_more_while_it_sends_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(2)
    one, two = world.add("p0"), world.add("p1", seeds=["p0"])
    world.run(2.0)
    syncs = one.node.stats.syncs
    with monkeypatch.context() as patch:
        patch.setattr(Links, "snapshot_comes_from", lambda _, peer: peer == "p0")
        two.node._rendezvous.want("p0", world.now)
        two.node._arm()
        world.pump(two)
        world.run(2.0)
        assert one.node.stats.syncs == syncs
    world.run(2.0)
    assert one.node.stats.syncs == syncs + 1


def test_a_large_join_brings_each_record_once() -> None:
    world = World(3)
    count = 2_000
    one = world.add("p0", records=[record("p0", f"r{number}", number) for number in range(count)])
    world.run(1.0)
    two = world.add("p1", seeds=["p0"])
    world.run_until(lambda: len(two.catalog) == count, 10.0, 0.01)
    world.run(5.0)
    assert one.node.stats.stream_bytes_out < 2 * 60 * count
