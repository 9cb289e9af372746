"""The weave bridge of one host: made once, put right when it is not as it should be. Never touches a container.

The functions that take a `Netlink` block for milliseconds: for worker threads.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from weavenet import sysctl
from weavenet.errors import NetworkError, RangeConflictError
from weavenet.netlink import Link, Netlink, Route
from weavenet.netns import Namespace
from weavenet.plan import HOST_END_PREFIX, local_mac

_ETHERNET_MTU = 1500
# VPNs spell the default route as two halves, so that the true one stays.
_LONGEST_DEFAULT = 1


@dataclass(frozen=True, slots=True)
class Port:
    """A container's interface on the bridge; `container_id` is empty when the attaching was cut short."""

    name: str
    container_id: str


def choose_dns_address(
    asked: IPv4Address | None, carried: Sequence[IPv4Interface], dns_subnet: IPv4Network
) -> IPv4Address:
    """This peer's DNS address: the one asked for, else the one the bridge carries, else the first of the subnet.

    Raises NetworkError when the one asked for is no host address of the DNS subnet.
    """
    if asked is not None:
        if asked not in dns_subnet or asked in {dns_subnet.network_address, dns_subnet.broadcast_address}:
            raise NetworkError(f"the DNS address {asked} is no host address of the DNS subnet {dns_subnet}")
        return asked
    hosts = (each.ip for each in carried if each.ip in dns_subnet)
    return next(hosts, dns_subnet.network_address + 1)


def conflicting_route(routes: Sequence[Route], weave_range: IPv4Network, bridge: int) -> Route | None:
    """A route of the host, not of our bridge and no default one, that overlaps the weave range."""
    for route in routes:
        own = bridge != 0 and route.link == bridge
        if not own and route.destination.prefixlen > _LONGEST_DEFAULT and route.destination.overlaps(weave_range):
            return route
    return None


def mtu_of_default_route(routes: Sequence[Route], links: Sequence[Link]) -> int:
    """The smallest MTU of the interfaces that default routes lead over; Ethernet's when there is none."""
    ways_out = {route.link for route in routes if route.in_main and route.destination.prefixlen <= _LONGEST_DEFAULT}
    return min((link.mtu for link in links if link.index in ways_out), default=_ETHERNET_MTU)


def refuse_conflict(netlink: Netlink, name: str, weave_range: IPv4Network) -> None:
    """Raise RangeConflictError when a route of this host overlaps the weave range."""
    links = {link.index: link.name for link in netlink.links()}
    own = next((index for index, link in links.items() if link == name), 0)
    route = conflicting_route(netlink.routes(), weave_range, own)
    if route is not None:
        over = f" dev {links[route.link]}" if route.link in links else ""
        raise RangeConflictError(
            f"the weave range {weave_range} overlaps this host's route {route.type_name}{route.destination}{over}: "
            "give --range a network that this host does not use"
        )


def make(netlink: Netlink, name: str, mtu: int, mac: str) -> bool:
    """Make the bridge, with that MAC, unless it is there; whether it was made. Raises NetworkError."""
    link = netlink.link(name)
    if link is None:
        netlink.add_bridge(name, mac, mtu)
        return True
    if link.kind != "bridge":
        raise NetworkError(f"interface {name} is a {link.kind or 'device'}, not a bridge: rename it")
    # Set once more, so that it stays even if whoever made the bridge left the choice to the kernel, which takes
    # the lowest of its ports: containers would lose their DNS server when that changes.
    netlink.set_link(name, mac=link.mac)
    return False


def remove_earlier(netlink: Netlink, name: str, dns: IPv4Interface, dns_subnet: IPv4Network) -> None:
    """Take away what earlier launches left on the bridge: other addresses for DNS, and those outside the range.

    What was exposed on it stays. Raises NetworkError.
    """
    link = netlink.link(name)
    for address in netlink.addresses(link.index) if link else []:
        if address != dns and (address.ip in dns_subnet or address.ip not in dns.network):
            netlink.remove_address(name, address)


def put_right(netlink: Netlink, namespace: Namespace, name: str, dns: IPv4Interface, mtu: int) -> list[str]:
    """Make the bridge's settings, address and ports right; what had to be done, in words. Raises NetworkError."""
    link = netlink.link(name)
    if link is None:
        raise NetworkError(f"bridge {name} is gone: launch again")
    done: list[str] = []
    if link.mtu != mtu:
        netlink.set_link(name, mtu=mtu)
        done.append(f"MTU {mtu} of bridge {name}")
    sysctl.write(namespace, {f"ipv6/conf/{name}/disable_ipv6": "1", f"ipv4/conf/{name}/promote_secondaries": "1"})
    if not link.up:
        netlink.set_link(name, state="up")
        done.append(f"bridge {name} up")
    if dns not in netlink.addresses(link.index):
        netlink.add_address(name, dns)
        done.append(f"address {dns} of bridge {name}")
    for port in netlink.links():
        if port.name.startswith(HOST_END_PREFIX) and port.alias and port.master != link.index:
            netlink.set_link(port.name, master=link.index)
            netlink.set_link(port.name, state="up")
            done.append(f"port {port.name} of bridge {name}")
    return done


def ports(netlink: Netlink, name: str) -> list[Port]:
    """Every container's interface on the bridge."""
    bridge = netlink.link(name)
    if bridge is None:
        return []
    return [Port(link.name, link.alias) for link in _container_ends(netlink) if link.master == bridge.index]


def remove(netlink: Netlink, name: str) -> None:
    """Remove the bridge and every container's interface; what is gone already is no error."""
    for link in _container_ends(netlink):
        netlink.remove_link(link.name)
    netlink.remove_link(name)


def _container_ends(netlink: Netlink) -> list[Link]:
    return [link for link in netlink.links() if link.name.startswith(HOST_END_PREFIX) and link.kind == "veth"]


def random_mac() -> str:
    """A MAC that no vendor gave out."""
    return local_mac(secrets.token_bytes(5))
