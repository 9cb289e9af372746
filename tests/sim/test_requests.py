from __future__ import annotations

import pytest

from tests.sim.world import Host, Weather, World
from weavedns.errors import PeerError
from weavedns.gossip.events import ReplyCame, RequestCame, RequestFailed


def answer(world: World, host: Host, *, failed: bool = False) -> int:
    """Answer what has come so far; returns how much that was."""
    asked = host.happened(RequestCame)
    for _, event in asked:
        host.node.reply(event.number, b"re: " + event.body, failed=failed)
    world.pump(host)
    host.events.clear()
    return len(asked)


@pytest.mark.parametrize("loss", [0.0, 0.4])
def test_a_request_is_done_once_and_answered(loss: float) -> None:
    world = World(1, weather=Weather(loss=loss, double=0.3))
    one, two, _ = world.add_acquainted(3)
    numbers = [one.node.request("p1", "remove", f"n{each}".encode(), world.now) for each in range(20)]
    world.pump(one)
    answered = 0
    for _ in range(100):
        world.run(0.05)
        answered += answer(world, two)
    assert answered == 20
    replies = {event.number: event.body for _, event in one.happened(ReplyCame)}
    assert replies == {number: f"re: n{each}".encode() for each, number in enumerate(numbers)}


def test_a_refusal_comes_back_as_a_sentence() -> None:
    world = World(2)
    one, two = world.add_acquainted(2)
    one.node.request("p1", "remove", b"x", world.now)
    world.pump(one)
    world.run(0.1)
    answer(world, two, failed=True)
    world.run(0.1)
    assert one.happened(RequestFailed)[0][1].text == "re: x"


def test_a_refusal_is_one_line_of_plain_text_whatever_the_other_says() -> None:
    world = World(2)
    one, two = world.add_acquainted(2)
    one.node.request("p1", "remove", b"x\n\x1b[2J\xff", world.now)
    world.pump(one)
    world.run(0.1)
    answer(world, two, failed=True)
    world.run(0.1)
    assert one.happened(RequestFailed)[0][1].text == "re: x??[2J\ufffd"


def test_a_request_that_is_not_answered_fails_in_time() -> None:
    world = World(3)
    one, two = world.add_acquainted(2)
    world.crash(two)
    one.node.request("p1", "remove", b"x", world.now, timeout_s=1.0)
    world.pump(one)
    world.run(1.1)
    assert "did not answer in time" in one.happened(RequestFailed)[0][1].text


def test_a_request_to_a_peer_that_dies_meanwhile_fails_at_once() -> None:
    world = World(4)
    one, two = world.add_acquainted(2)
    one.node.request("p1", "remove", b"x", world.now, timeout_s=60.0)
    world.crash(two)
    world.pump(one)
    world.run(6.0)
    assert "gone" in one.happened(RequestFailed)[0][1].text


def test_a_request_to_nobody_or_to_a_dead_peer_is_refused() -> None:
    world = World(5)
    one, two = world.add_acquainted(2)
    with pytest.raises(PeerError, match="no peer nobody"):
        one.node.request("nobody", "remove", b"", world.now)
    with pytest.raises(PeerError, match="too long"):
        one.node.request("p1", "remove", b"x" * 1001, world.now)
    world.crash(two)
    world.run(6.0)
    with pytest.raises(PeerError, match="is not there"):
        one.node.request("p1", "remove", b"", world.now)
