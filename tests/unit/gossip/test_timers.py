from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weavedns.gossip.timers import Timers


def test_a_timer_that_is_set_again_moves() -> None:
    timers = Timers()
    timers.set(("a",), 1.0)
    timers.set(("b",), 2.0)
    timers.set(("a",), 3.0)
    assert timers.next() == 2.0
    assert timers.pop(1.5) is None
    assert timers.pop(5.0) == ("b",)
    assert timers.pop(5.0) == ("a",)
    assert timers.next() is None


def test_a_cancelled_timer_is_never_due() -> None:
    timers = Timers()
    timers.set(("a",), 1.0)
    timers.cancel(("a",))
    timers.cancel(("a",))
    assert timers.next() is None


def test_moving_a_timer_often_takes_no_memory() -> None:
    timers = Timers()
    for at in range(10_000):
        timers.set(("a",), float(at))
    assert len(timers._heap) < 200
    assert timers.next() == 9_999.0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20), st.booleans())))
def test_timers_come_due_in_order(steps: list[tuple[int, int, bool]]) -> None:
    timers, wanted = Timers(), dict[tuple[int], float]()
    for name, at, keep in steps:
        if keep:
            timers.set((name,), at)
            wanted[name,] = at
        else:
            timers.cancel((name,))
            wanted.pop((name,), None)
    got = []
    while (name_ := timers.pop(100.0)) is not None:
        got.append(wanted.pop(name_))
    assert got == sorted(got)
    assert not wanted
