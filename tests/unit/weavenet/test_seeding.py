"""Who makes the ring when peers are launched together: one of them, once, or nobody."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import example, given, settings
from hypothesis import strategies as st

from weavenet.ipam.seeding import Reply, Seeding


def ask(leader: Seeding, others: Iterable[Seeding], waits_for: Iterable[str] = ()) -> list[str]:
    """One round of a leader with everybody it knows; for whom it then waits."""
    attempt = leader.attempt()
    assert attempt is not None
    for other in others:
        if other.name in attempt.members - {leader.name}:
            leader.replied(attempt, other.name, other.asked(leader.name, attempt.members, tuple(waits_for), "1"))
    return leader.waits_for(attempt)


def test_the_first_by_name_leads_once_all_agree() -> None:
    a, b, c = Seeding("a", "bc"), Seeding("b", "ac"), Seeding("c", "ab")
    assert b.attempt() is None
    assert ask(a, [b, c]) == []
    assert b.promised_to == c.promised_to == "a"


def test_a_member_that_was_not_asked_is_waited_for() -> None:
    a, b = Seeding("a", "bc"), Seeding("b", "ac")
    assert ask(a, [b]) == ["c"]


def test_whom_a_member_waits_for_is_waited_for() -> None:
    a, b = Seeding("a", "b"), Seeding("b", "a")
    assert ask(a, [b], waits_for=["host9:6783"]) == ["host9:6783"]
    assert not b.promised_to


def test_members_that_were_named_by_others_only_are_learnt_of_and_asked_in_the_next_round() -> None:
    a, b, c = Seeding("a", "b"), Seeding("b", "c"), Seeding("c")
    assert ask(a, [b, c])
    assert a.members == frozenset("abc")
    ask(a, [b, c])
    assert ask(a, [b, c]) == []


def test_a_promise_to_another_counts_when_that_one_leaves_it_to_the_leader() -> None:
    b, c = Seeding("b", "c"), Seeding("c", "b")
    attempt = b.attempt()
    assert attempt is not None
    b.replied(attempt, "c", c.asked("b", attempt.members, (), "1"))
    a = Seeding("a", "bc")
    ask(a, [b, c])
    assert b.waits_for(attempt)
    assert ask(a, [b, c]) == []
    assert (b.promised_to, c.promised_to) == ("a", "b")


def test_a_leader_that_has_left_it_to_another_asks_nobody() -> None:
    b = Seeding("b")
    b.asked("a", {"a", "b"}, (), "1")
    assert b.promised_to == "a"
    assert b.attempt() is None


NAMES = "abcde"


class Peers:
    """Peers that ask and answer in any order; each answer may come late or never, and a peer may restart."""

    def __init__(self, named: dict[str, set[str]]) -> None:
        self.named = named
        self.peers = {name: Seeding(name, others) for name, others in named.items()}
        self.attempts = {name: peer.attempt() for name, peer in self.peers.items()}
        self.made: dict[str, frozenset[str]] = {}
        self.replies: list[tuple[str, object, str, Reply]] = []

    def act(self, kind: str, one: str, other: str, number: int) -> None:
        peer, attempt = self.peers[one], self.attempts[one]
        match kind:
            case "begin":
                self.attempts[one] = peer.attempt()
            case "ask" if attempt is not None and other in attempt.members - {one, *self.made}:
                reply = self.peers[other].asked(one, attempt.members, (), "1")
                self.replies.append((one, attempt, other, reply))
            case "answer" if self.replies:
                asker, of_attempt, answerer, reply = self.replies[number % len(self.replies)]
                current = self.attempts[asker]
                if current is of_attempt and current is not None:
                    self.peers[asker].replied(current, answerer, reply)
                    if asker not in self.made and not self.peers[asker].waits_for(current):
                        self.made[asker] = current.members
            case "restart" if one not in self.made:
                self.peers[one] = Seeding(one, peer.members, peer.promised_to)
                self.attempts[one] = None

    def connected(self, name: str) -> set[str]:
        """Whom a peer is connected to when nothing keeps it from that: gossip takes it to the peers of its peers."""
        found = {name}
        for _ in self.named:
            found |= {other for other, named in self.named.items() if named & found}
            found |= {other for each in found for other in self.named[each]}
        return found

    def tick(self, name: str) -> None:
        """What a peer without a ring does again and again: ask those connected, and make the ring if it may."""
        peer = self.peers[name]
        for other in self.connected(name) - {name}:
            if other in self.made:
                self.made[other] |= {name}
                return
            peer.learn(self.peers[other].members)
        attempt = peer.attempt()
        if attempt is None:
            return
        for other in attempt.members - {name}:
            peer.replied(attempt, other, self.peers[other].asked(name, attempt.members, (), "1"))
        if not peer.waits_for(attempt):
            self.made[name] = attempt.members


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "ask", "ask", "ask", "answer", "answer", "answer", "restart"]),
        st.sampled_from(NAMES),
        st.sampled_from(NAMES),
        st.integers(0, 1000),
    ),
    max_size=120,
)
NAMED = st.fixed_dictionaries({name: st.sets(st.sampled_from(NAMES), min_size=1, max_size=3) for name in NAMES})


@settings(max_examples=400, deadline=None)
@given(NAMED, ACTIONS)
def test_no_peer_is_in_two_rings(named: dict[str, set[str]], actions: list[tuple[str, str, str, int]]) -> None:
    peers = Peers(named)
    for action in actions:
        peers.act(*action)
    counted = [name for members in peers.made.values() for name in members]
    assert len(counted) == len(set(counted))


@settings(max_examples=100)
@example({"a": {"a"}, "b": {"a"}, "c": {"c"}, "d": {"a"}, "e": {"a"}}, [("ask", "a", "c", 0)])
@given(NAMED, ACTIONS)
def test_whatever_happened_before_it_ends_with_one_ring_for_all_that_named_each_other(
    named: dict[str, set[str]], actions: list[tuple[str, str, str, int]]
) -> None:
    peers = Peers(named)
    for action in actions:
        peers.act(*action)
        if peers.made:
            return
    for _ in range(12):
        for name in NAMES:
            if not any(name in members for members in peers.made.values()):
                peers.tick(name)
    assert all(any(members == peers.connected(name) for members in peers.made.values()) for name in NAMES)
    counted = [name for members in peers.made.values() for name in members]
    assert sorted(counted) == sorted(NAMES)
