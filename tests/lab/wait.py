"""Waiting on a condition with a deadline, so that no test ever sleeps for a guessed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

FIRST_PAUSE_S = 0.005
LONGEST_PAUSE_S = 0.1


def wait_until(
    condition: Callable[[], T],
    deadline_s: float = 10.0,
    *,
    what: str | Callable[[], str] = "",
    ignore: tuple[type[Exception], ...] = (),
) -> T:
    """The first truthy value of ``condition``; TimeoutError when there is none before the deadline.

    ``what`` says what was waited for, as text or as a function that looks when it is too late. Exceptions named
    in ``ignore`` count as "not yet"; the last of them is the cause of the TimeoutError.
    """
    ends = time.monotonic() + deadline_s
    pause_s = FIRST_PAUSE_S
    while True:
        last: Exception | None = None
        value: T | None = None
        try:
            value = condition()
        except ignore as exc:
            last = exc
        if value:
            return value
        if time.monotonic() >= ends:
            said = what() if callable(what) else what or getattr(condition, "__name__", "the condition")
            raise TimeoutError(f"not within {deadline_s:g} s: {said} (last value: {value!r})") from last
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)
