"""Who holds which address: gives out, takes back, and keeps an address for a container that may return.

Without a ring it answers for one owner of the whole range; with one, it gives out of the stretches that this peer
owns, and says whom to ask when those are full. It never looks at the kernel: what is used there comes in by `adopt`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from weavenet.endpoint import Default, Endpoint, Explicit, InSubnet, Off
from weavenet.errors import AddressInUseError, EndpointError, NoAddressError
from weavenet.ipam import claims
from weavenet.ipam.asked import AskedFor
from weavenet.ipam.claims import DNS_HOLDER, Claim, Conflict, ForeignClaims
from weavenet.ipam.gifts import to_give
from weavenet.ipam.ring import MAX_PIECES_BY_NUMBER, Owner, Ring
from weavenet.ipam.runs import Run, choosable, free_runs, is_odd, less
from weavenet.ipam.space import Space

# Long enough for a restart, short enough that a small subnet does not fill up with the dead.
HOLD_S = 30.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """This peer owns no free address in a subnet: these owners may give some, the best to ask first.

    No owners: it is not known yet who owns which addresses. Of an address asked for by number, `address`, it is the
    owner, and the subnet is that alone.
    """

    subnet: IPv4Network
    owners: tuple[str, ...]

    @property
    def address(self) -> IPv4Address | None:
        """The address that was asked for by number."""
        alone = self.subnet.prefixlen == self.subnet.max_prefixlen
        return self.subnet.network_address if alone else None


class Allocator:
    """The addresses of one weave range. Bounded by the range: at most one claim an address is remembered."""

    def __init__(
        self,
        weave_range: IPv4Network,
        dns_subnet: IPv4Network,
        default_subnet: IPv4Network,
        *,
        host: str,
        ring: Ring | None = None,
    ) -> None:
        self.space = Space(weave_range, dns_subnet, default_subnet)
        self.foreign = ForeignClaims(weave_range)
        self.asked = AskedFor()
        self._host = host
        self._ring = ring
        self._claims: dict[int, Claim] = {}
        self._by_holder: dict[str, set[int]] = {}
        # Of which addresses the others have not heard the latest, and which are kept for somebody.
        self._touched: set[int] = set()
        self._held: set[int] = set()

    def obtain(self, holder: str, name: str, endpoint: Endpoint, now: float) -> IPv4Interface:
        """The address that an endpoint means for the container `holder`, which people call `name`; claimed.

        Raises EndpointError, AddressInUseError or NoAddressError, and then nothing has changed.
        """
        found = self.request(holder, name, endpoint, now)
        if isinstance(found, Wanted):
            whom = f"ask {', '.join(found.owners)}" if found.owners else "nobody knows yet who owns which addresses"
            raise NoAddressError(f"host {self._host} owns no free address in {found.subnet}: {whom}")
        return found

    def request(self, holder: str, name: str, endpoint: Endpoint, now: float) -> IPv4Interface | Wanted:
        """The same, or whom to ask for addresses first; NoAddressError only when nobody has a free one."""
        match endpoint:
            case Explicit():
                return self._claim(holder, name, self.space.interface(endpoint), now)
            case InSubnet(subnet):
                return self._allocate(holder, name, self.space.subnet(subnet), now)
            case Default():
                return self._allocate(holder, name, self.space.default_subnet, now)
            case Off():
                raise EndpointError("'none' asks for no address: there is nothing to attach")

    def claim_dns(
        self, asked: IPv4Address | None, carried: Iterable[IPv4Address], now: float
    ) -> IPv4Address | Wanted:
        """This peer's DNS address: the one asked for, else one the bridge carries, else the lowest free of its own.

        Raises EndpointError when the one asked for is no host address of the DNS subnet, AddressInUseError when
        another peer has it, NoAddressError when nobody has a free one.
        """
        subnet = self.space.dns_subnet
        before = self.claims_of(DNS_HOLDER)
        if asked is not None:
            if asked not in subnet or asked in {subnet.network_address, subnet.broadcast_address}:
                raise EndpointError(f"the DNS address {asked} is no host address of the DNS subnet {subnet}")
            self._refuse_taken(DNS_HOLDER, asked, now)
            found: IPv4Address | None = asked
        else:
            hosts = [*(claim.interface.ip for claim in before), *(each for each in carried if each in subnet)]
            found = next((each for each in hosts if int(each) not in self.foreign), None)
            if found is None:
                number = self._lowest_free(self._runs(subnet), now)
                found = None if number is None else IPv4Address(number)
        if found is None:
            return self._wanted(subnet)
        self.removed(DNS_HOLDER)
        self._put(Claim(DNS_HOLDER, "", IPv4Interface((found, self.space.weave_range.prefixlen))))
        return found

    def adopt(self, holder: str, name: str, interface: IPv4Interface, now: float) -> None:
        """Claim what a container is seen to use, wherever it is; AddressInUseError when it is another's here already.

        What a container on another host uses too is claimed all the same: `conflicts` tells of it.
        """
        self._refuse_taken_here(holder, interface.ip, now)
        self._put(Claim(holder, name, interface))

    def release(self, holder: str, address: IPv4Address) -> None:
        """Free one address of a holder at once and forget that it was theirs."""
        number = int(address)
        if number in self._by_holder.get(holder, ()):
            self._drop(number)
            self.asked.drop(number)

    def died(self, holder: str, now: float) -> None:
        """Keep a holder's addresses for it alone for `HOLD_S` seconds."""
        for number in self._by_holder.get(holder, ()):
            claim = self._claims[number]
            if claim.held_until is None:
                self._claims[number] = replace(claim, held_until=now + HOLD_S)
                self._touched.add(number)
                self._held.add(number)

    def removed(self, holder: str) -> None:
        """Free everything of a holder that will not return."""
        self._drop_holder(holder)
        self.asked.drop_holder(holder)

    def in_use(self, holder: str) -> list[IPv4Interface]:
        """The addresses a holder uses now, lowest first."""
        return [claim.interface for claim in self.claims_of(holder) if claim.held_until is None]

    def claims_of(self, holder: str) -> list[Claim]:
        """Every claim of a holder, kept and preferred ones too, lowest address first."""
        return [self._claims[number] for number in sorted(self._by_holder.get(holder, ()))]

    def reinstate(self, holder: str, before: Iterable[Claim]) -> None:
        """Make a holder's claims what `claims_of` said before, except where somebody else has come in since."""
        self._drop_holder(holder)
        for claim in before:
            if int(claim.interface.ip) not in self._claims:
                self._put(claim)

    def news(self, now: float) -> dict[bytes, bytes | None]:
        """What the other peers are to know, by key, of each claim that may have changed since the last call.

        None: nobody here has the address, nor is it kept for anybody.
        """
        ended = {number for number in self._held if not self._claims[number].binds(now)}
        self._held -= ended
        news = {number: self._claims.get(number) for number in self._touched | ended}
        self._touched.clear()
        return {
            claims.key_of(number): claims.value_of(claim) if claim is not None and claim.binds(now) else None
            for number, claim in news.items()
        }

    def conflicts(self) -> list[Conflict]:
        """The addresses in use here that are in use on another host too, lowest first."""
        return [
            Conflict(claim.interface.ip, (self._label(claim), *users), dns=claim.holder == DNS_HOLDER)
            for number, claim in sorted(self._claims.items())
            if claim.held_until is None and (users := self._users_elsewhere(number))
        ]

    def donate(self, to: Owner, subnet: IPv4Network, known: Iterable[Run], now: float) -> None:
        """Give some free addresses of a subnet to another peer that has none there.

        Half of the largest free stretch; of the DNS subnet also the lowest free address. Nothing while it owns free
        addresses that are not among those that it says it owns, `known`: an earlier gift did not get there. What it
        knows of and does not count as free is in use as far as it has heard. Raises RingError.
        """
        if self._ring is None:
            return
        runs, taken = self._runs(subnet), self._taken(now)
        if not choosable(free_runs(less(self._ring.owned(runs, to), known), taken)):
            free = choosable(free_runs(self._ring.owned(runs), taken))
            self._ring.give(to, to_give(free, lowest=subnet == self.space.dns_subnet))

    def give_by_number(self, to: Owner, address: IPv4Address, now: float) -> None:
        """Give another peer the one address that it asks for, unless it is not this peer's, or in too many pieces.

        Raises AddressInUseError when anybody but that peer has it, RingError.
        """
        number = int(address)
        if self._ring is None or not self._ring.owned([(number, number)]):
            return
        self._refuse_taken(None, address, now, by=to.name)
        if self._ring.pieces < MAX_PIECES_BY_NUMBER:
            self._ring.give(to, [(number, number)])

    def owner_elsewhere(self, number: int) -> str:
        """The peer that owns an address; "" when it is this one, be it in an earlier life, or not known."""
        owners = self._ring.owners([(number, number)]) if self._ring is not None else []
        return next((each.name for each, _ in owners if self._ring and each.name != self._ring.me.name), "")

    def strays(self) -> list[tuple[int, str]]:
        """The addresses in use here that another peer owns, lowest first, with the owner."""
        used = sorted(number for number, claim in self._claims.items() if claim.held_until is None)
        return [(number, owner) for number in used if (owner := self.owner_elsewhere(number))]

    def wants(self, now: float) -> Wanted | None:
        """Whom to ask so that the next container finds an address; NoAddressError when nobody has a free one."""
        subnet = self.space.default_subnet
        return None if self.has_free(subnet, now) else self._wanted(subnet)

    def has_free(self, subnet: IPv4Network, now: float) -> bool:
        """Whether this peer itself has an address of a subnet to give out."""
        return self._lowest_free(self._runs(subnet), now) is not None

    def __iter__(self) -> Iterator[Claim]:
        return iter(tuple(self._claims.values()))

    def _claim(self, holder: str, name: str, interface: IPv4Interface, now: float) -> IPv4Interface | Wanted:
        number = int(interface.ip)
        known = self._claims.get(number)
        has_it = known is not None and known.holder == holder and known.held_until is None
        if not has_it:
            self._refuse_taken(holder, interface.ip, now)
        if has_it and known is not None and known.interface != interface:
            raise EndpointError(
                f"{self._label(known)} already has {known.interface}: detach it before attaching {interface}"
            )
        # What is used or kept here already is known to all.
        if known is None or not known.binds(now):
            asked, owner = self.asked.on(number, now), self.owner_elsewhere(number)
            if owner and not (asked and asked.settled):
                # Only a claim would protect it from its owner, and that is forgotten when this peer is away.
                self.asked.add(number, holder, name, now)
                return Wanted(IPv4Network(interface.ip), (owner,))
        self._put(Claim(holder, name, interface))
        return interface

    def _allocate(self, holder: str, name: str, subnet: IPv4Network, now: float) -> IPv4Interface | Wanted:
        own = [claim for claim in self.claims_of(holder) if claim.interface.network == subnet]
        # In use before kept, kept before lower: a second attach changes nothing, a restart finds its old address.
        for claim in sorted(own, key=lambda claim: claim.held_until is not None):
            if claim.held_until is None or self._may_return(claim, now):
                self._put(Claim(holder, name, claim.interface))
                return claim.interface
        number = self._lowest_free(self._runs(subnet), now)
        if number is None:
            return self._wanted(subnet)
        interface = IPv4Interface((number, subnet.prefixlen))
        self._put(Claim(holder, name, interface))
        return interface

    def _may_return(self, claim: Claim, now: float) -> bool:
        """Whether nobody else can have been given an address that is, or was, kept for somebody."""
        number = int(claim.interface.ip)
        ours = self._ring is None or bool(self._ring.owned([(number, number)]))
        return number not in self.foreign and (ours or claim.binds(now))

    def _wanted(self, subnet: IPv4Network) -> Wanted:
        """Whom to ask for addresses of a subnet in which this peer has none."""
        if self._ring is not None and not self._ring:
            return Wanted(subnet, ())
        free: dict[str, int] = {}
        taken = sorted(self.foreign)
        for owner, run in self._ring.owners(self._runs(subnet)) if self._ring else ():
            if self._ring and owner != self._ring.me:
                size = sum(last - first + 1 for first, last in choosable(free_runs([run], taken)))
                free[owner.name] = free.get(owner.name, 0) + size
        # DNS addresses stay low: whoever comes first in the subnet is asked first.
        order = list(free) if subnet == self.space.dns_subnet else sorted(free, key=lambda name: -free[name])
        owners = tuple(name for name in order if free[name])
        if not owners and (self._ring is None or self._ring.complete):
            cure = "detach a container or use another subnet"
            if subnet == self.space.dns_subnet:
                cure = "give all peers a larger --dns-subnet"
            raise NoAddressError(f"no free address is left in {subnet}: {cure}")
        return Wanted(subnet, owners or tuple(order))

    def _runs(self, subnet: IPv4Network) -> list[Run]:
        return self.space.dns_runs() if subnet == self.space.dns_subnet else self.space.runs(subnet)

    def _lowest_free(self, runs: list[Run], now: float) -> int | None:
        asked = self.asked.numbers(now)
        for first, last in self._ring.owned(runs) if self._ring is not None else runs:
            for number in range(first, last + 1):
                known = self._claims.get(number)
                if (known is not None and known.binds(now)) or number in self.foreign or number in asked:
                    continue
                if not is_odd(number):
                    return number
        return None

    def _taken(self, now: float) -> list[int]:
        here = {number for number, claim in self._claims.items() if claim.binds(now)}
        return sorted(here.union(self.foreign, self.asked.numbers(now)))

    def _refuse_taken(self, holder: str | None, address: IPv4Address, now: float, *, by: str = "") -> None:
        """Refuse an address that anybody but a holder here, or but the peer `by`, has or waits for."""
        self._refuse_taken_here(holder, address, now)
        asked = self.asked.on(int(address), now)
        if asked is not None and asked.holder != holder:
            raise AddressInUseError(f"{address} is asked for by {claims.label(asked.holder, asked.name, self._host)}")
        claim = self.foreign.on(int(address), but=by)
        if claim is not None:
            whose = claims.label(claim.holder, claim.name, claim.peer)
            kept = f"is kept for {whose}, which has stopped" if claim.kept else f"is in use by {whose}"
            raise AddressInUseError(f"{address} {kept}")

    def _refuse_taken_here(self, holder: str | None, address: IPv4Address, now: float) -> None:
        claim = self._claims.get(int(address))
        if claim is None or claim.holder == holder or not claim.binds(now):
            return
        if claim.held_until is None:
            raise AddressInUseError(f"{address} is in use by {self._label(claim)}")
        raise AddressInUseError(
            f"{address} is kept for {self._label(claim)}, which has stopped, for {claim.held_until - now:.0f} s more"
        )

    def _users_elsewhere(self, number: int) -> list[str]:
        there = [each for each in self.foreign.all_on(number) if not each.kept]
        return [claims.label(each.holder, each.name, each.peer) for each in there]

    def _label(self, claim: Claim) -> str:
        return claims.label(claim.holder, claim.name, self._host)

    def _put(self, claim: Claim) -> None:
        number = int(claim.interface.ip)
        self._drop(number)
        self._claims[number] = claim
        if claim.held_until is not None:
            self._held.add(number)
        self._by_holder.setdefault(claim.holder, set()).add(number)

    def _drop_holder(self, holder: str) -> None:
        for number in tuple(self._by_holder.get(holder, ())):
            self._drop(number)

    def _drop(self, number: int) -> None:
        self._touched.add(number)
        self._held.discard(number)
        claim = self._claims.pop(number, None)
        if claim is None:
            return
        numbers = self._by_holder[claim.holder]
        numbers.discard(number)
        if not numbers:
            del self._by_holder[claim.holder]
