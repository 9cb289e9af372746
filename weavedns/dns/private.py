"""Names that only some askers have, such as those of the Docker networks that a container is on. Knows none itself.

Whoever does know them, and by which address an asker goes, stands behind `PrivateNames`.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Protocol

# Record data by type. A type that is absent or empty does not exist at that name, which does.
Data = Mapping[int, Sequence[bytes]]


class PrivateNames(Protocol):
    """What the resolver asks; askers are addresses of 4 or 16 bytes, names in wire form and lower case."""

    @property
    def names(self) -> Container[bytes]:
        """Every name that anybody has: a question for another needs no second look, whoever asks."""

    def find(self, asker: bytes, name: bytes) -> Data | None:
        """What the asker has under that name; None when it has no such name."""

    def is_stranger(self, asker: bytes) -> bool:
        """Whether the asker may have names of its own that are not known here."""

    def subdomain_of(self, asker: bytes) -> bytes | None:
        """The part of the domain in which the asker's short names are tried first, if any."""


class NoPrivateNames:
    """Nobody has names of their own."""

    names: Container[bytes] = ()

    def find(self, asker: bytes, name: bytes) -> Data | None:  # noqa: ARG002
        """As `PrivateNames.find`."""
        return None

    def is_stranger(self, asker: bytes) -> bool:  # noqa: ARG002
        """As `PrivateNames.is_stranger`."""
        return False

    def subdomain_of(self, asker: bytes) -> bytes | None:  # noqa: ARG002
        """As `PrivateNames.subdomain_of`."""
        return None
