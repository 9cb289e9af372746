"""The bounded way of events from the engine's thread to the event loop. Never blocks the thread, never grows.

When it overflows, the events in it are given up for one `Resync`: whoever looks at everything needs none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque

from weavedns.containers.events import EngineDown, EngineUp, Event, NetworksChanged, Resync

MAX_EVENTS = 1024


class Backlog:
    """Filled by one thread, emptied by one task of `loop`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int = MAX_EVENTS) -> None:
        self._loop = loop
        self._limit = limit
        self._lock = threading.Lock()
        self._events: deque[Event] = deque()
        self._ended = False
        self._woken = False
        self._ready = asyncio.Event()

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Event) -> None:
        """Append an event, from any thread."""
        with self._lock:
            if isinstance(event, Resync | NetworksChanged) and self._events and self._events[-1] == event:
                return
            self._events.append(event)
            if len(self._events) > self._limit:
                self._overflow()
            self._wake()

    def end(self) -> None:
        """Let `get` return None from now on, from any thread."""
        with self._lock:
            self._ended = True
            self._wake()

    async def get(self) -> Event | None:
        """Wait for the next event; None at the end."""
        while True:
            with self._lock:
                if self._ended:
                    return None
                if self._events:
                    return self._events.popleft()
                self._ready.clear()
                self._woken = False
            await self._ready.wait()

    def _overflow(self) -> None:
        # Whether the engine is there must still be told; what happened at it is found by looking.
        state = next((event for event in reversed(self._events) if isinstance(event, EngineUp | EngineDown)), None)
        self._events.clear()
        if state is not None:
            self._events.append(state)
        self._events.append(Resync("events came faster than they could be handled"))

    def _wake(self) -> None:
        # One wake-up for a run of events: the loop's own queue of callbacks must not grow instead of this one.
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody left to wake
                self._loop.call_soon_threadsafe(self._ready.set)
