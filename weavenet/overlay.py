"""The overlay between the hosts: one VXLAN device on the weave bridge, and whom it floods. Never knows who is a peer.

Frames to many, or to whom it has not learnt of yet, go to every remote peer, one copy each; the rest it learns from
what arrives (RFC 7348). The functions that take a `Netlink` block for milliseconds: for worker threads.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from weavenet import sysctl
from weavenet.errors import NetworkError
from weavenet.netlink import FLOOD, KernelError, Netlink, Vxlan
from weavenet.netns import Namespace

DEFAULT_PORT = 6784
# The same on every host: one weave network a host.
VNI = 6784
# What VXLAN puts around a frame: Ethernet 14, IPv4 20, UDP 8, VXLAN 8 octets.
OVERHEAD = 50
_LEAST_MTU = 576


@dataclass(frozen=True, slots=True)
class Overlay:
    """What the overlay shall be: its device, the bridge that it is a port of, and its UDP port."""

    bridge: str
    port: int = DEFAULT_PORT

    @property
    def device(self) -> str:
        """The name of the VXLAN device."""
        return f"{self.bridge}vx"


def mtu_for(underlay_mtus: Iterable[int], otherwise: int) -> int:
    """The MTU inside the overlay when that is the MTU of the ways to the peers, `otherwise` when there is no peer."""
    return max(min(underlay_mtus, default=otherwise) - OVERHEAD, _LEAST_MTU)


def underlay_mtus(netlink: Netlink, peers: Collection[IPv4Address]) -> list[int]:
    """The MTU of the way to each peer that there is a way to."""
    links = {link.index: link for link in netlink.links()}
    found: list[int] = []
    for peer in peers:
        way = netlink.way_to(peer)
        if way is not None and way.link in links:
            found.append(way.mtu or links[way.link].mtu)
    return found


def put_right(
    netlink: Netlink, namespace: Namespace, overlay: Overlay, peers: Collection[IPv4Address], mtu: int
) -> list[str]:
    """Make the device, its settings and its flood list right; what had to be done, in words. Raises NetworkError.

    A device that is as it should be stays, with what it has learnt.
    """
    name = overlay.device
    bridge = netlink.link(overlay.bridge)
    if bridge is None:
        raise NetworkError(f"bridge {overlay.bridge} is gone: launch again")
    done = _make(netlink, overlay, mtu)
    link = netlink.link(name)
    if link is None:
        raise NetworkError(f"interface {name} is gone again: see who removes it")
    if link.mtu != mtu:
        netlink.set_link(name, mtu=mtu)
        done.append(f"MTU {mtu} of {name}")
    sysctl.write(namespace, {f"ipv6/conf/{name}/disable_ipv6": "1"})
    if link.master != bridge.index:
        netlink.set_link(name, master=bridge.index)
        done.append(f"port {name} of bridge {overlay.bridge}")
    if not link.up:
        _bring_up(netlink, overlay)
        done.append(f"{name} up")
    return done + _flood(netlink, name, peers)


def flooded(netlink: Netlink, overlay: Overlay) -> frozenset[IPv4Address]:
    """The peers that the device floods now; none when there is no such device."""
    if netlink.vxlan(overlay.device) is None:
        return frozenset()
    return frozenset(each.destination for each in netlink.forwarding(overlay.device) if each.mac == FLOOD)


def remove(netlink: Netlink, overlay: Overlay) -> None:
    """Remove the device if it is ours; that it is gone already is no error."""
    link = netlink.link(overlay.device)
    if link is not None and link.kind == "vxlan":
        netlink.remove_link(overlay.device)


def _make(netlink: Netlink, overlay: Overlay, mtu: int) -> list[str]:
    name = overlay.device
    link = netlink.link(name)
    if link is not None and link.kind != "vxlan":
        raise NetworkError(f"interface {name} is a {link.kind or 'device'}, not the overlay: rename it")
    wanted = Vxlan(VNI, overlay.port, learning=True)
    if link is not None:
        if netlink.vxlan(name) == wanted:
            return []
        # None of this can be changed in a device that exists.
        netlink.remove_link(name)
    try:
        netlink.add_vxlan(name, wanted, mtu)
    except KernelError as exc:
        if exc.code == errno.EEXIST:
            raise NetworkError(
                f"cannot make {name}: another VXLAN device of this host has VNI {VNI} and UDP port {overlay.port}: "
                "give another --overlay-port, the same on all hosts"
            ) from exc
        raise
    return [name]


def _bring_up(netlink: Netlink, overlay: Overlay) -> None:
    try:
        netlink.set_link(overlay.device, state="up")
    except KernelError as exc:
        if exc.code == errno.EADDRINUSE:
            raise NetworkError(
                f"UDP port {overlay.port} of this host is in use: give another --overlay-port, the same on all hosts"
            ) from exc
        raise


def _flood(netlink: Netlink, name: str, peers: Collection[IPv4Address]) -> list[str]:
    """Flood every peer and nobody else, and forget what was learnt from those who are gone."""
    done: list[str] = []
    flooded: set[IPv4Address] = set()
    for entry in netlink.forwarding(name):
        if entry.destination not in peers:
            netlink.remove_forwarding(name, entry)
            if entry.mac == FLOOD:
                done.append(f"{entry.destination} no longer in the overlay")
        elif entry.mac == FLOOD:
            flooded.add(entry.destination)
    for peer in sorted(set(peers) - flooded):
        netlink.add_flooding(name, peer)
        done.append(f"{peer} in the overlay")
    return done
