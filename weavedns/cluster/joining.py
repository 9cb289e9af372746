"""Those who wait for an answer of peers that they join by hand. Dials nobody itself."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from weavedns.cluster.words import where
from weavedns.errors import PeerError
from weavedns.gossip.events import Address

JOIN_S = 8.0


class Joining:
    """All that wait at this moment; `dial` begins to join an address, and what becomes of that is told here."""

    def __init__(self, dial: Callable[[Address], None]) -> None:
        self._dial = dial
        # Several may wait for one address.
        self._waiting: list[tuple[Address, asyncio.Future[None]]] = []

    async def join(self, addresses: Sequence[Address]) -> None:
        """Join all of them, and wait for their answers; raises PeerError with what became of those that failed."""
        told = await asyncio.gather(*map(self._join, dict.fromkeys(addresses)), return_exceptions=True)
        failed = [each for each in told if each is not None]
        for each in failed:
            if not isinstance(each, PeerError):
                raise each
        if failed:
            raise PeerError("; ".join(dict.fromkeys(map(str, failed))))

    def joined(self, addr: Address) -> None:
        """The peer at an address let this one in."""
        for waiting in self._of(addr):
            waiting.set_result(None)

    def failed(self, addr: Address, why: str) -> None:
        """The peer at an address did not, or there is none."""
        for waiting in self._of(addr):
            waiting.set_exception(PeerError(why))

    def _of(self, addr: Address) -> list[asyncio.Future[None]]:
        return [waiting for joining, waiting in self._waiting if joining == addr and not waiting.done()]

    async def _join(self, address: Address) -> None:
        addr = await _numeric(address)
        entry = addr, asyncio.get_running_loop().create_future()
        self._waiting.append(entry)
        try:
            self._dial(addr)
            async with asyncio.timeout(JOIN_S):
                await entry[1]
        except TimeoutError:
            raise PeerError(f"{where(addr)} does not answer; it is tried again and again") from None
        finally:
            self._waiting.remove(entry)


async def _numeric(addr: Address) -> Address:
    """The address with its host as a number; raises PeerError."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(addr[0], addr[1], family=socket.AF_INET)
    except OSError as exc:
        raise PeerError(f"no host {addr[0]} is known: {exc.strerror}; give its address") from exc
    return str(found[0][4][0]), addr[1]
