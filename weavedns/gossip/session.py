"""Who may be listened to: replay windows, challenges for boots not seen before, and a rate for each source.

Holds what it knows about senders in bounded tables; never opens a packet.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

from weavedns.gossip.message import NONCE_BYTES

WINDOW = 1_024
MAX_SENDERS = 4_096
# A challenge can be answered for so long, and for as long again.
CHALLENGE_S = 5.0
SECRET_BYTES = 32
MAX_SOURCES = 4_096
PACKETS_PER_S = 2_000.0
BURST_PACKETS = 4_000.0

# A sender's name and its boot id.
Who = tuple[str, int]


class Window:
    """Which of the last 1,024 counters of a sender have been seen (RFC 4303 section 3.4.3).

    It begins at the counter of the packet that proved the boot: whatever is older may be a recording.
    """

    __slots__ = ("_bits", "_top")

    def __init__(self, top: int = 0) -> None:
        self._top = top
        self._bits = (1 << WINDOW) - 1

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


class Sessions:
    """The boots that have proved to be there now."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._windows: OrderedDict[Who, Window] = OrderedDict()

    def accept(self, who: Who, counter: int) -> bool | None:
        """Whether a packet is no repetition; None: its boot has to prove itself first."""
        window = self._windows.get(who)
        if window is None:
            return None
        self._windows.move_to_end(who)
        return window.accept(counter)

    def challenge(self, who: Who, now: float) -> bytes:
        """What a boot has to repeat to be let in. Nothing is kept for it, so strangers cannot use anything up."""
        return self._nonce(who, int(now // CHALLENGE_S))

    def prove(self, who: Who, counter: int, nonce: bytes, now: float) -> bool:
        """Whether packet `counter` of a boot has the answer; from there on the boot is listened to."""
        epoch = int(now // CHALLENGE_S)
        if nonce not in {self._nonce(who, epoch), self._nonce(who, epoch - 1)}:
            return False
        self._windows[who] = Window(counter)
        if len(self._windows) > MAX_SENDERS:
            self._windows.popitem(last=False)
        return True

    def _nonce(self, who: Who, epoch: int) -> bytes:
        text = f"{who[0]} {who[1]} {epoch}".encode()
        return blake2b(text, digest_size=NONCE_BYTES, key=self._secret).digest()


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
