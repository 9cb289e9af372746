"""Who owns which stretch of the weave range, as far as this peer has heard. Never knows which addresses are in use.

What is known of an address is its owner and a rank. Only the owner writes the next rank, once, by giving the address
away; of two things heard about an address the higher rank is true. So merging is the maximum, address by address:
the order, repetition and loss of what is heard do not matter, and an owner that is cut off from everybody still knows
what it owns. All of that rests on an owner that never forgets a gift: whoever holds a `Ring` makes `update()` durable
before anybody is told of a gift, and starts a new life, which owns nothing, when it has lost that.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from weavenet.errors import ForeignRingError, RingError
from weavenet.ipam.runs import Run, less

# Far more than there are peers; it bounds memory and the size of an encoded ring.
MAX_STRETCHES = 8192
# From here on none is cut for a single address, so that shares can always be given.
MAX_PIECES_BY_NUMBER = MAX_STRETCHES // 2
MAX_RANK = 2**31 - 1


class Owner(NamedTuple):
    """A peer in one of its lives: it has a new one when it has lost what it must never forget."""

    name: str
    life: str

    def __str__(self) -> str:
        return self.name


class Rank(NamedTuple):
    """How late something was decided: a takeover beats what its predecessor still did, then the version counts.

    `taker` makes the order total when two peers take over the same stretch at once; it is "" before any takeover.
    """

    takeovers: int = 0
    taker: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True)
class Stretch:
    """Addresses `first` to `last`, as numbers, with what is known of each of them."""

    first: int
    last: int
    owner: Owner
    rank: Rank

    def part(self, first: int, last: int) -> Stretch:
        """The same knowledge about a part of these addresses."""
        if (first, last) == (self.first, self.last):
            return self
        return Stretch(first, last, self.owner, self.rank)

    def __str__(self) -> str:
        return f"{IPv4Address(self.first)}-{IPv4Address(self.last)}"


@dataclass(frozen=True, slots=True)
class Update:
    """Some or all of what a peer knows of the ring named `ring_id`: stretches in order, none overlapping another."""

    ring_id: str
    stretches: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge did: whether anything was new, which own stretches went to others, what was rejected and why."""

    changed: bool = False
    lost: tuple[Stretch, ...] = ()
    conflicts: tuple[str, ...] = ()


def founder(ring_id: str) -> str:
    """The peer that made a ring, out of the ring's name, which is ``PEER/anything``."""
    return ring_id.rpartition("/")[0]


