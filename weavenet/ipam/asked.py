"""Addresses that containers here asked for by number while another peer owned them. Never decides who gets one.

From the question to the owner on, such an address waits for the one container: an owner that gives it away must not
see it go to whoever comes next.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

# An answer is had sooner, and the container attached.
WAITS_S = 10.0


@dataclass(frozen=True, slots=True)
class Asked:
    """For whom an address waits, and until when; `settled` once its owner was asked, or cannot be."""

    holder: str
    name: str
    until: float
    settled: bool = False


class AskedFor:
    """The table of them; each is dropped after `WAITS_S` seconds."""

    def __init__(self) -> None:
        self._asked: dict[int, Asked] = {}

    def add(self, number: int, holder: str, name: str, now: float) -> None:
        """An owner is to be asked for an address."""
        self._asked[number] = Asked(holder, name, now + WAITS_S)

    def settle(self, number: int) -> None:
        """There is nobody left to ask: whoever asked may have it now."""
        if number in self._asked:
            self._asked[number] = replace(self._asked[number], settled=True)

    def on(self, number: int, now: float) -> Asked | None:
        """For whom an address waits."""
        asked = self._asked.get(number)
        return asked if asked is not None and asked.until > now else None

    def numbers(self, now: float) -> Collection[int]:
        """Every address that waits for somebody."""
        self._asked = {number: each for number, each in self._asked.items() if each.until > now}
        return self._asked.keys()

    def drop(self, number: int) -> None:
        """Nobody wants an address any more."""
        self._asked.pop(number, None)

    def drop_holder(self, holder: str) -> None:
        """A container is no more."""
        self._asked = {number: each for number, each in self._asked.items() if each.holder != holder}
