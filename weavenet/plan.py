"""What is to be done so that a container is attached or detached as desired: steps, each with its undo. Does nothing.

A step makes one fact true or, with `present=False`, untrue again. Undoing the steps of `attach` in reverse order
gives the state from before, except for a leftover of the container's earlier life, which stays removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

from netaddr import EUI, mac_unix_expanded

INSIDE = "ethwe"
HOST_END_PREFIX = "vethwe"
_IFNAME_MAX = 15
# What Weave gave its containers: multicast goes over the weave network.
MULTICAST = IPv4Network("224.0.0.0/4")


@dataclass(frozen=True, slots=True)
class Observed:
    """What the kernel and the file show of one container's attachment.

    `host_end` is the name of our side of the pair, "" when there is none; `inside` is False when the container has no
    interface of ours, and then the fields about it are empty. `other_routes` are destinations that the container
    reaches over other interfaces. `resolver` is None when there is no resolv.conf to write.
    """

    host_end: str = ""
    alias: str = ""
    enslaved: bool = False
    host_up: bool = False
    host_mtu: int = 0
    inside: bool = False
    mac: str = ""
    mtu: int = 0
    tuned: bool = False
    inside_up: bool = False
    addresses: tuple[IPv4Interface, ...] = ()
    routes: frozenset[IPv4Network] = frozenset()
    other_routes: frozenset[IPv4Network] = frozenset()
    resolver: bytes | None = None


@dataclass(frozen=True, slots=True)
class Desired:
    """How a container is to be attached; `resolver` is the text for its resolv.conf, None to leave that alone."""

    container_id: str
    addresses: tuple[IPv4Interface, ...]
    mtu: int
    dns_subnet: IPv4Network
    resolver_path: Path | None = None
    resolver: bytes | None = None


@dataclass(frozen=True, slots=True)
class Leftover:
    """The host end of the container's earlier life, whose namespace is not quite gone; it is removed for good."""

    host_end: str


@dataclass(frozen=True, slots=True)
class Pair:
    """The two joined interfaces, ours on the host and `INSIDE` in the container."""

    host_end: str
    mac: str
    mtu: int
    present: bool = True


@dataclass(frozen=True, slots=True)
class HostMtu:
    """The host end takes frames of this size."""

    host_end: str
    mtu: int
    before: int


@dataclass(frozen=True, slots=True)
class InsideMtu:
    """The inside takes frames of this size."""

    mtu: int
    before: int


@dataclass(frozen=True, slots=True)
class Alias:
    """Whose the host end is, written where a restarted daemon finds it."""

    host_end: str
    alias: str
    before: str


@dataclass(frozen=True, slots=True)
class Enslaved:
    """The host end is a port of the bridge."""

    host_end: str
    present: bool = True


@dataclass(frozen=True, slots=True)
class HostUp:
    """The host end is up."""

    host_end: str
    present: bool = True


@dataclass(frozen=True, slots=True)
class Tuned:
    """The inside announces its addresses, keeps the others when one goes, and has no IPv6."""

    present: bool = True


@dataclass(frozen=True, slots=True)
class Address:
    """The inside has this address."""

    interface: IPv4Interface
    present: bool = True


@dataclass(frozen=True, slots=True)
class InsideUp:
    """The inside is up."""

    present: bool = True


@dataclass(frozen=True, slots=True)
class Route:
    """The container reaches this destination directly over the inside."""

    destination: IPv4Network
    present: bool = True


@dataclass(frozen=True, slots=True)
class Announcement:
    """The neighbours are told which MAC the container's addresses have, once the pair carries frames."""

    host_end: str
    mac: str


@dataclass(frozen=True, slots=True)
class Resolver:
    """The container's resolv.conf says `text` instead of `before`."""

    path: Path
    text: bytes
    before: bytes


HostStep = Leftover | Pair | HostMtu | Alias | Enslaved | HostUp
InsideStep = Tuned | InsideMtu | Address | InsideUp | Route
Step = HostStep | InsideStep | Announcement | Resolver


