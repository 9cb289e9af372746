"""Waiting for addresses that other peers are to give. Decides neither who gives nor what is done with them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Interface
from typing import Protocol, TypeVar

from weavenet.errors import NoAddressError
from weavenet.ipam.allocator import Wanted

# How long an attach waits: a person, or Docker, waits with it.
GIVEN_WITHIN_S = 10.0

_R = TypeVar("_R")


class Givers(Protocol):
    """Where addresses come from when this peer owns no free one, as `weavenet.sharing.Sharing`."""

    async def gain(self, wanted: Wanted) -> None:
        """Try once to have addresses given; returns when asking the allocator again may be of use.

        Raises AddressInUseError when the one that was asked for by number is not to be had.
        """
        ...

    def waits_for(self, wanted: Wanted) -> str:
        """Why there are none yet, naming whom it takes, in one sentence."""
        ...

    def claimed(self) -> None:
        """Be told that claims may have changed."""
        ...


class NothingOwnedError(Exception):
    """This peer has to be given addresses first."""

    def __init__(self, wanted: Wanted) -> None:
        super().__init__(wanted)
        self.wanted = wanted


def owned(found: IPv4Interface | Wanted) -> IPv4Interface:
    """What an allocator found; NothingOwnedError when it says whom to ask."""
    if isinstance(found, Wanted):
        raise NothingOwnedError(found)
    return found


async def until_given(givers: Givers | None, attempt: Callable[[], Awaitable[_R]]) -> _R:
    """Make the attempt until it no longer raises NothingOwnedError, having addresses given in between.

    Raises what `gain` raises, and NoAddressError, saying for whom it waited, when none came within `GIVEN_WITHIN_S`.
    """
    deadline = asyncio.get_running_loop().time() + GIVEN_WITHIN_S
    while True:
        try:
            return await attempt()
        except NothingOwnedError as exc:
            wanted = exc.wanted
        if givers is None:
            raise NoAddressError(f"this host owns no free address in {wanted.subnet}")
        try:
            async with asyncio.timeout_at(deadline):
                await givers.gain(wanted)
        except TimeoutError as exc:
            raise NoAddressError(givers.waits_for(wanted)) from exc
