"""Who is there: the peers, what is said of them, and when a suspect is believed dead (SWIM section 4, Lifeguard).

Decides and remembers; never sends. What a statement changed comes back as a `Moved`, which the node acts on.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from hashlib import blake2b
from math import log
from typing import NamedTuple

from weavedns.gossip.codec import is_host
from weavedns.gossip.message import MAX_INCARNATION, MAX_OWNERS, Alive, Dead, Leave, State, Suspect
from weavedns.gossip.profile import Profile

MAX_GRAVES = 4_096
# A suspicion counts as sure when this many peers share it.
CONFIRMATIONS = 2


class Move(Enum):
    """What became of a peer."""

    JOINED = auto()
    RESTARTED = auto()
    CHANGED = auto()
    SUSPECTED = auto()
    CONFIRMED = auto()
    CLEARED = auto()
    DIED = auto()
    RETURNED = auto()
    LEFT = auto()


class Moved(NamedTuple):
    """What a statement changed, and about whom."""

    move: Move
    peer: Peer


@dataclass(slots=True)
class Suspicion:
    """One suspect's time to clear itself, shorter the more peers agree (Lifeguard section IV-B)."""

    since: float
    shortest_s: float
    longest_s: float
    wanted: int
    accusers: set[str] = field(default_factory=set)

    @property
    def until(self) -> float:
        """When the suspect is believed dead."""
        confirmed = len(self.accusers) - 1
        if self.wanted <= 0:
            return self.since + self.shortest_s
        share = log(min(confirmed, self.wanted) + 1) / log(self.wanted + 1)
        return self.since + max(self.shortest_s, self.longest_s - share * (self.longest_s - self.shortest_s))


@dataclass(slots=True)
class Peer:
    """Another peer as it is known here."""

    name: str
    host: str
    port: int
    incarnation: int
    boot: int
    rebuttal: int
    state: State
    since: float
    accuser: str = ""
    suspicion: Suspicion | None = None
    # Believed dead, but its host answers: its containers are there, and their names are not hidden.
    host_there: bool = False
    # Where its datagrams come from, when that is not where it is to be reached.
    source: str = ""

    @property
    def addr(self) -> tuple[str, int]:
        """Where it is."""
        return self.host, self.port

    def alive(self) -> Alive:
        """What it says of itself."""
        return Alive(self.name, self.host, self.port, self.incarnation, self.boot, self.rebuttal)

    def notice(self) -> Suspect | Dead | None:
        """What is held against it."""
        match self.state:
            case State.SUSPECT:
                return Suspect(self.name, self.incarnation, self.rebuttal, self.accuser)
            case State.DEAD:
                return Dead(self.name, self.incarnation, self.rebuttal, self.accuser)
        return None


@dataclass(frozen=True, slots=True)
class Grave:
    """A peer that left or was forgotten: this incarnation of it is not taken back from a third peer."""

    incarnation: int
    host: str
    port: int
    until: float
    left: bool


