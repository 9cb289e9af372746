"""Who has connected and is not talked with: at first everybody, as anybody can connect. Decides who may wait.

A peer that belongs here waits for milliseconds, until its Open is read, or until it has read that it is refused. So
the bounds are small, and what they keep out is tried again. They hurt whoever fills them:

* a source has a few places, whoever else waits;
* when all places are taken, the source with most of them gives one up to a source that has fewer;
* otherwise the newcomer goes, unless the oldest had its time: many peers that come at once, as after a power cut, are
  served in turn, where putting out the oldest each time would let none of them finish.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

MAX_WAITING = 64
MAX_WAITING_A_SOURCE = 8
# Whoever has waited so long may be put out for a newcomer: a peer would have been let in long since, also one whose
# name had to be asked for.
PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class _Guest:
    host: str
    since: float


class Lobby:
    """The streams of others that are not talked with, by number, the oldest first."""

    def __init__(self) -> None:
        self._guests: dict[int, _Guest] = {}

    def __len__(self) -> int:
        return len(self._guests)

    def enter(self, number: int, host: str, now: float) -> tuple[bool, int | None]:
        """Whether a newcomer may wait, and whose stream is to be closed for that."""
        put_out = None
        taken = Counter(guest.host for guest in self._guests.values())
        if taken[host] >= MAX_WAITING_A_SOURCE:
            put_out = self._oldest(now, of=host)
        elif len(self._guests) >= MAX_WAITING:
            ((greediest, most),) = taken.most_common(1)
            # With two more, it still has no fewer than the newcomer's source afterwards.
            fair = most >= taken[host] + 2
            put_out = self._oldest(None if fair else now, of=greediest if fair else None)
        else:
            self._guests[number] = _Guest(host, now)
            return True, None
        if put_out is None:
            return False, None
        del self._guests[put_out]
        self._guests[number] = _Guest(host, now)
        return True, put_out

    def leave(self, number: int) -> None:
        """A stream is over, or is talked with from here on; one that does not wait is no error."""
        self._guests.pop(number, None)

    def _oldest(self, now: float | None, *, of: str | None = None) -> int | None:
        """Who has waited longest, and by `now` long enough, of one source or of all."""
        for number, guest in self._guests.items():
            if of in {None, guest.host}:
                return number if now is None or now - guest.since >= PATIENCE_S else None
        return None
