"""Has an address that was asked for by number given by the peer that owns it, so that nobody else ever gives it out.

Where the owner cannot be asked the claim alone has to do, until it can. Holds no rule about who may have what.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from ipaddress import IPv4Address

from weavenet.errors import AddressInUseError, PeerError, RingError, TakenElsewhereError
from weavenet.ipam import wire
from weavenet.ringkeeper import RingKeeper

# A peer that was killed just now counts as there for so long, and a person waits.
ANSWERED_WITHIN_S = 3.0
RETRY_S = 0.5
STRAYS_EVERY_S = 5.0
# What is asked for afterwards is little, or comes little by little.
AT_ONCE = 8


class ByNumber:
    """One peer's asking; `ask` puts a question to a peer and takes in what it answers."""

    def __init__(
        self,
        keeper: RingKeeper,
        live: Callable[[], Collection[str]],
        ask: Callable[[str, wire.Question], Awaitable[object]],
    ) -> None:
        self._keeper = keeper
        self._live = live
        self._ask = ask
        self._turn = 0
        self._strays_at = 0.0

    async def gain(self, address: IPv4Address) -> None:
        """Ask the owner of an address; then the allocator will claim it, whether it was given or nobody is there.

        Raises AddressInUseError when the owner says that somebody has it.
        """
        number, asked = int(address), self._keeper.allocator.asked
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWERED_WITHIN_S):
                    await self._have_given(number)
        except BaseException:
            asked.drop(number)
            raise
        asked.settle(number)

    async def gain_strays(self, now: float) -> None:
        """Now and then ask for addresses in use here that are another's, as those claimed without their owner are."""
        if now < self._strays_at:
            return
        self._strays_at = now + STRAYS_EVERY_S
        live = self._live()
        strays = [(number, owner) for number, owner in self._keeper.allocator.strays() if owner in live]
        # Not always the same: some are refused each time.
        begin = self._turn % len(strays) if strays else 0
        for number, owner in (strays[begin:] + strays[:begin])[:AT_ONCE]:
            self._turn += 1
            try:
                await self._ask_for(number, owner)
            except PeerError:
                return
            except RingError:
                continue

    async def _have_given(self, number: int) -> None:
        answered: set[str] = set()
        while (owner := self._keeper.allocator.owner_elsewhere(number)) in self._live() and owner not in answered:
            try:
                await self._ask_for(number, owner)
                answered.add(owner)
            except TakenElsewhereError as exc:
                raise AddressInUseError(str(exc)) from exc
            except (PeerError, RingError):
                await asyncio.sleep(RETRY_S)

    async def _ask_for(self, number: int, owner: str) -> None:
        known = await self._keeper.of_address(number)
        await self._ask(owner, wire.AskAddress(known, self._keeper.me.life, number))