def undo(step: Step) -> Step | None:
    """The step that takes this one back; None for what leaves nothing behind."""
    match step:
        case Leftover() | Announcement():
            return None
        case Alias(host_end, alias, before):
            return Alias(host_end, before, alias)
        case HostMtu(host_end, mtu, before_mtu):
            return HostMtu(host_end, before_mtu, mtu)
        case InsideMtu(mtu, before_mtu):
            return InsideMtu(before_mtu, mtu)
        case Resolver(path, text, before):
            return Resolver(path, before, text)
        case _:
            return replace(step, present=not step.present)


def attach(observed: Observed, desired: Desired) -> list[Step]:
    """Steps that make every desired fact true and leave everything else as it is; none when all are true already."""
    return [*_pair(observed, desired), *_inside(observed, desired), *_resolver(observed, desired)]


def detach(observed: Observed, leave: tuple[IPv4Interface, ...], desired: Desired) -> list[Step]:
    """Steps that take all addresses but those to `leave` away; with none left, the interface goes too."""
    if not leave:
        gone: list[Step] = [Pair(observed.host_end, observed.mac, desired.mtu, present=False)]
        return [*_resolver(observed, desired), *gone]
    routes = _routes(observed, replace(desired, addresses=leave))
    return [*routes, *(Address(each, present=False) for each in observed.addresses if each not in leave)]


def host_end_of(container_id: str) -> str:
    """The name of the host's end of a container's pair: the same at each attach, at most 15 characters."""
    return (HOST_END_PREFIX + container_id)[:_IFNAME_MAX]


def local_mac(octets: bytes) -> str:
    """A locally administered MAC, which no vendor gave out, with the first five of these octets."""
    return str(EUI(int.from_bytes(b"\x02" + octets[:5], "big"), version=48, dialect=mac_unix_expanded))


def mac_of(container_id: str) -> str:
    """The container's MAC on the weave network: locally administered, and the same after a restart."""
    return local_mac(sha256(container_id.encode()).digest())


def _pair(observed: Observed, desired: Desired) -> Iterator[Step]:
    host_end = observed.host_end
    if not observed.inside:
        if host_end:
            yield Leftover(host_end)
        observed = Observed()
        host_end = host_end_of(desired.container_id)
        yield Pair(host_end, mac_of(desired.container_id), desired.mtu)
    elif observed.host_mtu != desired.mtu:
        yield HostMtu(host_end, desired.mtu, observed.host_mtu)
    if observed.alias != desired.container_id:
        yield Alias(host_end, desired.container_id, observed.alias)
    if not observed.enslaved:
        yield Enslaved(host_end)
    if not observed.host_up:
        yield HostUp(host_end)


def _inside(observed: Observed, desired: Desired) -> Iterator[Step]:
    if not observed.tuned:
        yield Tuned()
    if observed.inside and observed.mtu != desired.mtu:
        yield InsideMtu(desired.mtu, observed.mtu)
    missing = tuple(each for each in desired.addresses if each not in observed.addresses)
    for interface in missing:
        yield Address(interface)
    if not observed.inside_up:
        yield InsideUp()
    yield from _routes(observed, desired)
    if missing or not (observed.inside_up and observed.host_up and observed.enslaved):
        if observed.inside:
            yield Announcement(observed.host_end, observed.mac)
        else:
            yield Announcement(host_end_of(desired.container_id), mac_of(desired.container_id))


def _routes(observed: Observed, desired: Desired) -> Iterator[Step]:
    # Without a route there the container could not ask the DNS server beside it.
    covered = any(desired.dns_subnet.subnet_of(each.network) for each in desired.addresses)
    if not covered and desired.dns_subnet not in observed.routes:
        yield Route(desired.dns_subnet)
    if MULTICAST not in observed.routes | observed.other_routes:
        yield Route(MULTICAST)


def _resolver(observed: Observed, desired: Desired) -> Iterator[Step]:
    if desired.resolver_path is None or desired.resolver is None or observed.resolver is None:
        return
    if desired.resolver != observed.resolver:
        yield Resolver(desired.resolver_path, desired.resolver, observed.resolver)
