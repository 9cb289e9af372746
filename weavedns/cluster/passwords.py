"""Follows the password file while the daemon runs, so that a password is changed without a restart.

Never gives up a password for what cannot be read: a file that is missing, empty or malformed changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from weavedns import config
from weavedns.errors import WeaveError
from weavedns.gossip.seal import Keyring

log = logging.getLogger(__name__)

EVERY_S = 1.0


class PasswordFile:
    """One password file; `use` gets the keys of each new content."""

    def __init__(self, path: Path, cluster: str, passwords: tuple[str, ...], use: Callable[[Keyring], None]) -> None:
        self._path = path
        self._cluster = cluster
        self._passwords = passwords
        self._use = use
        self._complaint = ""

    async def follow(self) -> None:
        """Take in what the file says, once a second, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            # Reading may block, and stretching a password takes a tenth of a second.
            keyring = await asyncio.to_thread(self.poll)
            if keyring is not None:
                self._use(keyring)

    def poll(self) -> Keyring | None:
        """The keys, when the file says something new that can be used; what cannot is logged once. Blocks."""
        found: tuple[str, ...] = ()
        keyring, complaint = None, ""
        try:
            found = tuple(config.passwords(None, self._path))
            if found != self._passwords:
                keyring = Keyring.from_passwords(found, self._cluster)
        except WeaveError as exc:
            complaint = str(exc)
        if complaint and complaint != self._complaint:
            log.error("%s; the passwords of before stay valid", complaint)
        self._complaint = complaint
        if keyring is not None:
            self._passwords = found
            log.info("%s: %s", self._path, "one password" if len(found) == 1 else "two passwords are valid")
        return keyring
