"""Named timers of one owner. Never reads a clock: the owner says what time it is."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

# Its kind, and what it is about.
Name = tuple[Any, ...]
# Cancelled entries stay in the heap until they come up, or until they are more than this many times the live ones.
_SLACK = 4
_SMALL = 64


class Timers:
    """When what is due; setting a name again moves it."""

    def __init__(self) -> None:
        self._due: dict[Name, float] = {}
        self._heap: list[tuple[float, int, Name]] = []
        self._order = count()

    def set(self, name: Name, at: float) -> None:
        """Let `name` be due at `at`."""
        self._due[name] = at
        heappush(self._heap, (at, next(self._order), name))
        if len(self._heap) > _SMALL + _SLACK * len(self._due):
            self._heap = [(when, next(self._order), each) for each, when in self._due.items()]
            heapify(self._heap)

    def cancel(self, name: Name) -> None:
        """Let `name` not be due any more."""
        self._due.pop(name, None)

    def at(self, name: Name) -> float | None:
        """When `name` is due."""
        return self._due.get(name)

    def next(self) -> float | None:
        """When the first is due."""
        while self._heap:
            at, _, name = self._heap[0]
            if self._due.get(name) == at:
                return at
            heappop(self._heap)
        return None

    def pop(self, now: float) -> Name | None:
        """The next name that is due by `now`, which is over with that."""
        at = self.next()
        if at is None or at > now:
            return None
        name = heappop(self._heap)[2]
        del self._due[name]
        return name

    def clear(self) -> None:
        """Let nothing be due any more."""
        self._due.clear()
        self._heap.clear()
