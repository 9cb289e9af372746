"""The weave network of one host: bridge, DNS address, overlay and packet filter rules, made and kept in place.

It never attaches a container (attach.py does) and never stops on its own: `down` is for taking everything away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from weavenet import bridge as bridges
from weavenet import overlay as overlays
from weavenet.bridge import Port
from weavenet.errors import NetworkError, WeaveNetError
from weavenet.iptables import Firewall, Gate
from weavenet.netlink import Netlink
from weavenet.netns import Namespace
from weavenet.overlay import Overlay

KEEP_EVERY_S = 5.0

log = logging.getLogger(__name__)


class WeaveNetwork:
    """The weave network in one namespace, by default that of the process.

    `dns_address` None: the one that the bridge still carries, else the first of the DNS subnet. `mtu` None: that of
    the ways to the peers or, without any, of the host's default route; less what the overlay needs. `overlay_port`
    None: the network ends at this host.
    """

    def __init__(
        self,
        *,
        weave_range: IPv4Network,
        dns_subnet: IPv4Network,
        dns_address: IPv4Address | None = None,
        mtu: int | None = None,
        bridge: str = "weave",
        overlay_port: int | None = None,
        namespace: Namespace | None = None,
    ) -> None:
        self.weave_range = weave_range
        self.dns_subnet = dns_subnet
        self.bridge = bridge
        self.namespace = namespace or Namespace.own()
        self._asked_address = dns_address
        self._asked_mtu = mtu
        self._overlay = None if overlay_port is None else Overlay(bridge, overlay_port)
        # None until somebody knows: an overlay of an earlier launch then goes on as it is.
        self._peers: frozenset[IPv4Address] | None = None
        self._sources: frozenset[IPv4Address] = frozenset()
        self._firewall = Firewall(self.namespace, bridge)
        self._dns: IPv4Interface | None = None
        self._mtu = 0
        self._mac = bridges.random_mac()
        self._changing = asyncio.Lock()

    @property
    def dns_address(self) -> IPv4Address:
        """This peer's DNS address; known once the network is up."""
        return self._carried().ip

    @property
    def mtu(self) -> int:
        """The MTU of the bridge and of each container's interface; known once the network is up."""
        self._carried()
        return self._mtu

    async def up(self, dns_address: IPv4Address | None = None) -> bool:
        """Make everything that is not there already; whether the bridge was made by this call.

        `dns_address`, when given, is this peer's from now on. Raises RangeConflictError or NetworkError; a bridge
        that this call made is then gone again.
        """
        async with self._changing:
            self._asked_address = dns_address or self._asked_address
            return await asyncio.to_thread(self._up)

    async def carried(self) -> list[IPv4Address]:
        """The addresses of the DNS subnet that the bridge has, maybe from an earlier launch.

        Raises RangeConflictError or NetworkError when there can be no weave network here; nothing is changed.
        """
        return await asyncio.to_thread(self._carried_before)

    async def reach_out(self, overlay_port: int, *, anew: bool = True) -> list[IPv4Address]:
        """Have an overlay from now on; without `anew` only if an earlier launch left one. Whom it floods by now.

        Raises NetworkError.
        """
        async with self._changing:
            overlay = self._overlay or Overlay(self.bridge, overlay_port)
            known = await asyncio.to_thread(self._flooded, overlay)
            if known is not None or anew:
                self._overlay = overlay
            return sorted(known or ())

    @property
    def overlay_device(self) -> str:
        """The name of the overlay's device; empty while the network ends at this host."""
        return self._overlay.device if self._overlay else ""

    @property
    def peers(self) -> list[IPv4Address]:
        """The hosts that the overlay was told to reach."""
        return sorted(self._peers or ())

    async def set_peers(self, addresses: Iterable[IPv4Address], *, also_from: Iterable[IPv4Address] = ()) -> bool:
        """Join this network with that of the hosts at these underlay addresses, and of no other.

        Packets are let in from these addresses and those of `also_from`, which peers with several may send from.
        Until the first call, which may come before `up`, the hosts of an earlier launch stay. Whether the MTU is
        another than before: containers' interfaces are to follow then. Raises NetworkError.
        """
        async with self._changing:
            self._peers = frozenset(addresses)
            self._sources = frozenset(also_from)
            before = self._mtu
            done = await asyncio.to_thread(self._put_right)
        if done:
            log.info("the weave network: %s", ", ".join(done))
        return self._mtu != before

    async def keep(self) -> None:
        """Put back, until cancelled, what others take away: firewalls are reloaded, Docker puts its rules first."""
        while True:
            await asyncio.sleep(KEEP_EVERY_S)
            try:
                await self.put_right()
            except WeaveNetError as exc:
                log.warning("the weave network is not as it should be: %s", exc)

    async def put_right(self) -> list[str]:
        """Put back what is not as `up` left it; what was missing, in words. Raises NetworkError."""
        async with self._changing:
            done = await asyncio.to_thread(self._put_right)
        if done:
            log.warning("put back on the weave network: %s", ", ".join(done))
        return done

    async def ports(self) -> list[Port]:
        """The containers' interfaces on the bridge, from the kernel; raises NetworkError."""
        return await asyncio.to_thread(self._ports)

    async def down(self) -> None:
        """Remove rules, containers' interfaces and the bridge; goes on past an error, then raises the first."""
        async with self._changing:
            await asyncio.to_thread(self._down)

    def _carried(self) -> IPv4Interface:
        if self._dns is None:
            raise RuntimeError("the weave network is not up")
        return self._dns

    def _up(self) -> bool:
        with Netlink(self.namespace) as netlink:
            bridges.refuse_conflict(netlink, self.bridge, self.weave_range)
            self._mtu = self._fitting_mtu(netlink)
            link = netlink.link(self.bridge)
            carried = netlink.addresses(link.index) if link else []
            address = bridges.choose_dns_address(self._asked_address, carried, self.dns_subnet)
            self._dns = IPv4Interface((address, self.weave_range.prefixlen))
            made = bridges.make(netlink, self.bridge, self._mtu, self._mac)
        try:
            self._put_right()
            with Netlink(self.namespace) as netlink:
                bridges.remove_earlier(netlink, self.bridge, self._dns, self.dns_subnet)
        except WeaveNetError:
            if made:
                self._down()
            raise
        return made

    def _put_right(self) -> list[str]:
        dns = self._dns
        if dns is None:
            return []  # taken down, or not up yet
        with Netlink(self.namespace) as netlink:
            link = netlink.link(self.bridge)
            if link is None:
                # With the same MAC, so that containers find their DNS server at once.
                bridges.make(netlink, self.bridge, self._mtu, self._mac)
            else:
                self._mac = link.mac
            self._mtu = self._fitting_mtu(netlink)
            done = bridges.put_right(netlink, self.namespace, self.bridge, dns, self._mtu)
            peers = self._overlay_peers(netlink, self._overlay) if self._overlay else frozenset()
            # Before there is an overlay that strangers could send to.
            if self._firewall.ensure(
                dns.ip, Gate(self._overlay.port, peers | self._sources) if self._overlay else None
            ):
                done.append("packet filter rules")
            if self._overlay is not None:
                done += overlays.put_right(netlink, self.namespace, self._overlay, peers, self._mtu)
        return done

    def _fitting_mtu(self, netlink: Netlink) -> int:
        if self._asked_mtu is not None:
            return self._asked_mtu
        default = bridges.mtu_of_default_route(netlink.routes(), netlink.links())
        if self._overlay is None:
            return default
        peers = self._overlay_peers(netlink, self._overlay)
        return overlays.mtu_for(overlays.underlay_mtus(netlink, peers), default)

    def _overlay_peers(self, netlink: Netlink, overlay: Overlay) -> frozenset[IPv4Address]:
        return overlays.flooded(netlink, overlay) if self._peers is None else self._peers

    def _flooded(self, overlay: Overlay) -> frozenset[IPv4Address] | None:
        with Netlink(self.namespace) as netlink:
            if netlink.vxlan(overlay.device) is None:
                return None
            return overlays.flooded(netlink, overlay)

    def _carried_before(self) -> list[IPv4Address]:
        with Netlink(self.namespace) as netlink:
            bridges.refuse_conflict(netlink, self.bridge, self.weave_range)
            link = netlink.link(self.bridge)
            carried = netlink.addresses(link.index) if link else []
        return [each.ip for each in carried if each.ip in self.dns_subnet]

    def _ports(self) -> list[Port]:
        with Netlink(self.namespace) as netlink:
            return bridges.ports(netlink, self.bridge)

    def _down(self) -> None:
        errors: list[NetworkError] = []
        self._dns = None
        try:
            self._firewall.remove()
        except NetworkError as exc:
            errors.append(exc)
        with Netlink(self.namespace) as netlink:
            overlays.remove(netlink, self._overlay or Overlay(self.bridge))
            bridges.remove(netlink, self.bridge)
        if errors:
            raise errors[0]
