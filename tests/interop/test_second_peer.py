"""A peer that knows nothing but docs/protocol.md takes part: else the document or the node is wrong."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.interop import second
from tests.interop.second import Second, Stream, mark
from tests.sim.world import record
from weavedns.gossip.core import Config
from weavedns.gossip.events import Event, PeerLeft, ReplyCame, RequestCame
from weavedns.gossip.links import Close, Dial
from weavedns.gossip.node import Node
from weavedns.gossip.seal import Keyring
from weavedns.records.catalog import Catalog

NODE, SECOND = ("10.0.0.1", 6783), ("10.0.0.2", 6783)
NAME = b"\x03web\x05weave\x05local\x00"
PASSWORD = "correct horse"
TERMS = {"--range": "10.2.0.0/16", "--domain": "weave.local"}


class Pair:
    """The real node, and the second peer with what it was told by datagrams."""

    def __init__(self, password: str | None) -> None:
        self.now = 50.0
        keyring = Keyring.from_passwords((password,), "weave") if password else Keyring()
        self.catalog = Catalog("real")
        self.catalog.add(record("real", "redis", 7, ttl_s=30))
        self.catalog.tell(1, b"nickname", b"r")
        self.node = Node(
            Config("real", *NODE, keyring=keyring, terms=TERMS), self.catalog, Random(1), wall_ms=1_700_000_000_000
        )
        self.node.start(self.now)
        master = second.master_of(password) if password else None
        self.second = Second("second", *SECOND, 1_700_000_000_500, 2**64 - 1, master, terms=TERMS)
        self.events: list[Event] = []

    def send(self, *messages: list[Any]) -> list[list[Any]]:
        """One datagram to the node; what it answers at once."""
        self.node.receive(self.second.datagram(*messages), SECOND, self.now)
        return self.heard()

    def heard(self) -> list[list[Any]]:
        while (event := self.node.next_event()) is not None:
            self.events.append(event)
        told = []
        for data, addr in self.node.datagrams_to_send(self.now):
            assert addr == SECOND
            (name, incarnation, boot, _), messages = self.second.open(data)
            assert (name, incarnation, boot) == ("real", self.node.incarnation, self.node.boot)
            told += messages
        return told

    def wait(self, tag: int, within: float = 3.0) -> list[Any]:
        """The first message with a tag that the node sends by itself in time."""
        until = self.now + within
        while (due := self.node.get_timer()) is not None and due <= until:
            self.now = max(self.now, due)
            self.node.handle_timer(self.now)
            for message in self.heard():
                if message[0] == tag:
                    return message
        raise AssertionError(f"no message {tag} in {within} s")

    def prove(self) -> None:
        """Answer the challenge that the first datagram of a boot gets."""
        challenges = [said for said in self.send([second.PING, 1, "real", 0]) if said[0] == second.CHALLENGE]
        assert len(challenges) == 1
        self.send([second.CHALLENGE_ANSWER, challenges[0][1]])

    @property
    def digest(self) -> int:
        """As the document has it, over both peers when they know each other."""
        found = mark("real", self.node.incarnation, self.catalog.own.version)
        replica = self.catalog.replica("second")
        return found ^ mark("second", replica.incarnation, replica.version) if replica else found

    # Streams.

    def join(self, count: int = 2) -> list[list[Any]]:
        """Dial the node, tell it one record and a fact, and return all frames that it sent."""
        number = self.node.stream_accepted(SECOND, self.now)
        assert number is not None
        stream = Stream(self.second, dials=True)
        self.node.stream_received(number, stream.hello, self.now)
        got = stream.read(self._drain(number))
        assert got == []
        opening = [second.OPEN, second.JOIN, "weave", self.second.alive, NODE[0], TERMS]
        return self._exchange(number, stream, [opening], count)

    def answer_dial(self) -> list[list[Any]]:
        """Be dialled by the node, which joins this peer."""
        self.node.join(SECOND, self.now)
        self.node.handle_timer(self.now)
        (dial,) = (action for action in self.node.stream_actions() if isinstance(action, Dial))
        self.node.stream_opened(dial.link, SECOND)
        stream = Stream(self.second, dials=False)
        assert stream.read(self._drain(dial.link)) == []
        self.node.stream_received(dial.link, stream.hello, self.now)
        got = stream.read(self._drain(dial.link))
        assert [message[0] for message in got[:1]] == [second.OPEN]
        assert got[0][1:3] == [second.JOIN, "weave"]
        opening = [second.OPEN, second.JOIN, "weave", self.second.alive, NODE[0], TERMS]
        frames = got + self._exchange(dial.link, stream, [opening])
        assert Close(dial.link) in self.node.stream_actions()
        return frames

    def _exchange(self, number: int, stream: Stream, first: list[list[Any]], count: int = 2) -> list[list[Any]]:
        me = self.second
        items = [
            [second.PUT_RECORD, "c1", NAME, 1, b"\x0a\x02\x00\x09", 60, 0, True],
            [second.PUT_FACT, 1, b"nickname", b"s"],
        ]
        said = [
            *first,
            [second.VECTOR, [[me.alive, 0, me.incarnation, 2]]],
            me.alive,
            [second.SNAPSHOT_START, me.name, me.incarnation, 2],
            [second.SNAPSHOT_PART, items],
            [second.SNAPSHOT_END, count],
            [second.DONE],
        ]
        got: list[list[Any]] = []
        for message in said:
            self.node.stream_received(number, stream.frame(message), self.now)
            got += stream.read(self._drain(number))
        return got

    def _drain(self, number: int) -> bytes:
        out = b""
        while data := self.node.stream_data(number, self.now):
            out += data
        return out


@pytest.fixture(params=[None, PASSWORD], ids=["plain", "sealed"])
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(request.param)


def test_the_second_implementation_uses_nothing_of_the_first() -> None:
    source = Path(second.__file__).read_text()
    imports = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
    assert imports
    assert not any("weavedns" in line or "tests" in line or "weavenet" in line for line in imports)


def test_a_boot_is_listened_to_once_it_has_answered_a_challenge(pair: Pair) -> None:
    assert [said[0] for said in pair.send([second.PING, 7, "real", 0])] == [second.CHALLENGE]
    pair.prove()
    ((tag, seq, digest, target),) = pair.send([second.PING, 8, "real", 0])
    assert (tag, seq, target) == (second.ACK, 8, "real")
    assert digest == pair.digest
    # Nobody else's pings are answered.
    assert pair.send([second.PING, 9, "another", 0]) == []


def test_what_is_older_than_the_answer_to_the_challenge_is_dropped(pair: Pair) -> None:
    early = pair.second.datagram([second.PING, 7, "real", 0])
    pair.prove()
    late = pair.second.datagram([second.PING, 8, "real", 0])
    for data, answers in ((early, 0), (late, 1), (late, 0)):
        pair.node.receive(data, SECOND, pair.now)
        assert len(pair.heard()) == answers


def test_a_challenge_is_answered_by_the_node_as_well(pair: Pair) -> None:
    answers = pair.send([second.CHALLENGE, bytes(range(16))])
    assert [second.CHALLENGE_ANSWER, bytes(range(16))] in answers


def check_exchange(pair: Pair, frames: list[list[Any]]) -> None:
    """Both sides have everything of the other."""
    tags = [frame[0] for frame in frames]
    assert tags[:2] == [second.OPEN, second.VECTOR]
    assert tags[-1] == second.DONE
    _, purpose, cluster, alive, seen, terms = frames[0]
    assert terms == TERMS
    me = [second.ALIVE, "real", *NODE, pair.node.incarnation, pair.node.boot, 0]
    assert (purpose, cluster, alive, seen) == (second.JOIN, "weave", me, SECOND[0])
    rows = frames[1][1]
    assert rows[0] == [me, 0, pair.node.incarnation, pair.catalog.own.version]
    assert me in frames[2:]
    start = next(frame for frame in frames if frame[0] == second.SNAPSHOT_START)
    assert start == [second.SNAPSHOT_START, "real", pair.node.incarnation, 2]
    items = [item for frame in frames if frame[0] == second.SNAPSHOT_PART for item in frame[1]]
    redis = record("real", "redis", 7)
    assert sorted(items) == [
        [second.PUT_RECORD, "c1", redis.name, 1, redis.rdata, 30, 0, True],
        [second.PUT_FACT, 1, b"nickname", b"r"],
    ]
    assert [second.SNAPSHOT_END, 2] in frames
    (mine,) = pair.catalog.of_name(NAME)
    assert (mine.owner, mine.holder, mine.rdata, mine.ttl_s) == ("second", "c1", b"\x0a\x02\x00\x09", 60)
    fact = pair.catalog.fact("second", 1, b"nickname")
    assert fact is not None
    assert fact.data == b"s"
    peer = pair.node.peer("second")
    assert peer is not None
    assert peer.addr == SECOND
    assert pair.catalog.digest == pair.digest


def test_it_joins_by_a_stream_and_both_have_all_records(pair: Pair) -> None:
    check_exchange(pair, pair.join())


def test_it_is_joined_by_a_stream_and_both_have_all_records(pair: Pair) -> None:
    check_exchange(pair, pair.answer_dial())


@pytest.mark.parametrize("count", [1, 3])
def test_a_snapshot_of_another_number_of_items_than_it_says_is_not_taken(pair: Pair, count: int) -> None:
    pair.join(count)
    assert not pair.catalog.of_name(NAME)
    assert pair.node.stats.malformed == 1


@pytest.fixture
def joined(pair: Pair) -> Pair:
    pair.join()
    pair.heard()
    pair.prove()
    return pair


def test_its_changes_are_answered_and_it_hears_the_nodes(joined: Pair) -> None:
    me = joined.second
    put = [second.PUT_RECORD, "c2", NAME, 1, b"\x0a\x02\x00\x0a", 60, 0, True]
    joined.send([second.CHANGES, me.name, me.incarnation, 2, [put]])
    assert len(joined.catalog.of_name(NAME)) == 2
    drop = [second.DROP_RECORD, "c2", NAME, 1, b"\x0a\x02\x00\x0a"]
    joined.send([second.CHANGES, me.name, me.incarnation, 3, [drop]])
    assert len(joined.catalog.of_name(NAME)) == 1
    fresh = record("real", "app", 8)
    joined.catalog.add(fresh)
    joined.node.publish(joined.now)
    (changes,) = (said for said in joined.heard() if said[0] == second.CHANGES)
    item = [second.PUT_RECORD, "c1", fresh.name, 1, fresh.rdata, 1, 0, True]
    assert changes == [second.CHANGES, "real", joined.node.incarnation, 2, [item]]
    # It asks again for what it has missed.
    assert changes in joined.send([second.PULL, "real", joined.node.incarnation, 2])
    assert [second.ADVERT, "real", joined.node.incarnation, 3] in joined.send([second.PULL, "real", 1, 0])


def test_a_gap_in_its_changes_is_asked_for(joined: Pair) -> None:
    me = joined.second
    put = [second.PUT_FACT, 9, b"k", b"v"]
    joined.send([second.CHANGES, me.name, me.incarnation, 3, [put]])
    assert joined.wait(second.PULL) == [second.PULL, "second", me.incarnation, 2]
    joined.send([second.CHANGES, me.name, me.incarnation, 2, [[second.DROP_FACT, 9, b"x"], put]])
    replica = joined.catalog.replica("second")
    assert replica is not None
    assert replica.version == 4


def test_all_that_it_has_may_come_as_one_datagram(joined: Pair) -> None:
    me = joined.second
    me.incarnation += 1
    item = [second.PUT_RECORD, "c9", NAME, 1, b"\x0a\x02\x00\x63", 60, 0, True]
    joined.send(me.alive, [second.WHOLE, me.name, me.incarnation, 7, [item]])
    assert [each.rdata for each in joined.catalog.of_name(NAME)] == [b"\x0a\x02\x00\x63"]
    assert joined.catalog.digest == joined.digest


def test_it_is_pinged_and_suspected_and_clears_itself(joined: Pair) -> None:
    ping = joined.wait(second.PING)
    assert ping[2:] == ["second", joined.digest]
    me = joined.second
    joined.send([second.ACK, ping[1], joined.digest, me.name])
    suspect = joined.wait(second.SUSPECT, 5.0)
    assert suspect == [second.SUSPECT, "second", me.incarnation, 0, "real"]
    # Whoever is held suspect and pings hears of it.
    assert suspect in joined.send([second.PING, 5, "real", joined.digest])
    me.rebuttal = 1
    joined.send(me.alive)
    peer = joined.node.peer("second")
    assert peer is not None
    assert (peer.state, peer.rebuttal) == (0, 1)


def test_the_node_contradicts_what_is_said_of_it(joined: Pair) -> None:
    said = joined.send([second.SUSPECT, "real", joined.node.incarnation, 4, "second"])
    assert [second.ALIVE, "real", *NODE, joined.node.incarnation, joined.node.boot, 5] in said


def test_the_node_pings_others_for_it(joined: Pair) -> None:
    joined.send([second.PING_REQUEST, 77, "third", *SECOND])
    # The third peer is at the same address here, and says nothing.
    assert joined.wait(second.NACK) == [second.NACK, 77]


def test_requests_go_both_ways(joined: Pair) -> None:
    joined.send([second.REQUEST, 5, "greet", b"hello"])
    (came,) = (event for event in joined.events if isinstance(event, RequestCame))
    assert (came.peer, came.kind, came.body) == ("second", "greet", b"hello")
    joined.node.reply(came.number, b"good day")
    assert joined.heard() == [[second.REPLY, 5, False, b"good day"]]
    # Asked again, it is answered again.
    assert joined.send([second.REQUEST, 5, "greet", b"hello"]) == [[second.REPLY, 5, False, b"good day"]]
    number = joined.node.request("second", "greet", b"and you", joined.now)
    ((tag, theirs, kind, body),) = joined.heard()
    assert (tag, kind, body) == (second.REQUEST, "greet", b"and you")
    joined.send([second.REPLY, theirs, False, b"fine"])
    assert ReplyCame(number, b"fine") in joined.events


def test_another_boot_by_the_nodes_name_is_told_since_when_it_has_the_name(pair: Pair) -> None:
    twin = pair.second
    twin.name = "real"
    (challenge,) = (said for said in pair.heard() + _challenges(pair, twin) if said[0] == second.CHALLENGE)
    pair.node.receive(twin.datagram([second.CHALLENGE_ANSWER, challenge[1]]), SECOND, pair.now)
    taken = [said for said in pair.heard() if said[0] == second.NAME_TAKEN]
    assert taken == [[second.NAME_TAKEN, "real", 1_700_000_000_000, pair.node.boot]]
    # Who had it first keeps it.
    pair.node.receive(twin.datagram([second.NAME_TAKEN, "real", 1, 1]), SECOND, pair.now)
    assert pair.node.muted


def _challenges(pair: Pair, twin: Second) -> list[list[Any]]:
    pair.node.receive(twin.datagram([second.PING, 1, "real", 0]), SECOND, pair.now)
    return pair.heard()


def test_who_leaves_is_forgotten_at_once_and_told_so(joined: Pair) -> None:
    me = joined.second
    joined.send([second.LEAVE, me.name, me.incarnation])
    assert not joined.catalog.of_name(NAME)
    assert PeerLeft("second") in joined.events
    # The same life is not taken back.
    gone = [second.LEAVE, me.name, me.incarnation]
    assert gone in joined.send(me.alive)
    assert [said[0] for said in joined.send([second.PING, 5, "real", 0])] == [second.ACK, second.LEAVE]
    joined.node.leave(joined.now)
    assert joined.node.peer("second") is None


def test_the_node_says_when_it_leaves(joined: Pair) -> None:
    joined.node.leave(joined.now)
    assert joined.heard() == [[second.LEAVE, "real", joined.node.incarnation]]


def test_what_is_longer_than_the_document_says_is_read_as_far_as_it_is_known(joined: Pair) -> None:
    ((tag, *_),) = joined.send([second.PING, 8, "real", 0, "of a later version"])
    assert tag == second.ACK


def test_another_that_comes_by_its_name_is_refused_once_it_says_anything_at_all(joined: Pair) -> None:
    old, elsewhere = joined.second, ("10.0.0.3", 6783)
    new = Second("second", *elsewhere, old.incarnation + 1, 5, old.master, terms=TERMS)
    number = joined.node.stream_accepted(elsewhere, joined.now)
    assert number is not None
    stream = Stream(new, dials=True)
    joined.node.stream_received(number, stream.hello, joined.now)
    opening = [second.OPEN, second.JOIN, "weave", new.alive, NODE[0], TERMS]
    assert stream.read(joined.node.stream_data(number, joined.now)) == []
    joined.node.stream_received(number, stream.frame(opening), joined.now)
    assert stream.read(joined.node.stream_data(number, joined.now)) == []
    joined.send([second.NACK, 999])
    ((tag, reason, sentence),) = stream.read(joined.node.stream_data(number, joined.now))
    assert (tag, reason) == (second.REFUSE, 1)
    assert SECOND[0] in sentence
