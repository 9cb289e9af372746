"""The many-host parts of one daemon, built and joined in their order. Holds no rule of theirs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address

from weavedns.cluster.addresses import Carrier
from weavedns.cluster.cluster import DNS_FACT, NO_NETWORK_FACT, OVERLAY_FACT, Cluster, Hooks
from weavedns.cluster.reach import Reach
from weavedns.config import Settings
from weavedns.errors import PeerError, WeaveError
from weavedns.records.catalog import Catalog, Change
from weavedns.turns import Turns
from weavenet.network import WeaveNetwork
from weavenet.ringfile import RingFile
from weavenet.ringkeeper import RingKeeper
from weavenet.sharing import Sharing

log = logging.getLogger(__name__)


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
        self._joined = False

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

    async def open_sharing(self, parts: contextlib.AsyncExitStack) -> Sharing:
        """Recover what this peer owns of the range; raises RingFileError."""
        settings = self._settings
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

    async def join(self, parts: contextlib.AsyncExitStack, network: WeaveNetwork | None) -> None:
        """Be one of the peers from here on; once is enough. Raises ListenError."""
        if self.cluster is None or self._joined:
            return
        self._joined = True
        earlier: Sequence[IPv4Address] = ()
        if self.sharing is None:
            self.cluster.tell(NO_NETWORK_FACT, b"")
        if network is not None:
            # Whoever restarts finds the others where the kernel still reaches them.
            earlier = await network.reach_out(self._settings.overlay_port, anew=False)
        await parts.enter_async_context(self.cluster.serving(also=earlier))
        if self.sharing is not None:
            tasks = await parts.enter_async_context(asyncio.TaskGroup())
            parts.callback(tasks.create_task(self.sharing.run()).cancel)

    def reach(self, network: WeaveNetwork) -> Reach:
        """What keeps the overlay and the containers' resolvers in step, once this peer has its DNS address."""
        if self.cluster:
            self.cluster.tell(DNS_FACT, network.dns_address.packed)
            self.cluster.tell(OVERLAY_FACT, self._settings.overlay_port.to_bytes(2, "big"))
        return Reach(self.cluster, network, self._settings.overlay_port)

    def _facts_changed(self, owner: str) -> None:
        if self.sharing is not None:
            self._carrier.facts_changed(owner)

    def _left(self, peer: str) -> None:
        if self.sharing is not None:
            self._carrier.left(peer)
