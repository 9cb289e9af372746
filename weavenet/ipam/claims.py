"""Claims: an address and who has it, on this host and on others. Never decides who gets one.

What other peers publish is kept until they withdraw it or are forgotten, also while they are not connected: an
address that was seen in use is in use until the opposite is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from weavenet.errors import RingWireError
from weavenet.ipam import wire

# The holder of the address that a peer's DNS server answers on: no container's ID.
DNS_HOLDER = ""
_SHOWN_ID = 12


@dataclass(frozen=True, slots=True)
class Claim:
    """An address and who holds it on this host.

    `held_until` is None while the address is in use; afterwards it is the time until which it is kept for the holder
    alone. A claim past that time is a mere preference: anybody may take it.
    """

    holder: str
    name: str
    interface: IPv4Interface
    held_until: float | None = None

    def binds(self, now: float) -> bool:
        """Whether nobody but the holder may have the address now."""
        return self.held_until is None or self.held_until > now


@dataclass(frozen=True, slots=True)
class ForeignClaim:
    """An address that a container on another host, `peer`, has, or which is kept for it there."""

    peer: str
    holder: str
    name: str
    kept: bool


@dataclass(frozen=True, slots=True)
class Conflict:
    """An address that is in use more than once, and by whom, in words, this host's first; `dns`: its DNS server."""

    address: IPv4Address
    users: tuple[str, ...]
    dns: bool = False

    def __str__(self) -> str:
        cure = "launch one with another --dns-address" if self.dns else "detach one of them and attach it anew"
        return f"{self.address} is in use by {' and by '.join(self.users)}: {cure}"


def label(holder: str, name: str, host: str) -> str:
    """How errors name who holds an address."""
    if holder == DNS_HOLDER:
        return f"the DNS server of host {host}"
    return f"container {name} ({holder[:_SHOWN_ID]}) on host {host}"


def key_of(number: int) -> bytes:
    """Under which key peers learn of the claim on an address."""
    return wire.claim_key(IPv4Address(number))


def value_of(claim: Claim) -> bytes:
    """What peers learn of a claim."""
    name = claim.name.encode(errors="replace")[: wire.MAX_NAME_BYTES].decode(errors="ignore")
    prefix_len = claim.interface.network.prefixlen
    return wire.encode_claim(
        wire.SharedClaim(prefix_len, claim.holder[:_SHOWN_ID], name, claim.held_until is not None)
    )


class ForeignClaims:
    """What other peers have claimed. Bounded by the range: a peer has at most one claim an address."""

    def __init__(self, weave_range: IPv4Network) -> None:
        self._range = weave_range
        self._first, self._last = int(weave_range.network_address), int(weave_range.broadcast_address)
        self._by_address: dict[int, dict[str, ForeignClaim]] = {}
        self._by_peer: dict[str, set[int]] = {}

    def heard(self, peer: str, key: bytes, value: bytes | None) -> int:
        """Take in what a peer published under a key, None when it withdrew it; which address that is about.

        Raises RingWireError for what is malformed or outside the range, and then nothing has changed.
        """
        number = wire.number_of(key)
        if value is None:
            self._drop(peer, number)
            return number
        claim = wire.decode_claim(value)
        if not self._first <= number <= self._last:
            raise RingWireError(f"{peer} claims {IPv4Address(number)}, which is not in the weave range {self._range}")
        found = ForeignClaim(peer, printable(claim.holder), printable(claim.name), claim.kept)
        self._by_address.setdefault(number, {})[peer] = found
        self._by_peer.setdefault(peer, set()).add(number)
        return number

    def forget(self, peer: str) -> list[int]:
        """Drop all claims of a peer that left or that nobody remembers any more; which addresses those were."""
        numbers = sorted(self._by_peer.get(peer, ()))
        for number in numbers:
            self._drop(peer, number)
        return numbers

    def on(self, number: int, *, but: str = "") -> ForeignClaim | None:
        """A claim on an address that is not the peer `but`'s, one in use before one that is kept."""
        found = (claim for claim in self.all_on(number) if claim.peer != but)
        return min(found, key=lambda claim: (claim.kept, claim.peer), default=None)

    def all_on(self, number: int) -> Iterator[ForeignClaim]:
        """Every claim on an address."""
        return iter(self._by_address.get(number, {}).values())

    def __contains__(self, number: int) -> bool:
        return number in self._by_address

    def __iter__(self) -> Iterator[int]:
        return iter(self._by_address)

    def _drop(self, peer: str, number: int) -> None:
        claims = self._by_address.get(number, {})
        if claims.pop(peer, None) is None:
            return
        if not claims:
            del self._by_address[number]
        self._by_peer[peer].discard(number)
        if not self._by_peer[peer]:
            del self._by_peer[peer]


def printable(text: str) -> str:
    """What another peer says, for people to read."""
    return text if text.isprintable() else "".join(char for char in text if char.isprintable())