class Ring:
    """One peer's knowledge of the ring; empty until it is founded, seeded or heard of."""

    def __init__(self, weave_range: IPv4Network, me: Owner) -> None:
        self.me = me
        self.ring_id = ""
        self._first, self._last = int(weave_range.network_address), int(weave_range.broadcast_address)
        self._stretches: list[Stretch] = []

    def __bool__(self) -> bool:
        return bool(self._stretches)

    @property
    def pieces(self) -> int:
        """In how many stretches the range is."""
        return len(self._stretches)

    @property
    def complete(self) -> bool:
        """Whether the owner of every address of the range is known."""
        return sum(each.last - each.first + 1 for each in self._stretches) == self._last - self._first + 1

    def seed(self, ring_id: str, owners: Iterable[Owner], apart: Sequence[Run] = ()) -> None:
        """Make the ring: what is `apart`, and the rest of the range, are each split equally in the owners' order.

        `ring_id` is unlike that of any other ring. Raises RingError when there is a ring already.
        """
        if self:
            raise RingError(f"the addresses are shared out already, by {founder(self.ring_id)}")
        shares = sorted(set(owners))
        cut = [*apart, *less([(self._first, self._last)], apart)]
        found = [share for run in cut for share in _split(run, shares)]
        self._stretches = _coalesced(sorted(found, key=lambda each: each.first))
        self.ring_id = ring_id

    def give(self, to: Owner, runs: Iterable[Run]) -> None:
        """Give addresses of one's own to another, who owns them from then on; RingError when they are not."""
        gifts: list[Stretch] = []
        for first, last in runs:
            covered = list(self._within(first, last))
            if not _covers(covered, first, last) or any(each.owner != self.me for each in covered):
                raise RingError(f"{IPv4Address(first)}-{IPv4Address(last)} is not {self.me}'s to give")
            gifts += [_next(each, to) for each in covered]
        self._put(gifts)

    def take_over(self, name: str) -> tuple[Stretch, ...]:
        """Inherit all that a peer of that name is known to own in whatever life; what that was.

        Safe when the peer never returns and all that it gave away is known here. Raises RingError for nothing.
        """
        left = tuple(each for each in self._stretches if each.owner.name == name and each.owner != self.me)
        if not left and name == self.me.name:
            raise RingError(f"{name} is this peer, and has all that it ever owned")
        if not left:
            raise RingError(f"no peer named {name} is known to own addresses; 'weavenet status' lists those that do")
        taker = f"{self.me.name}/{self.me.life}"
        taken = [Stretch(each.first, each.last, self.me, Rank(each.rank.takeovers + 1, taker)) for each in left]
        self._put(taken)
        return left

    def abandon(self) -> None:
        """Forget a ring of which one peer owns everything, this one or another; RingError when it is shared out."""
        if not self.alone:
            raise RingError("others own parts of these addresses: the ring cannot be abandoned")
        self._stretches = []
        self.ring_id = ""

    @property
    def alone(self) -> bool:
        """Whether one peer owns everything: if this one, it never gave anything away, else it never got anything."""
        return self.is_alone(self.update())

    def covers(self, update: Update) -> bool:
        """Whether all of an update is about addresses of this range."""
        return all(self._first <= each.first and each.last <= self._last for each in update.stretches)

    def is_alone(self, update: Update) -> bool:
        """Whether an update says that one peer owns every address of the range."""
        size = sum(each.last - each.first + 1 for each in update.stretches)
        return size == self._last - self._first + 1 and len({each.owner for each in update.stretches}) == 1

    def merge(self, update: Update) -> Merged:
        """Learn what another peer knows. Raises ForeignRingError, and then nothing has changed.

        What contradicts something of the same rank is left out and told; the rest is taken.
        """
        if not update.stretches or update.ring_id == "":
            return Merged()
        if (self.ring_id, tuple(self._stretches)) == (update.ring_id, update.stretches):
            return Merged()
        self._refuse_outside(update.stretches)
        if self.ring_id not in {"", update.ring_id}:
            raise ForeignRingError(
                f"two groups of peers share out addresses, one founded by {founder(self.ring_id)} and one by "
                f"{founder(update.ring_id)}: launch the peers of one group anew, without what they remember"
            )
        new: list[Stretch] = []
        lost: list[Stretch] = []
        conflicts: list[str] = []
        for theirs in update.stretches:
            for ours, part in self._compare(theirs):
                if ours is None or part.rank > ours.rank:
                    new.append(part)
                    if ours is not None and ours.owner == self.me != part.owner:
                        lost.append(part)
                elif part.rank == ours.rank and part.owner != ours.owner:
                    conflicts.append(f"{part} is said to be {_told(part.owner)}'s and {_told(ours.owner)}'s")
        self._put(new)
        self.ring_id = update.ring_id
        return Merged(bool(new), tuple(lost), tuple(conflicts))

    def update(self) -> Update:
        """All that is known here."""
        return Update(self.ring_id, tuple(self._stretches))

    def of_address(self, number: int) -> Update:
        """What is known of one address."""
        return Update(self.ring_id, tuple(self._within(number, number)))

    def own_update(self) -> Update:
        """What this peer owns: what it is to tell the others regularly."""
        return Update(self.ring_id, tuple(each for each in self._stretches if each.owner == self.me))

    def owned(self, runs: Iterable[Run], owner: Owner | None = None) -> list[Run]:
        """The parts of some addresses that this peer, or another, owns, in the order of `runs`."""
        wanted = owner or self.me
        return [
            (each.first, each.last)
            for first, last in runs
            for each in self._within(first, last)
            if each.owner == wanted
        ]

    def owners(self, runs: Iterable[Run]) -> list[tuple[Owner, Run]]:
        """Who owns the parts of some addresses, in the order of `runs`."""
        return [(each.owner, (each.first, each.last)) for first, last in runs for each in self._within(first, last)]

    def _compare(self, theirs: Stretch) -> Iterator[tuple[Stretch | None, Stretch]]:
        """Cut a stretch that was heard of along what is known: each part with what is known of it."""
        at = theirs.first
        for ours in self._within(theirs.first, theirs.last):
            if ours.first > at:
                yield None, theirs.part(at, ours.first - 1)
            yield ours, theirs.part(ours.first, ours.last)
            at = ours.last + 1
        if at <= theirs.last:
            yield None, theirs.part(at, theirs.last)

    def _within(self, first: int, last: int) -> Iterator[Stretch]:
        """What is known of addresses `first` to `last`, cut to these."""
        start, end = self._span(first, last)
        for each in self._stretches[start:end]:
            yield each.part(max(each.first, first), min(each.last, last))

    def _span(self, first: int, last: int) -> tuple[int, int]:
        start = bisect_left(self._stretches, first, key=lambda each: each.last)
        return start, bisect_right(self._stretches, last, key=lambda each: each.first)

    def _put(self, new: Sequence[Stretch]) -> None:
        """Replace what was known of some addresses; RingError when it would be too much, and nothing has changed."""
        before = list(self._stretches)
        for each in new:
            start, end = self._span(each.first, each.last)
            old = self._stretches[start:end]
            left = [old[0].part(old[0].first, each.first - 1)] if old and old[0].first < each.first else []
            right = [old[-1].part(each.last + 1, old[-1].last)] if old and old[-1].last > each.last else []
            # The neighbours too: they may be of one piece with it now.
            start, end = max(start - 1, 0), end + 1
            around = self._stretches[start:end]
            kept = [one for one in around if one.last < each.first or one.first > each.last]
            pieces = sorted([*kept, *left, each, *right], key=lambda one: one.first)
            self._stretches[start:end] = _coalesced(pieces)
        if len(self._stretches) > MAX_STRETCHES:
            self._stretches = before
            raise RingError(f"the ring would have more than {MAX_STRETCHES} stretches")

    def _refuse_outside(self, stretches: Sequence[Stretch]) -> None:
        outside = next((each for each in stretches if each.first < self._first or each.last > self._last), None)
        if outside is not None:
            raise ForeignRingError(
                f"another peer shares out {outside}, which is not in this peer's range "
                f"{IPv4Address(self._first)}-{IPv4Address(self._last)}: give all peers the same --range"
            )


def _next(stretch: Stretch, owner: Owner) -> Stretch:
    rank = stretch.rank._replace(version=stretch.rank.version + 1)
    if rank.version > MAX_RANK:
        raise RingError(f"{stretch} has changed hands too often")
    return Stretch(stretch.first, stretch.last, owner, rank)


def _split(run: Run, owners: Sequence[Owner]) -> Iterator[Stretch]:
    first, last = run
    size, count = last - first + 1, len(owners)
    for n, owner in enumerate(owners):
        start, end = first + size * n // count, first + size * (n + 1) // count
        if start < end:
            yield Stretch(start, end - 1, owner, Rank())


def _coalesced(stretches: Iterable[Stretch]) -> list[Stretch]:
    joined: list[Stretch] = []
    for each in stretches:
        before = joined[-1] if joined else None
        if before and (before.last + 1, before.owner, before.rank) == (each.first, each.owner, each.rank):
            joined[-1] = before.part(before.first, each.last)
        else:
            joined.append(each)
    return joined


def _covers(stretches: Sequence[Stretch], first: int, last: int) -> bool:
    return first <= last and sum(each.last - each.first + 1 for each in stretches) == last - first + 1


def _told(owner: Owner) -> str:
    return f"{owner.name} ({owner.life})"
