"""Links, addresses and routes of one namespace, by netlink. The only importer of pyroute2; decides nothing.

For worker threads: every call blocks until the kernel has answered, which takes less than a millisecond, except
that removing a link takes some tens.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from socket import AF_INET
from typing import Any, Self

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from weavenet.errors import NetworkError
from weavenet.netns import Namespace

# The MAC under which a VXLAN device keeps where to send what it does not know.
FLOOD = "00:00:00:00:00:00"
_IFF_UP = 1
_BRIDGE_PORT_FORWARDING = 3
_SCOPE_LINK = 253
_MAIN_TABLE = 254
# Of the kernel's route types (linux/rtnetlink.h) those that would take traffic for the range, or refuse it.
_ROUTE_TYPES = {1: "", 2: "local ", 6: "blackhole ", 7: "unreachable ", 8: "prohibit "}
_GONE = {errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL, errno.ESRCH}


class KernelError(NetworkError):
    """The kernel's refusal of one request; `code` is its errno."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface; `peer` is the index of the other end of a pair, in whichever namespace that is."""

    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    up: bool
    master: int
    alias: str
    peer: int
    forwarding: bool
    arp_notify: bool


@dataclass(frozen=True, slots=True)
class Route:
    """A route; `link` is the index of its interface, 0 when it has none."""

    destination: IPv4Network
    link: int
    table: int
    type_name: str

    @property
    def in_main(self) -> bool:
        """Whether it is in the table that everybody reads and writes."""
        return self.table == _MAIN_TABLE


@dataclass(frozen=True, slots=True)
class Way:
    """How an address is reached: over which interface, and with an MTU of the route's own, 0 when it has none."""

    link: int
    mtu: int


