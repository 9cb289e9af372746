"""The weave network of one host: the bridge, its DNS address and its packet filter rules, made and kept in place.

It never attaches a container (attach.py does) and never stops on its own: `down` is for taking everything away.
"""

from __future__ import annotations

import asyncio
import logging
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from weavenet import bridge as bridges
from weavenet.bridge import Port
from weavenet.errors import NetworkError, WeaveNetError
from weavenet.iptables import Firewall
from weavenet.netlink import Netlink
from weavenet.netns import Namespace

KEEP_EVERY_S = 5.0

log = logging.getLogger(__name__)


class WeaveNetwork:
    """The weave network in one namespace, by default that of the process.

    `dns_address` None: the one that the bridge still carries, else the first of the DNS subnet. `mtu` None: that of
    the host's default route.
    """

    def __init__(
        self,
        *,
        weave_range: IPv4Network,
        dns_subnet: IPv4Network,
        dns_address: IPv4Address | None = None,
        mtu: int | None = None,
        bridge: str = "weave",
        namespace: Namespace | None = None,
    ) -> None:
        self.weave_range = weave_range
        self.dns_subnet = dns_subnet
        self.bridge = bridge
        self.namespace = namespace or Namespace.own()
        self._asked_address = dns_address
        self._asked_mtu = mtu
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

    async def up(self) -> bool:
        """Make everything that is not there already; whether the bridge was made by this call.

        Raises RangeConflictError or NetworkError; a bridge that this call made is then gone again.
        """
        async with self._changing:
            return await asyncio.to_thread(self._up)

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
            self._mtu = self._asked_mtu or bridges.mtu_of_default_route(netlink.routes(), netlink.links())
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
            done = bridges.put_right(netlink, self.namespace, self.bridge, dns, self._mtu)
        if self._firewall.ensure(dns.ip):
            done.append("packet filter rules")
        return done

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
            bridges.remove(netlink, self.bridge)
        if errors:
            raise errors[0]
