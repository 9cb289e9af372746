"""One slice of background work in each round of the event loop, whoever does it: queries wait for one, never for all.

A slice ends by the clock, as the same work takes three times as long when queries have had the processor's caches.
"""

from __future__ import annotations

import asyncio
import time

# While one lasts, as many queries come as take about as long to answer: whoever asks waits for two of them at most.
SLICE_S = 0.0003
# Between two slices of the same work may be a trip to another peer.
_LULL_S = 0.01


class Turns:
    """Hands out turns in the order in which they were asked for."""

    def __init__(self) -> None:
        self._taken = asyncio.Lock()
        self._busy_until = 0.0

    def busy(self) -> bool:
        """Whether there is background work, or was until a moment ago."""
        return self._taken.locked() or time.perf_counter() < self._busy_until

    async def take(self) -> float:
        """Wait until a round of the event loop has nobody else's slice in it; when to take the next turn.

        That is by the clock of `time.perf_counter`, in seconds.
        """
        async with self._taken:
            await asyncio.sleep(0)
        now = time.perf_counter()
        self._busy_until = now + _LULL_S
        return now + SLICE_S
