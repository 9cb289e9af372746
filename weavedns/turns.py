"""One slice of background work in each round of the event loop, whoever does it: queries wait for one, never for all.

Long work is done in slices of half a millisecond, each after a turn.
"""

from __future__ import annotations

import asyncio


class Turns:
    """Hands out turns in the order in which they were asked for."""

    def __init__(self) -> None:
        self._taken = asyncio.Lock()

    async def take(self) -> None:
        """Wait until a round of the event loop has nobody else's slice in it."""
        async with self._taken:
            await asyncio.sleep(0)
