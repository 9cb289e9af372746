"""Who holds which address: gives out, takes back, and keeps an address for a container that may return.

It answers for one owner of the whole range. It never looks at the kernel: what is in use there comes in by `adopt`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from weavenet.endpoint import Default, Endpoint, Explicit, InSubnet, Off
from weavenet.errors import AddressInUseError, EndpointError, NoAddressError
from weavenet.ipam.space import Space

# Long enough for a restart, short enough that a small subnet does not fill up with the dead.
HOLD_S = 30.0


@dataclass(frozen=True, slots=True)
class Claim:
    """An address and who holds it.

    `label` is how errors name the holder. `held_until` is None while the address is in use; afterwards it is the time
    until which it is kept for the holder alone. A claim past that time is a mere preference: anybody may take it.
    """

    holder: str
    label: str
    interface: IPv4Interface
    held_until: float | None = None

    def binds(self, now: float) -> bool:
        """Whether nobody but the holder may have the address now."""
        return self.held_until is None or self.held_until > now


class Allocator:
    """The addresses of one weave range. Bounded by the range: at most one claim an address is remembered."""

    def __init__(
        self, weave_range: IPv4Network, dns_subnet: IPv4Network, default_subnet: IPv4Network, *, host: str
    ) -> None:
        self.space = Space(weave_range, dns_subnet, default_subnet)
        self._host = host
        self._claims: dict[int, Claim] = {}
        self._by_holder: dict[str, set[int]] = {}

    def obtain(self, holder: str, name: str, endpoint: Endpoint, now: float) -> IPv4Interface:
        """The address that an endpoint means for the container `holder`, which people call `name`; claimed.

        Raises EndpointError, AddressInUseError or NoAddressError, and then nothing has changed.
        """
        label = self._label(holder, name)
        match endpoint:
            case Explicit():
                return self._claim(holder, label, self.space.interface(endpoint), now)
            case InSubnet(subnet):
                return self._allocate(holder, label, self.space.subnet(subnet), now)
            case Default():
                return self._allocate(holder, label, self.space.default_subnet, now)
            case Off():
                raise EndpointError("'none' asks for no address: there is nothing to attach")

    def adopt(self, holder: str, name: str, interface: IPv4Interface, now: float) -> None:
        """Claim what a container is seen to use, wherever it is; AddressInUseError when it is another's already."""
        self._refuse_taken(holder, interface, now)
        self._put(Claim(holder, self._label(holder, name), interface))

    def release(self, holder: str, address: IPv4Address) -> None:
        """Free one address of a holder at once and forget that it was theirs."""
        number = int(address)
        if number in self._by_holder.get(holder, ()):
            self._drop(number)

    def died(self, holder: str, now: float) -> None:
        """Keep a holder's addresses for it alone for `HOLD_S` seconds."""
        for number in self._by_holder.get(holder, ()):
            claim = self._claims[number]
            if claim.held_until is None:
                self._claims[number] = replace(claim, held_until=now + HOLD_S)

    def removed(self, holder: str) -> None:
        """Free everything of a holder that will not return."""
        for number in tuple(self._by_holder.get(holder, ())):
            self._drop(number)

    def in_use(self, holder: str) -> list[IPv4Interface]:
        """The addresses a holder uses now, lowest first."""
        return [claim.interface for claim in self.claims_of(holder) if claim.held_until is None]

    def claims_of(self, holder: str) -> list[Claim]:
        """Every claim of a holder, kept and preferred ones too, lowest address first."""
        return [self._claims[number] for number in sorted(self._by_holder.get(holder, ()))]

    def reinstate(self, holder: str, before: Iterable[Claim]) -> None:
        """Make a holder's claims what `claims_of` said before, except where somebody else has come in since."""
        self.removed(holder)
        for claim in before:
            if int(claim.interface.ip) not in self._claims:
                self._put(claim)

    def _label(self, holder: str, name: str) -> str:
        return f"container {name} ({holder[:12]}) on host {self._host}"

    def __iter__(self) -> Iterator[Claim]:
        return iter(tuple(self._claims.values()))

    def _claim(self, holder: str, label: str, interface: IPv4Interface, now: float) -> IPv4Interface:
        self._refuse_taken(holder, interface, now)
        known = self._claims.get(int(interface.ip))
        if known is not None and known.held_until is None and known.interface != interface:
            raise EndpointError(f"{label} already has {known.interface}: detach it before attaching {interface}")
        self._put(Claim(holder, label, interface))
        return interface

    def _allocate(self, holder: str, label: str, subnet: IPv4Network, now: float) -> IPv4Interface:
        own = [claim for claim in self.claims_of(holder) if claim.interface.network == subnet]
        # In use before kept, kept before lower: a second attach changes nothing, a restart finds its old address.
        for claim in sorted(own, key=lambda claim: claim.held_until is not None):
            self._put(Claim(holder, label, claim.interface))
            return claim.interface
        for number in self.space.usable(subnet):
            known = self._claims.get(number)
            if known is None or not known.binds(now):
                interface = IPv4Interface((number, subnet.prefixlen))
                self._put(Claim(holder, label, interface))
                return interface
        raise NoAddressError(f"no free address is left in {subnet}: detach a container or use another subnet")

    def _refuse_taken(self, holder: str, interface: IPv4Interface, now: float) -> None:
        claim = self._claims.get(int(interface.ip))
        if claim is None or claim.holder == holder or not claim.binds(now):
            return
        if claim.held_until is None:
            raise AddressInUseError(f"{interface.ip} is in use by {claim.label}")
        raise AddressInUseError(
            f"{interface.ip} is kept for {claim.label}, which has stopped, for {claim.held_until - now:.0f} s more"
        )

    def _put(self, claim: Claim) -> None:
        number = int(claim.interface.ip)
        self._drop(number)
        self._claims[number] = claim
        self._by_holder.setdefault(claim.holder, set()).add(number)

    def _drop(self, number: int) -> None:
        claim = self._claims.pop(number, None)
        if claim is None:
            return
        numbers = self._by_holder[claim.holder]
        numbers.discard(number)
        if not numbers:
            del self._by_holder[claim.holder]