@dataclass(frozen=True, slots=True)
class Vxlan:
    """What cannot be changed in a VXLAN device once it exists."""

    vni: int
    port: int
    learning: bool


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Where a VXLAN device sends frames for a MAC; for MAC `FLOOD`, those for all that it does not know."""

    mac: str
    destination: IPv4Address


class Netlink:
    """A netlink socket in a namespace. It belongs to the thread that made it."""

    def __init__(self, namespace: Namespace) -> None:
        with namespace.entered(), _explained("open a netlink socket"):
            self._socket = IPRoute(groups=0)
        # Indexes found so far: a socket lives for one operation, and names change meanwhile by its own doing only.
        self._indexes: dict[str, int] = {}

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def links(self) -> list[Link]:
        """Every interface."""
        with _explained("list interfaces"):
            return [_link(message) for message in self._socket.link("dump")]

    def link(self, name: str) -> Link | None:
        """The interface of that name, if there is one."""
        return self._one_link(f"look at interface {name}", ifname=name)

    def link_at(self, index: int) -> Link | None:
        """The interface with that index, if there is one."""
        return self._one_link(f"look at interface {index}", index=index)

    def add_bridge(self, name: str, mac: str, mtu: int) -> None:
        """Make a bridge that keeps its MAC whatever joins it."""
        with _explained(f"make bridge {name}"):
            self._socket.link("add", ifname=name, kind="bridge", address=mac, mtu=mtu)

    def add_pair(self, name: str, mtu: int, inside: str, mac: str, namespace: Namespace) -> None:
        """Make two joined interfaces, `name` here and `inside` in another namespace, in one request."""
        peer = {"ifname": inside, "address": mac, "mtu": mtu, "net_ns_fd": namespace.fd}
        with _explained(f"make interfaces {name} and {inside}"):
            self._socket.link("add", ifname=name, kind="veth", mtu=mtu, peer=peer)

    def add_vxlan(self, name: str, vxlan: Vxlan, mtu: int) -> None:
        """Make a VXLAN device that sends to nobody yet."""
        what = {"vxlan_id": vxlan.vni, "vxlan_port": vxlan.port, "vxlan_learning": vxlan.learning}
        with _explained(f"make overlay {name}"):
            self._socket.link("add", ifname=name, kind="vxlan", mtu=mtu, **what)

    def vxlan(self, name: str) -> Vxlan | None:
        """What that VXLAN device is; None when there is no such device."""
        with _explained(f"look at interface {name}", unless=_GONE):
            info = self._socket.link("get", ifname=name)[0].get_attr("IFLA_LINKINFO")
            data = info.get_attr("IFLA_INFO_DATA") if info and info.get_attr("IFLA_INFO_KIND") == "vxlan" else None
            if data is not None:
                learning = bool(data.get_attr("IFLA_VXLAN_LEARNING"))
                return Vxlan(data.get_attr("IFLA_VXLAN_ID"), data.get_attr("IFLA_VXLAN_PORT"), learning)
        return None

    def forwarding(self, name: str) -> list[Forwarding]:
        """Where a VXLAN device sends to other hosts, by what it was told and what it has learnt."""
        with _explained(f"list where {name} sends to"):
            messages = list(self._socket.fdb("dump", ifindex=self._index(name)))
        return [
            Forwarding(message.get_attr("NDA_LLADDR"), IPv4Address(message.get_attr("NDA_DST")))
            for message in messages
            if message["ifindex"] == self._index(name) and message.get_attr("NDA_DST")
        ]

    def add_flooding(self, name: str, destination: IPv4Address) -> None:
        """Let a VXLAN device send to one more host what it does not know where to send; no error if it does so."""
        with _explained(f"let {name} send to {destination}", unless={errno.EEXIST}):
            self._socket.fdb("append", ifindex=self._index(name), lladdr=FLOOD, dst=str(destination))

    def remove_forwarding(self, name: str, entry: Forwarding) -> None:
        """Let it no longer do so; that it is forgotten already is no error."""
        with _explained(f"let {name} no longer send to {entry.destination}", unless=_GONE | {errno.ENOENT}):
            self._socket.fdb("del", ifindex=self._index(name), lladdr=entry.mac, dst=str(entry.destination))

    def way_to(self, address: IPv4Address) -> Way | None:
        """How the kernel would reach an address; None when it would not."""
        with _explained(f"find the way to {address}", unless={errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES}):
            message = next(iter(self._socket.route("get", dst=str(address))))
            metrics = message.get_attr("RTA_METRICS")
            return Way(message.get_attr("RTA_OIF") or 0, (metrics.get_attr("RTAX_MTU") if metrics else 0) or 0)
        return None

    def set_link(self, name: str, **changes: str | int) -> None:
        """Change `mac`, `mtu`, `alias`, `master` (an index, 0 for none) or `state` (up or down) of an interface."""
        renamed = {"mac": "address", "alias": "ifalias"}
        request = {renamed.get(key, key): value for key, value in changes.items()}
        told = ", ".join(f"{key} {value}" for key, value in changes.items())
        with _explained(f"set {told} of interface {name}"):
            self._socket.link("set", ifname=name, **request)

    def remove_link(self, name: str) -> None:
        """Remove an interface, and with it the other end of a pair; that it is gone already is no error."""
        with _explained(f"remove interface {name}", unless=_GONE):
            self._socket.link("del", ifname=name)
        self._indexes.pop(name, None)

    def addresses(self, index: int) -> list[IPv4Interface]:
        """The IPv4 addresses of an interface, first given first."""
        with _explained("list addresses"):
            messages = list(self._socket.addr("dump", family=AF_INET, index=index))
        return [
            IPv4Interface((message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS"), message["prefixlen"]))
            for message in messages
            if message["index"] == index
        ]

    def add_address(self, name: str, interface: IPv4Interface) -> None:
        """Give an interface an address; that it has it already is no error."""
        with _explained(f"add address {interface} to {name}", unless={errno.EEXIST}):
            self._socket.addr("add", index=self._index(name), **_address(interface))

    def remove_address(self, name: str, interface: IPv4Interface) -> None:
        """Take an address from an interface; that it has it no more is no error."""
        with _explained(f"remove address {interface} from {name}", unless=_GONE):
            self._socket.addr("del", index=self._index(name), **_address(interface))

    def routes(self) -> list[Route]:
        """The IPv4 routes of all tables that carry traffic or refuse it; not those for broadcast and multicast."""
        with _explained("list routes"):
            messages = list(self._socket.route("dump", family=AF_INET))
        return [_route(message) for message in messages if message["type"] in _ROUTE_TYPES]

    def add_route(self, name: str, destination: IPv4Network) -> None:
        """Let a destination be reached directly over an interface; that it is so already is no error."""
        with _explained(f"add route {destination} dev {name}", unless={errno.EEXIST}):
            self._socket.route("add", dst=str(destination), oif=self._index(name), scope=_SCOPE_LINK)

    def remove_route(self, name: str, destination: IPv4Network) -> None:
        """Take that back; that it is gone already is no error."""
        with _explained(f"remove route {destination} dev {name}", unless=_GONE):
            self._socket.route("del", dst=str(destination), oif=self._index(name), scope=_SCOPE_LINK)

    def _one_link(self, what: str, **which: str | int) -> Link | None:
        with _explained(what, unless=_GONE):
            link = _link(self._socket.link("get", **which)[0])
            self._indexes[link.name] = link.index
            return link
        return None

    def _index(self, name: str) -> int:
        if name not in self._indexes and self.link(name) is None:
            raise NetlinkError(errno.ENODEV, "No such device")
        return self._indexes[name]


def _address(interface: IPv4Interface) -> dict[str, str | int]:
    network = interface.network
    return {"address": str(interface.ip), "prefixlen": network.prefixlen, "broadcast": str(network.broadcast_address)}


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    inet = message.get_nested("IFLA_AF_SPEC", "AF_INET") or {}
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        kind=(info.get_attr("IFLA_INFO_KIND") if info else None) or "",
        mac=message.get_attr("IFLA_ADDRESS") or "",
        mtu=message.get_attr("IFLA_MTU") or 0,
        up=bool(message["flags"] & _IFF_UP),
        master=message.get_attr("IFLA_MASTER") or 0,
        alias=message.get_attr("IFLA_IFALIAS") or "",
        peer=message.get_attr("IFLA_LINK") or 0,
        forwarding=_port_state(info) == _BRIDGE_PORT_FORWARDING,
        arp_notify=bool(inet.get("arp_notify")),
    )


def _port_state(info: Any) -> int | None:
    if info is None or info.get_attr("IFLA_INFO_SLAVE_KIND") != "bridge":
        return None
    state: int | None = info.get_nested("IFLA_INFO_SLAVE_DATA", "IFLA_BRPORT_STATE")
    return state


def _route(message: Any) -> Route:
    destination = IPv4Address(message.get_attr("RTA_DST") or "0.0.0.0")
    return Route(
        destination=IPv4Network((destination, message["dst_len"])),
        link=message.get_attr("RTA_OIF") or _first_hop(message),
        table=message.get_attr("RTA_TABLE") or message["table"],
        type_name=_ROUTE_TYPES[message["type"]],
    )


def _first_hop(message: Any) -> int:
    hops = message.get_attr("RTA_MULTIPATH") or []
    return int(hops[0]["oif"]) if hops else 0


@contextlib.contextmanager
def _explained(what: str, unless: AbstractSet[int] = frozenset()) -> Iterator[None]:
    """Turn what pyroute2 raises into KernelError, except for a code that means that there is nothing to do."""
    try:
        yield
    except (NetlinkError, OSError) as exc:
        code = getattr(exc, "code", None) or getattr(exc, "errno", None) or 0
        if code in unless:
            return
        if code in {errno.EPERM, errno.EACCES}:
            raise KernelError(f"may not {what}: run as root, or with CAP_NET_ADMIN", code) from exc
        reason = os.strerror(code) if code else str(exc)
        raise KernelError(f"cannot {what}: {reason}", code) from exc
