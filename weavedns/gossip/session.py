"""Who may be listened to: replay windows, challenges for boots not seen before, and a rate for each source.

Holds what it knows about senders in bounded tables; never opens a packet.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from weavedns.gossip.message import NONCE_BYTES
from weavedns.gossip.seal import Header, Rejection

WINDOW = 1_024
MAX_SENDERS = 4_096
MAX_PENDING = 256
PENDING_S = 5.0
HELD_PACKETS = 4
MAX_SOURCES = 4_096
PACKETS_PER_S = 2_000.0
BURST_PACKETS = 4_000.0

Address = tuple[str, int]
Who = tuple[str, int]


class Window:
    """Which of the last 1,024 counters of a sender have been seen (RFC 4303 section 3.4.3)."""

    __slots__ = ("_bits", "_top")

    def __init__(self) -> None:
        self._top = 0
        self._bits = 0

    def accept(self, counter: int) -> bool:
        """Whether `counter` is new and not too old; it counts as seen from here on."""
        ahead = counter - self._top
        if ahead > 0:
            # A jump may be as large as the counter itself: never shift by more than the window.
            self._bits = ((self._bits << ahead) | 1) & ((1 << WINDOW) - 1) if ahead < WINDOW else 1
            self._top = counter
            return True
        if -ahead >= WINDOW:
            return False
        bit = 1 << -ahead
        if self._bits & bit:
            return False
        self._bits |= bit
        return True


@dataclass(slots=True)
class _Pending:
    nonce: bytes
    until: float
    held: list[tuple[Header, bytes, Address]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Prove:
    """Send this nonce as a challenge; the packet is kept for a moment."""

    nonce: bytes


class Sessions:
    """The boots that have proved to be there now."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._windows: OrderedDict[Who, Window] = OrderedDict()
        self._pending: OrderedDict[Who, _Pending] = OrderedDict()

    def check(self, header: Header, body: bytes, addr: Address, now: float) -> Prove | Rejection | None:
        """None: let it in. Prove: its boot is unknown; the packet waits for the answer to a challenge."""
        who = (header.sender, header.boot)
        window = self._windows.get(who)
        if window is not None:
            self._windows.move_to_end(who)
            return None if window.accept(header.counter) else Rejection.REPLAYED
        pending = self._pending.get(who)
        if pending is None or pending.until <= now:
            pending = self._pending[who] = _Pending(self._random_bytes(NONCE_BYTES), now + PENDING_S)
            self._pending.move_to_end(who)
            if len(self._pending) > MAX_PENDING:
                self._pending.popitem(last=False)
        if len(pending.held) < HELD_PACKETS:
            pending.held.append((header, body, addr))
        return Prove(pending.nonce)

    def answered(self, header: Header, nonce: bytes, now: float) -> list[tuple[Header, bytes, Address]]:
        """The packets that waited for this answer, when it is the right one."""
        who = (header.sender, header.boot)
        pending = self._pending.get(who)
        if pending is None or pending.until <= now or pending.nonce != nonce:
            return []
        return self.admit(who)

    def admit(self, who: Who) -> list[tuple[Header, bytes, Address]]:
        """Let a boot in that has proved itself, and give back the packets that waited for that."""
        if who not in self._windows:
            self._windows[who] = Window()
            if len(self._windows) > MAX_SENDERS:
                self._windows.popitem(last=False)
        pending = self._pending.pop(who, None)
        window = self._windows[who]
        return [each for each in pending.held if window.accept(each[0].counter)] if pending else []

    def knows(self, who: Who) -> bool:
        """Whether a boot has proved itself."""
        return who in self._windows


class Rates:
    """A token bucket for each source address, so that a flood of one is dropped before any of it is decrypted."""

    def __init__(self, per_s: float = PACKETS_PER_S, burst: float = BURST_PACKETS) -> None:
        self._per_s = per_s
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, host: str, now: float) -> bool:
        """Whether one more packet of a source is let through now."""
        tokens, at = self._buckets.get(host, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._per_s)
        allowed = tokens >= 1
        self._buckets[host] = (tokens - 1 if allowed else tokens, now)
        self._buckets.move_to_end(host)
        if len(self._buckets) > MAX_SOURCES:
            self._buckets.popitem(last=False)
        return allowed
