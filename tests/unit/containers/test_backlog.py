"""The way from the engine's thread to the loop."""

import asyncio
import threading

from weavedns.containers.backlog import Backlog
from weavedns.containers.events import (
    ContainerDied,
    ContainerStarted,
    EngineDown,
    EngineUp,
    Event,
    NetworksChanged,
    Resync,
)


def backlog(limit: int = 4) -> Backlog:
    return Backlog(asyncio.get_running_loop(), limit)


async def drain(given: Backlog) -> list[Event]:
    found = []
    while len(given):
        event = await given.get()
        assert event is not None
        found.append(event)
    return found


def started(number: int) -> ContainerStarted:
    return ContainerStarted(str(number), number)


async def test_events_come_in_order() -> None:
    given = backlog()
    events: list[Event] = [EngineUp(), started(1), ContainerDied("1", 2)]
    for event in events:
        given.put(event)

    assert await drain(given) == events


async def test_an_event_from_a_thread_wakes_the_waiting_task() -> None:
    given = backlog()
    waiting = asyncio.create_task(given.get())
    await asyncio.sleep(0)
    thread = threading.Thread(target=given.put, args=(started(1),))
    thread.start()

    assert await asyncio.wait_for(waiting, 5) == started(1)
    thread.join()


async def test_many_threads_lose_nothing_that_fits() -> None:
    given = backlog(limit=4000)

    def put_all(numbers: range) -> None:
        for number in numbers:
            given.put(started(number))

    threads = [threading.Thread(target=put_all, args=(range(at, at + 500),)) for at in range(0, 4000, 500)]
    for thread in threads:
        thread.start()
    async with asyncio.timeout(10):
        found = [await given.get() for _ in range(4000)]

    assert {event.time_ns for event in found if isinstance(event, ContainerStarted)} == set(range(4000))


async def test_an_overflow_becomes_one_look_at_everything_with_what_came_after_it() -> None:
    given = backlog(limit=4)
    for number in range(5):
        given.put(started(number))
    given.put(started(99))

    found = await drain(given)

    assert isinstance(found[0], Resync)
    assert found[1:] == [started(99)]


async def test_an_overflow_still_tells_whether_the_engine_is_there() -> None:
    given = backlog(limit=4)
    for event in (EngineUp(), EngineDown("gone"), started(1), started(2), started(3)):
        given.put(event)

    found = await drain(given)

    assert found[0] == EngineDown("gone")
    assert isinstance(found[1], Resync)


async def test_it_never_grows_past_its_bound() -> None:
    given = backlog(limit=4)
    for number in range(10_000):
        given.put(started(number))
        assert len(given) <= 4


async def test_the_same_news_in_a_row_is_told_once() -> None:
    given = backlog()
    for event in (NetworksChanged(), NetworksChanged(), Resync("x"), Resync("x"), NetworksChanged()):
        given.put(event)

    assert await drain(given) == [NetworksChanged(), Resync("x"), NetworksChanged()]


async def test_the_end_wakes_the_waiting_task_and_stays() -> None:
    given = backlog()
    waiting = asyncio.create_task(given.get())
    await asyncio.sleep(0)

    given.end()
    given.put(started(1))

    assert await asyncio.wait_for(waiting, 5) is None
    assert await given.get() is None


def test_a_closed_loop_is_no_trouble_for_the_thread() -> None:
    loop = asyncio.new_event_loop()
    given = Backlog(loop)
    loop.close()

    given.put(started(1))
    given.end()
