"""Follows who is there: the overlay reaches every peer's host, and containers know other peers' DNS servers.

Holds no rule about either beyond whose turn it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address

from weavedns.cluster.cluster import DNS_FACT, NO_NETWORK_FACT, Cluster
from weavenet.attach import Attacher
from weavenet.errors import WeaveNetError
from weavenet.network import WeaveNetwork

log = logging.getLogger(__name__)

# Peers come in crowds, as when this one joins: one change for all of them.
SETTLE_S = 0.2
RETRY_S = 5.0
MORE_SERVERS = 2


class Reach:
    """One host's overlay and its containers' resolvers, in step with the peers."""

    def __init__(self, cluster: Cluster | None, network: WeaveNetwork, overlay_port: int) -> None:
        self._cluster = cluster
        self._network = network
        self._port = overlay_port

    def nameservers(self, known: Sequence[str] = ()) -> Sequence[str]:
        """The DNS servers that containers here are to ask: this peer's, then the next two by name, in a circle.

        `known` are those that a container asks now. Until it is heard who is there they stay, as its names depend on
        them if this daemon ends before that.
        """
        own = str(self._network.dns_address)
        cluster = self._cluster
        if cluster is None:
            return [own]
        if known[:1] == [own] and not cluster.caught_up.is_set():
            return known
        names = sorted(cluster.live())
        after = [name for name in names if name > cluster.name] + [name for name in names if name < cluster.name]
        found = [str(IPv4Address(told)) for name in after if (told := self._dns_of(name)) is not None]
        return [own, *[each for each in dict.fromkeys(found) if each != own][:MORE_SERVERS]]

    async def follow(self, attacher: Attacher) -> None:
        """Keep overlay and resolvers in step until cancelled."""
        cluster = self._cluster
        if cluster is None:
            return
        told: Sequence[str] = ()
        # Whom an earlier launch reached, or named to containers, stays until it is known who is there.
        await cluster.caught_up.wait()
        while True:
            await cluster.changed.wait()
            await asyncio.sleep(SETTLE_S)
            cluster.changed.clear()
            try:
                await self._reach(attacher)
            except WeaveNetError as exc:
                log.warning("the other hosts' containers cannot be reached: %s", exc)
                asyncio.get_running_loop().call_later(RETRY_S, cluster.changed.set)
            servers = self.nameservers()
            if servers != told:
                told = servers
                await attacher.refresh_resolvers()

    async def _reach(self, attacher: Attacher) -> None:
        hosts = self._hosts()
        if not hosts and not self._network.overlay_device:
            return
        await self._network.reach_out(self._port)
        if await self._network.set_peers(hosts, also_from=self._sources()):
            await attacher.refresh_interfaces()

    def _hosts(self) -> set[IPv4Address]:
        """Where containers of other peers are: also of those that do not answer, as containers outlive a daemon."""
        cluster = self._cluster
        hosts: set[IPv4Address] = set()
        for peer in cluster.peers() if cluster else ():
            if cluster and cluster.told(peer.name, NO_NETWORK_FACT) is None:
                with contextlib.suppress(AddressValueError):
                    hosts.add(IPv4Address(peer.host))
        return hosts

    def _sources(self) -> set[IPv4Address]:
        """Other addresses that peers' packets come from, as a host with several uses the nearest."""
        peers = self._cluster.peers() if self._cluster else ()
        return {IPv4Address(peer.source) for peer in peers if peer.source}

    def _dns_of(self, peer: str) -> bytes | None:
        told = self._cluster.told(peer, DNS_FACT) if self._cluster else None
        return told if told is not None and len(told) == 4 else None  # noqa: PLR2004 - an IPv4 address
