"""Sentences about other peers, and what another peer says made fit to stand in one. Sends and logs nothing."""

from __future__ import annotations

from collections.abc import Mapping

# How a reason begins when nobody could be asked; what follows, if anything, says what stood in the way.
UNREACHABLE = "it cannot be reached"
# How much of a setting and of its value is repeated.
_MAX_TERM = 60


def printable(text: str) -> str:
    """What another peer said, to be logged or shown: a line break or an escape sequence in it does nothing there.

    As long as the original, so that a bound of the one is a bound of the other.
    """
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)


def difference(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str:
    """What two peers do not agree on, in words of the one who has `ours`."""
    differing = [each for each in sorted({*theirs, *ours}) if theirs.get(each) != ours.get(each)]
    return f"it has {_list(theirs, differing)}, and this peer {_list(ours, differing)}; all peers need the same"


def _list(terms: Mapping[str, str], named: list[str]) -> str:
    said = ((each[:_MAX_TERM], terms.get(each, "nothing")[:_MAX_TERM]) for each in named)
    return printable(", ".join(f"{term} {value}" for term, value in said))
