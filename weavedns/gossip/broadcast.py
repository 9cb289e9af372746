"""What is to be passed on, how often and when; and the datagrams that are about to go out. Never sends."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from weavedns.gossip.codec import encode, join, pack
from weavedns.gossip.dice import Dice
from weavedns.gossip.message import Message
from weavedns.gossip.profile import Profile
from weavedns.gossip.seal import Sealer

Address = tuple[str, int]

MAX_RUMORS = 4_096
BUSY_RUMORS = 32
# What one round may send to one peer.
DATAGRAMS_A_ROUND = 8
MAX_QUEUED_DATAGRAMS = 16_384


class Outbox:
    """Messages on their way out, put together so that what goes to one address shares datagrams."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._single: dict[Address, list[bytes]] = {}
        self._shared: list[tuple[Sequence[Address], list[bytes]]] = []
        self.datagrams = 0
        self.size_bytes = 0

    def post(self, addr: Address, *messages: Message | None) -> None:
        """Send messages to one address."""
        parts = self._single.setdefault(addr, [])
        parts += [encode(message) for message in messages if message is not None]

    def post_to_all(self, addrs: Sequence[Address], parts: list[bytes]) -> None:
        """Send the same encoded messages to several addresses; each datagram is sealed once."""
        self._shared.append((addrs, parts))

    def take(self) -> list[tuple[bytes, Address]]:
        """The sealed datagrams that are to go out now."""
        if not self._single and not self._shared:
            return []
        out: list[tuple[bytes, Address]] = []
        room = self._sealer.room_bytes
        for addr, parts in self._single.items():
            out += [(self._sealer.seal(join(batch)), addr) for batch in pack(parts, room)]
        for addrs, parts in self._shared:
            for batch in pack(parts, room):
                data = self._sealer.seal(join(batch))
                out += [(data, addr) for addr in addrs]
        self._single = {}
        self._shared = []
        del out[MAX_QUEUED_DATAGRAMS:]
        self.datagrams += len(out)
        self.size_bytes += sum(len(data) for data, _ in out)
        return out


@dataclass(eq=False, slots=True)
class _Rumor:
    key: Hashable
    data: bytes
    left: float
    due: float
    sent: int = 0


class Rumors:
    """What this node has heard first and passes on in rounds, each to a few random peers.

    A round costs as much as it sends, however much there is to tell.
    """

    def __init__(self, profile: Profile, rng: Dice) -> None:
        self._profile = profile
        self._rumors: dict[Hashable, _Rumor] = {}
        # Those whose time has not come, by it; and those whose time has, by how often they were told. Both may hold
        # some that are told no more.
        self._later: list[tuple[float, int, _Rumor]] = []
        self._ready: dict[int, deque[_Rumor]] = {}
        self._count = 0
        self._last = -1.0
        self._phase = rng.random() * profile.round_every_s

    def __len__(self) -> int:
        return len(self._rumors)

    def add(
        self, key: Hashable, data: bytes, now: float, *, peers: int, sent_to_all: bool = False, share: float = 1.0
    ) -> None:
        """Pass a message on to some of `peers`, in a share of the usual rounds; one with the same key is dropped."""
        rounds = max(2.0, self._profile.rounds(peers) * share)
        if not self._profile.eager:
            due = self._next_tick(now)
        elif sent_to_all:
            due = now + self._profile.first_round_s
        else:
            # With much to tell, what is told shares rounds instead of going out at once.
            busy = len(self._rumors) >= BUSY_RUMORS
            due = max(now, self._last + (self._profile.round_every_s if busy else self._profile.coalesce_s))
        self._rumors.pop(key, None)
        rumor = self._rumors[key] = _Rumor(key, data, rounds, due, sent=int(sent_to_all))
        self._wait(rumor)
        if len(self._rumors) > MAX_RUMORS:
            # What is lost here, the next comparison of digests brings.
            del self._rumors[next(iter(self._rumors))]

    def __contains__(self, key: Hashable) -> bool:
        return key in self._rumors

    def drop_about(self, name: str) -> None:
        """Stop passing on what was said of a peer."""
        for key in [key for key in self._rumors if isinstance(key, tuple) and key[:2] == ("peer", name)]:
            del self._rumors[key]

    def heard(self, key: Hashable) -> None:
        """Somebody else passed it on too: so much less is to be done here."""
        rumor = self._rumors.get(key)
        if rumor is not None and self._profile.duplicates_a_round:
            rumor.left -= 1 / self._profile.duplicates_a_round
            if rumor.left <= 0:
                del self._rumors[key]

    def due(self) -> float | None:
        """When the next round is."""
        if self._first_ready() is not None:
            return self._last + self._profile.coalesce_s
        while self._later and not self._is_told(self._later[0][2]):
            heappop(self._later)
        return self._later[0][0] if self._later else None

    def round(self, now: float, room_bytes: int, targets: int) -> list[bytes]:
        """The messages of the round that is due, the least told first; to be sent to `targets` peers."""
        until = now + (self._profile.round_every_s / 2 if len(self._rumors) >= BUSY_RUMORS else 0.0)
        while self._later and self._later[0][0] <= until:
            rumor = heappop(self._later)[2]
            self._ready.setdefault(rumor.sent, deque()).append(rumor)
        budget = DATAGRAMS_A_ROUND * room_bytes
        out: list[bytes] = []
        told: list[_Rumor] = []
        self._last = now
        while (first := self._first_ready()) is not None and len(first.data) <= budget:
            budget -= len(first.data)
            out.append(first.data)
            told.append(self._ready[first.sent].popleft())
        for rumor in told:
            rumor.sent += 1
            rumor.left -= targets if self._profile.count_packets else 1
            if rumor.left <= 0:
                del self._rumors[rumor.key]
            else:
                rumor.due = self._next_round(rumor, now)
                self._wait(rumor)
        return out

    def _wait(self, rumor: _Rumor) -> None:
        self._count += 1
        heappush(self._later, (rumor.due, self._count, rumor))

    def _first_ready(self) -> _Rumor | None:
        """The one of those whose time has come that was told least."""
        while self._ready:
            sent = min(self._ready)
            waiting = self._ready[sent]
            while waiting:
                if self._is_told(waiting[0]):
                    return waiting[0]
                waiting.popleft()
            del self._ready[sent]
        return None

    def _is_told(self, rumor: _Rumor) -> bool:
        return self._rumors.get(rumor.key) is rumor

    def _next_round(self, rumor: _Rumor, now: float) -> float:
        if not self._profile.eager:
            return self._next_tick(now)
        return now + (self._profile.first_round_s if rumor.sent == 1 else self._profile.round_every_s)

    def _next_tick(self, now: float) -> float:
        every = self._profile.round_every_s
        tick = self._phase + ((now - self._phase) // every + 1) * every
        return tick if tick > now else tick + every


class Budget:
    """A token bucket: how much may still be sent straight to everybody."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._tokens = burst
        self._at = 0.0

    def take(self, amount: float, now: float) -> bool:
        """Whether `amount` more is within the rate; counts it when it is."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_s)
        self._at = now
        if amount > self._tokens:
            return False
        self._tokens -= amount
        return True
