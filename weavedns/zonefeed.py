"""Publishes what the zone files say as they change, while queries are answered. Never reads a file itself."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable

from weavedns.records.catalog import Catalog, Change
from weavedns.zones import ZoneEvent, ZoneRejected, ZoneWatcher

log = logging.getLogger(__name__)

EVERY_S = 1.0


class ZoneFeed:
    """From the watcher of the files to the catalog; `publish` takes the changes."""

    def __init__(self, watcher: ZoneWatcher, catalog: Catalog, publish: Callable[[list[Change]], None]) -> None:
        self._watcher = watcher
        self._catalog = catalog
        self._publish = publish

    async def follow(self) -> None:
        """Read what has changed again and again, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.read()

    async def read(self) -> None:
        """Publish what has changed since."""
        # Python's collector would look through everything that a large file brings, again and again, and keep
        # queries waiting for a tenth of a second each time. What is frozen it leaves alone.
        gc.disable()
        try:
            events = await self._watcher.poll()
            for event in events:
                await self._take_in(event)
            if events:
                gc.freeze()
        finally:
            gc.enable()

    async def _take_in(self, event: ZoneEvent) -> None:
        """Apply what a zone file says, in slices between which queries are answered."""
        if isinstance(event, ZoneRejected):
            log.error("%s; what the file said before is still served", event.message)
            return
        for part in event.slices():
            self._publish(self._catalog.apply(part))
            await asyncio.sleep(0)
