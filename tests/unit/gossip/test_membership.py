"""What a statement changes: the table of docs/protocol.md, row by row."""

from __future__ import annotations

import pytest

from weavedns.gossip.membership import Members, Move
from weavedns.gossip.message import MAX_INCARNATION, Alive, Dead, Leave, State, Statement, Suspect
from weavedns.gossip.profile import FAST

# The peer is known with this incarnation and rebuttal.
INCARNATION, REBUTTAL = 5, 3


def alive(incarnation: int = INCARNATION, rebuttal: int = REBUTTAL, name: str = "h1") -> Alive:
    return Alive(name, "10.0.0.1", 6783, incarnation, 7, rebuttal)


def suspect(
    incarnation: int = INCARNATION, rebuttal: int = REBUTTAL, accuser: str = "h2", name: str = "h1"
) -> Suspect:
    return Suspect(name, incarnation, rebuttal, accuser)


def dead(incarnation: int = INCARNATION, rebuttal: int = REBUTTAL, name: str = "h1") -> Dead:
    return Dead(name, incarnation, rebuttal, "h2")


def say(members: Members, said: Statement, now: float = 0.0) -> Move | None:
    match said:
        case Alive():
            moved = members.on_alive(said, now)
        case Suspect():
            moved = members.on_suspect(said, now)
        case Dead():
            moved = members.on_dead(said, now)
        case Leave():
            moved = members.on_leave(said, now)
    return moved.move if moved else None


def members_with(state: State) -> Members:
    members = Members("me", FAST)
    for name in ("h1", "h2", "h3"):
        say(members, alive(name=name))
    if state is State.SUSPECT:
        say(members, suspect())
    elif state is State.DEAD:
        say(members, dead())
    return members


A, S, D = State.ALIVE, State.SUSPECT, State.DEAD


@pytest.mark.parametrize(
    ("before", "said", "move", "after"),
    [
        (A, alive(), None, A),
        (A, alive(rebuttal=2), None, A),
        (A, alive(4, 9), None, A),
        (S, alive(), None, S),
        (S, alive(rebuttal=4), Move.CLEARED, A),
        (S, alive(6, 0), Move.RESTARTED, A),
        (D, alive(), None, D),
        (D, alive(rebuttal=4), Move.RETURNED, A),
        (D, alive(6, 0), Move.RESTARTED, A),
        (A, suspect(), Move.SUSPECTED, S),
        (A, suspect(rebuttal=4), Move.SUSPECTED, S),
        (A, suspect(rebuttal=2), None, A),
        (A, suspect(4, 9), None, A),
        (A, suspect(6, 0), None, A),
        (S, suspect(), None, S),
        (S, suspect(accuser="h3"), Move.CONFIRMED, S),
        (D, suspect(rebuttal=4), None, D),
        (A, dead(), Move.DIED, D),
        (S, dead(rebuttal=4), Move.DIED, D),
        (A, dead(rebuttal=2), None, A),
        (S, dead(rebuttal=2), None, S),
        (A, dead(4, 9), None, A),
        (A, dead(6, 0), None, A),
        (D, dead(rebuttal=4), None, D),
        (A, Leave("h1", 4), None, A),
        (A, Leave("h1", 5), Move.LEFT, None),
        (D, Leave("h1", 6), Move.LEFT, None),
    ],
)
def test_a_statement_takes_effect_when_it_is_news(
    before: State, said: Statement, move: Move | None, after: State | None
) -> None:
    members = members_with(before)
    assert say(members, said) is move
    peer = members.get("h1")
    assert (peer.state if peer else None) is after


@pytest.mark.parametrize("said", [suspect(name="new"), dead(name="new"), Leave("new", 9)])
def test_somebody_unknown_is_taken_in_by_alive_alone(said: Statement) -> None:
    members = members_with(A)
    assert say(members, said) is None
    assert members.get("new") is None
    assert say(members, alive(name="new")) is Move.JOINED


def test_who_is_buried_comes_back_as_a_higher_incarnation_only() -> None:
    members = members_with(A)
    say(members, Leave("h1", 5))
    assert say(members, alive(5, 9)) is None
    assert say(members, alive(6, 0)) is Move.JOINED
    assert members.grave("h1") is None


def test_who_left_in_a_later_life_than_was_known_is_buried_with_that_one() -> None:
    members = members_with(A)
    assert say(members, Leave("h1", 8)) is Move.LEFT
    assert say(members, alive(8, 9)) is None
    # The end of a life of which nothing else was heard.
    assert say(members, Leave("h1", 9)) is None
    assert say(members, Leave("h1", 7)) is None
    assert say(members, alive(9, 0)) is None
    assert say(members, alive(10, 0)) is Move.JOINED


def test_nobody_is_buried_with_an_incarnation_above_which_there_is_none() -> None:
    members = members_with(A)
    assert say(members, Leave("h1", MAX_INCARNATION + 1)) is None
    assert members.get("h1") is not None
    say(members, Leave("h1", 5))
    assert say(members, Leave("h1", MAX_INCARNATION + 1)) is None
    assert say(members, alive(6, 0)) is Move.JOINED


def test_the_more_agree_the_sooner_a_suspect_is_believed_dead() -> None:
    members = members_with(S)
    peer = members.get("h1")
    assert peer is not None
    assert peer.suspicion is not None
    alone = peer.suspicion.until
    say(members, suspect(accuser="h3"))
    assert FAST.suspicion_floor_s <= peer.suspicion.until < alone
