from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weavedns.gossip.lobby import MAX_WAITING, MAX_WAITING_A_SOURCE, PATIENCE_S, Lobby


def filled(*sources: tuple[str, int]) -> Lobby:
    """Who waits since 0, by source and number, numbered from 1."""
    lobby, number = Lobby(), 0
    for host, count in sources:
        for _ in range(count):
            number += 1
            assert lobby.enter(number, host, 0.0) == (True, None)
    return lobby


def test_a_source_over_its_share_gets_in_for_its_own_oldest_that_had_its_time() -> None:
    lobby = filled(("a", 1), ("b", MAX_WAITING_A_SOURCE))
    assert lobby.enter(90, "b", 0.1) == (False, None)
    assert lobby.enter(91, "b", PATIENCE_S) == (True, 2)
    lobby.leave(91)
    assert lobby.enter(92, "b", PATIENCE_S) == (True, None)


def test_when_it_is_full_the_source_with_most_gives_way_at_once() -> None:
    lobby = filled(("a", 1), *((f"b{each}", 7) for each in range(9)))
    assert len(lobby) == MAX_WAITING
    assert lobby.enter(90, "c", 0.1) == (True, 2)
    assert len(lobby) == MAX_WAITING


def test_among_equals_the_newcomer_goes_until_the_oldest_had_its_time() -> None:
    lobby = filled(*((f"a{each}", 1) for each in range(MAX_WAITING)))
    assert lobby.enter(90, "c", 0.1) == (False, None)
    assert lobby.enter(91, "a3", 0.1) == (False, None)
    assert lobby.enter(92, "c", PATIENCE_S) == (True, 1)


@given(st.lists(st.tuples(st.sampled_from("abcdefghijklmnop"), st.floats(0, 0.3), st.booleans())))
def test_it_is_never_over_its_bounds(steps: list[tuple[str, float, bool]]) -> None:
    lobby, now, inside = Lobby(), 0.0, dict[int, str]()
    for number, (host, wait_s, one_leaves) in enumerate(steps):
        now += wait_s
        admitted, put_out = lobby.enter(number, host, now)
        if put_out is not None:
            del inside[put_out]
        if admitted:
            inside[number] = host
        if one_leaves and inside:
            gone = next(iter(inside))
            lobby.leave(gone)
            del inside[gone]
        assert len(lobby) == len(inside) <= MAX_WAITING
        assert all(list(inside.values()).count(each) <= MAX_WAITING_A_SOURCE for each in inside.values())
