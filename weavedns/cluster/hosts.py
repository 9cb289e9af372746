"""The many-host parts of one daemon, built and joined in their order. Holds no rule of theirs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from ipaddress import IPv4Address

from weavedns.cluster.addresses import Carrier
from weavedns.cluster.cluster import (
    DNS_FACT,
    NO_NETWORK_FACT,
    SERVES_FACT,
    Cluster,
    Hooks,
)
from weavedns.cluster.reach import Reach
from weavedns.cluster.remembered import RememberedPeers
from weavedns.config import Settings
from weavedns.errors import PeerError, WeaveError
from weavedns.records.catalog import Catalog, Change
from weavedns.turns import Turns
from weavenet.ipam.allocator import Wanted
from weavenet.network import WeaveNetwork
from weavenet.ringfile import RingFile
from weavenet.ringkeeper import RingKeeper
from weavenet.sharing import Sharing

REMEMBER_EVERY_S = 5.0

log = logging.getLogger(__name__)

# How long names that only other peers know may hold back the first answer.
CATCH_UP_S = 5.0


class Hosts:
    """Gossip, the sharing of addresses and what follows from who is there.

    `publish` takes changes of other peers' records; `lost_name` hears that another peer has this one's name.
    `cluster` is None when this daemon has no peers, `sharing` until `open_sharing`.
    """

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        turns: Turns,
        *,
        publish: Callable[[Sequence[Change]], None],
        lost_name: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self.cluster: Cluster | None = None
        if settings.port is not None:
            hooks = Hooks(publish, self._facts_changed, self._left, lost_name)
            self.cluster = Cluster(settings, catalog, hooks, turns)
        self.sharing: Sharing | None = None
        self._carrier = Carrier(self.cluster, catalog)
        self._remembered = RememberedPeers(settings.state_dir / "peers")
        self._joined = False
        self._remembers = True

    def publish(self) -> None:
        """This peer's own records changed."""
        if self.cluster:
            self.cluster.publish()

    def answer_with(self, kind: str, answerer: Callable[[bytes], Awaitable[bytes]]) -> None:
        """Have other peers' requests of a kind answered; what `answerer` raises is told them."""

        async def answer(peer: str, body: bytes) -> bytes:
            try:
                return await answerer(body)
            except WeaveError as exc:
                log.info("peer %s is refused a %s: %s", peer, kind, exc)
                raise PeerError(str(exc)) from exc

        if self.cluster:
            self.cluster.answer_with(kind, answer)

    def end_for_a_restart(self) -> None:
        """Do not tell the others, at the end, that this peer will not be back."""
        if self.cluster:
            self.cluster.leaves = False

    async def ready(self) -> None:
        """Wait until the others had their chance to say which addresses are in use."""
        if self.cluster:
            await self.cluster.met.wait()

    async def caught_up(self) -> None:
        """Wait, not for ever, for what the other peers have to answer with."""
        if self.cluster is None:
            return
        try:
            async with asyncio.timeout(CATCH_UP_S):
                await self.cluster.caught_up.wait()
        except TimeoutError:
            log.warning(
                "not heard of yet, so its names are not answered: %s",
                ", ".join(self.cluster.unmet()) or "what some peers have",
            )
            self.cluster.caught_up.set()

    def serves(self) -> None:
        """Tell the others that this peer answers queries, with all that it could learn."""
        if self.cluster:
            self.cluster.tell(SERVES_FACT, b"")

    async def open_sharing(self, parts: contextlib.AsyncExitStack, network: WeaveNetwork) -> Sharing:
        """Recover where the others were, and what this peer owns of the range; raises RingFileError."""
        settings = self._settings
        await self._recall(network)
        file = RingFile(settings.state_dir / "ring")
        parts.push_async_callback(file.close)
        keeper = await RingKeeper.open(
            file,
            name=settings.name,
            weave_range=settings.weave_range,
            dns_subnet=settings.dns_subnet,
            default_subnet=settings.subnet,
        )
        sharing = self.sharing = self._carrier.sharing = Sharing(keeper, self._carrier)
        await sharing.start()
        return sharing

    async def join(self, parts: contextlib.AsyncExitStack) -> None:
        """Be one of the peers from here on; once is enough. Raises ListenError."""
        if self.cluster is None or self._joined:
            return
        self._joined = True
        if self.sharing is None:
            self.cluster.tell(NO_NETWORK_FACT, b"")
            await self._recall(None)
        await parts.enter_async_context(self.cluster.serving())
        tasks = await parts.enter_async_context(asyncio.TaskGroup())
        parts.callback(tasks.create_task(self._remember(self.cluster)).cancel)
        if self.sharing is not None:
            parts.callback(tasks.create_task(self.sharing.run()).cancel)

    async def claim_dns(
        self, parts: contextlib.AsyncExitStack, carried: Collection[IPv4Address]
    ) -> IPv4Address | None:
        """This peer's DNS address; None when others have to give one. Raises AddressInUseError, NoAddressError."""
        asked = self._settings.dns_address
        if asked is not None and asked not in carried:
            # Who has it is to be heard first, from those that are there.
            await self.join(parts)
            await self.ready()
        if self.sharing is None:
            return None
        found = self.sharing.allocator.claim_dns(asked, carried, asyncio.get_running_loop().time())
        if isinstance(found, Wanted):
            return None
        self.sharing.claimed()
        return found

    async def forget_others(self) -> None:
        """Nothing of the others is to be known at the next launch."""
        self._remembers = False
        await self._remembered.save(())

    def reach(self, network: WeaveNetwork) -> Reach:
        """What keeps the overlay and the containers' resolvers in step, once this peer has its DNS address."""
        if self.cluster:
            self.cluster.tell(DNS_FACT, network.dns_address.packed)
        return Reach(self.cluster, network, self._settings.overlay_port)

    async def _recall(self, network: WeaveNetwork | None) -> None:
        """Find out where others were: the kernel still sends frames there, and after a reboot the disk knows."""
        if self.cluster is None:
            return
        hosts = await network.reach_out(self._settings.overlay_port, anew=False) if network is not None else ()
        self.cluster.expect([*((str(host), self.cluster.port) for host in hosts), *await self._remembered.load()])

    async def _remember(self, cluster: Cluster) -> None:
        while True:
            await asyncio.sleep(REMEMBER_EVERY_S)
            known = cluster.whereabouts()
            if known is not None and self._remembers:
                await self._remembered.save(known)

    def _facts_changed(self, owner: str) -> None:
        if self.sharing is not None:
            self._carrier.facts_changed(owner)

    def _left(self, peer: str) -> None:
        if self.sharing is not None:
            self._carrier.left(peer)
