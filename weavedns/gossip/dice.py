"""Randomness as it is handed in: `random.Random` in a simulation, `random.SystemRandom` where keys depend on it."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Dice(Protocol):
    """The part of `random.Random` that is used."""

    def random(self) -> float:
        """A number from 0 up to 1."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """A number of `k` bits."""
        ...

    def randbytes(self, n: int) -> bytes:
        """So many bytes."""
        ...

    def choice(self, seq: Sequence[T]) -> T:
        """One of these."""
        ...

    def shuffle(self, x: MutableSequence[Any]) -> None:
        """Put these in any order."""
        ...
