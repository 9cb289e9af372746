"""One slice of background work in each round of the event loop, whoever does it: queries wait for one, never for all.

A slice ends by the clock, as the same work takes three times as long when queries have had the processor's caches.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

# While one lasts, as many queries come as take about as long to answer: whoever asks waits for two of them at most.
SLICE_S = 0.0002
# Between two slices of the same work may be a trip to another peer.
_LULL_S = 0.01
# As short as a sleep can be. Threads that write to disk, say, wait for a processor and then for the interpreter, and
# on a single core get neither from one that never sleeps: to save a change took a second beside a snapshot.
_BREATH_S = 0.000001
_BREATHE_EVERY_S = 0.001
# Whoever is behind with queries catches up first, but background work has to get on under any load.
_MAX_ROUNDS = 3


def stand_aside() -> None:
    """Let whoever waits have processor and interpreter: threads share one, and the kernel may take turns of 4 ms."""
    time.sleep(_BREATH_S)


class Turns:
    """Hands out turns in the order in which they were asked for.

    `answer` answers queries that wait, and says whether it left some.
    """

    def __init__(self, answer: Callable[[], bool] = lambda: False) -> None:
        self._answer = answer
        self._taken = asyncio.Lock()
        self._busy_until = 0.0
        self._breathes_at = 0.0

    def busy(self) -> bool:
        """Whether there is background work, or was until a moment ago."""
        return self._taken.locked() or time.perf_counter() < self._busy_until

    async def take(self) -> float:
        """Wait until a round of the event loop has nobody else's slice in it; when to take the next turn.

        That is by the clock of `time.perf_counter`, in seconds.
        """
        async with self._taken:
            for _ in range(_MAX_ROUNDS):
                await asyncio.sleep(0)
                if not self._answer():
                    break
        now = time.perf_counter()
        if now >= self._breathes_at:
            stand_aside()
            now = time.perf_counter()
            self._breathes_at = now + _BREATHE_EVERY_S
        self._busy_until = now + _LULL_S
        return now + SLICE_S
