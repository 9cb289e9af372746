from __future__ import annotations

import asyncio
import threading
import time

from weavedns.turns import SLICE_S, Turns


async def test_a_round_of_the_event_loop_has_one_slice_whoever_does_it() -> None:
    turns, rounds = Turns(), 0
    taken: list[tuple[str, int]] = []

    async def work(name: str) -> None:
        for _ in range(10):
            await turns.take()
            taken.append((name, rounds))

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await asyncio.gather(work("one"), work("two"))
    counting.cancel()
    assert len({at for _, at in taken}) == len(taken) == 20
    # In turn, and not one after the other.
    assert [name for name, _ in taken[:4]] == ["one", "two", "one", "two"]


async def test_queries_that_wait_are_answered_before_a_slice_begins() -> None:
    left = [True, False, True, True, True, True]
    answered: list[bool] = []

    def answer() -> bool:
        answered.append(left[len(answered)])
        return answered[-1]

    turns = Turns(answer)
    await turns.take()
    assert answered == [True, False]
    # Whatever waits: background work has to get on.
    await turns.take()
    assert answered == [True, False, True, True, True]


async def test_a_turn_says_when_the_next_one_is_due_and_that_there_is_work() -> None:
    turns = Turns()
    assert not turns.busy()
    ends = await turns.take()
    assert 0 < ends - time.perf_counter() <= SLICE_S
    assert turns.busy()


async def test_a_thread_gets_on_beside_work_that_never_waits() -> None:
    turns, steps = Turns(), 0
    done = threading.Event()

    def step() -> None:
        nonlocal steps
        while not done.is_set():
            steps += 1
            time.sleep(0)

    thread = threading.Thread(target=step)
    thread.start()
    async with asyncio.timeout(20):
        while steps < 100:
            ends = await turns.take()
            while time.perf_counter() < ends:
                pass
    done.set()
    thread.join()
