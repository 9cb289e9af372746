"""Where other peers were, kept on disk for the next launch: a hint, so whatever is wrong with it is left out.

Never decides who is a peer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from weavedns.gossip.events import Address

# One that answers leads to all the others.
MAX_REMEMBERED = 64
_MAX_BYTES = 64 * 1024
_MAX_PORT = 65535
_HEADER = "# Where other peers were, for the next launch; 'weavedns forget' takes one out.\n"

log = logging.getLogger(__name__)


class RememberedPeers:
    """The file: one ``address port`` a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved: tuple[Address, ...] | None = None

    async def load(self) -> tuple[Address, ...]:
        """Read what was kept; nothing when it cannot be read, and no line that is not as it should be."""
        self._saved = await asyncio.to_thread(self._load)
        return self._saved

    async def save(self, addresses: Iterable[Address]) -> None:
        """Make these what is kept, unless they are; what cannot be written is told in the log once."""
        wanted = tuple(sorted({addr for addr in addresses if _read(f"{addr[0]} {addr[1]}")}))[:MAX_REMEMBERED]
        if wanted != self._saved:
            self._saved = wanted
            await asyncio.to_thread(self._save, wanted)

    def _load(self) -> tuple[Address, ...]:
        try:
            with self._path.open("rb") as file:
                lines = file.read(_MAX_BYTES).decode(errors="replace").splitlines()
        except FileNotFoundError:
            return ()
        except OSError as exc:
            log.warning("cannot read %s, where other peers were: %s", self._path, exc.strerror)
            return ()
        lines = [line for line in lines if line.strip() and not line.startswith("#")]
        found = [addr for addr in map(_read, lines) if addr is not None]
        if len(found) < len(lines):
            log.warning("%s: %d lines are no address and port of a peer", self._path, len(lines) - len(found))
        return tuple(dict.fromkeys(found))[:MAX_REMEMBERED]

    def _save(self, addresses: tuple[Address, ...]) -> None:
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(_HEADER + "".join(f"{host} {port}\n" for host, port in addresses))
            fresh.replace(self._path)
        except OSError as exc:
            with contextlib.suppress(OSError):
                fresh.unlink()
            log.warning("cannot write %s, where other peers were: %s", self._path, exc.strerror)


def _read(line: str) -> Address | None:
    host, _, port = line.strip().partition(" ")
    try:
        address = IPv4Address(host)
    except AddressValueError:
        return None
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= _MAX_PORT) or address.is_unspecified:
        return None
    return str(address), int(port)