class Members:
    """All the other peers, by name. `me` is never among them."""

    def __init__(self, me: str, profile: Profile) -> None:
        self._me = me
        self._profile = profile
        self._peers: dict[str, Peer] = {}
        self._graves: OrderedDict[str, Grave] = OrderedDict()
        # The live ones (suspects too) in the order of their hashed names: whom to probe next on the ring.
        self._ring: list[tuple[bytes, str]] = []
        self._place = _place(me)

    def __len__(self) -> int:
        return len(self._ring)

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    def get(self, name: str) -> Peer | None:
        """The peer of that name, dead or alive."""
        return self._peers.get(name)

    def live(self) -> list[Peer]:
        """Everybody who is not believed dead."""
        return [self._peers[name] for _, name in self._ring]

    def dead(self) -> list[Peer]:
        """Everybody who is believed dead and not forgotten."""
        return [peer for peer in self._peers.values() if peer.state is State.DEAD]

    def pick(self, number: int) -> Peer:
        """The live peer at place `number` in ring order."""
        return self._peers[self._ring[number][1]]

    def successor(self) -> Peer | None:
        """The live peer that follows this one on the ring."""
        if not self._ring:
            return None
        at = bisect_right(self._ring, (self._place, self._me)) % len(self._ring)
        return self._peers[self._ring[at][1]]

    def grave(self, name: str) -> Grave | None:
        """What is remembered of a peer that is gone for good."""
        return self._graves.get(name)

    def graves(self) -> Iterator[tuple[str, Grave]]:
        """All that are gone for good, by name."""
        return iter(self._graves.items())

    def on_alive(self, said: Alive, now: float) -> Moved | None:  # noqa: PLR0911 - one for each row of the table
        """Somebody says that a peer is there."""
        peer = self._peers.get(said.name)
        if said.name == self._me or not is_host(said.host):
            return None
        if peer is None:
            return self._admit(said, now)
        if (said.incarnation, said.rebuttal) <= (peer.incarnation, peer.rebuttal):
            return None
        restarted = said.incarnation > peer.incarnation
        before = peer.state
        moved_house = peer.addr != (said.host, said.port)
        peer.host, peer.port = said.host, said.port
        peer.incarnation, peer.boot, peer.rebuttal = said.incarnation, said.boot, said.rebuttal
        self._set(peer, State.ALIVE, now)
        if restarted:
            return Moved(Move.RESTARTED, peer)
        if before is State.DEAD:
            return Moved(Move.RETURNED, peer)
        if before is State.SUSPECT:
            return Moved(Move.CLEARED, peer)
        return Moved(Move.CHANGED, peer) if moved_house or before is State.ALIVE else None

    def on_suspect(self, said: Suspect, now: float) -> Moved | None:
        """Somebody got no answer from a peer."""
        peer = self._peers.get(said.name)
        if peer is None or (said.incarnation, said.rebuttal) < (peer.incarnation, peer.rebuttal):
            return None
        if said.incarnation != peer.incarnation or peer.state is State.DEAD:
            return None
        if peer.suspicion is not None and said.rebuttal == peer.rebuttal:
            accusers = peer.suspicion.accusers
            if said.accuser in accusers or len(accusers) > peer.suspicion.wanted:
                return None
            accusers.add(said.accuser)
            return Moved(Move.CONFIRMED, peer)
        peer.rebuttal = said.rebuttal
        peer.accuser = said.accuser
        shortest, longest = self._profile.suspicion_s(len(self._ring))
        # As many as can agree: neither the suspect nor the first accuser counts.
        wanted = min(CONFIRMATIONS, len(self._ring) - 1)
        peer.suspicion = Suspicion(now, shortest, longest, wanted, {said.accuser})
        peer.state = State.SUSPECT
        peer.since = now
        return Moved(Move.SUSPECTED, peer)

    def on_dead(self, said: Dead, now: float) -> Moved | None:
        """Somebody believes a peer dead."""
        peer = self._peers.get(said.name)
        if peer is None or peer.state is State.DEAD or said.incarnation != peer.incarnation:
            return None
        if said.rebuttal < peer.rebuttal:
            return None
        peer.rebuttal = said.rebuttal
        peer.accuser = said.accuser
        self._set(peer, State.DEAD, now)
        return Moved(Move.DIED, peer)

    def on_leave(self, said: Leave, now: float) -> Moved | None:
        """A peer left for good."""
        peer = self._peers.get(said.name)
        # Above the highest that a peer takes, it could never come back.
        if said.incarnation > MAX_INCARNATION:
            return None
        if peer is None:
            self._bury_deeper(said)
            return None
        if peer.incarnation > said.incarnation:
            return None
        return self.bury(peer, now, left=True, incarnation=said.incarnation)

    def bury(self, peer: Peer, now: float, *, left: bool, incarnation: int = 0) -> Moved:
        """Drop a peer and remember its incarnation for a day, or that in which it left when that is higher."""
        self._off_ring(peer.name)
        del self._peers[peer.name]
        until = now + self._profile.remember_s
        buried = max(peer.incarnation, incarnation)
        self._graves[peer.name] = Grave(buried, peer.host, peer.port, until, left)
        self._graves.move_to_end(peer.name)
        if len(self._graves) > MAX_GRAVES:
            self._graves.popitem(last=False)
        return Moved(Move.LEFT, peer)

    def expire(self, now: float) -> list[Moved]:
        """Forget whoever has been dead for long, and at last the graves."""
        for name in [name for name, grave in self._graves.items() if grave.until <= now]:
            del self._graves[name]
        gone = [peer for peer in self.dead() if peer.since + self._profile.forget_after_s <= now]
        return [self.bury(peer, now, left=False) for peer in gone]

    def _bury_deeper(self, said: Leave) -> None:
        """Somebody who is buried left in a later incarnation too, of which only the end is heard."""
        grave = self._graves.get(said.name)
        if grave is not None and grave.incarnation < said.incarnation:
            self._graves[said.name] = replace(grave, incarnation=said.incarnation)

    def _admit(self, said: Alive, now: float) -> Moved | None:
        grave = self._graves.get(said.name)
        # Somebody who was away long enough to be forgotten is told so, and comes back as a new incarnation.
        if grave is not None and said.incarnation <= grave.incarnation:
            return None
        if len(self._peers) >= MAX_OWNERS - 1:
            return None
        self._graves.pop(said.name, None)
        peer = Peer(said.name, said.host, said.port, said.incarnation, said.boot, said.rebuttal, State.DEAD, now)
        self._peers[said.name] = peer
        self._set(peer, State.ALIVE, now)
        return Moved(Move.JOINED, peer)

    def _set(self, peer: Peer, state: State, now: float) -> None:
        if peer.state is State.DEAD and state is not State.DEAD:
            place = (_place(peer.name), peer.name)
            self._ring.insert(bisect_left(self._ring, place), place)
        elif peer.state is not State.DEAD and state is State.DEAD:
            self._off_ring(peer.name)
        peer.state = state
        peer.since = now
        peer.suspicion = None
        peer.host_there = False

    def _off_ring(self, name: str) -> None:
        place = (_place(name), name)
        at = bisect_left(self._ring, place)
        if at < len(self._ring) and self._ring[at] == place:
            del self._ring[at]


def _place(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=8).digest()
