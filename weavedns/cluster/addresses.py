"""Carries what the sharing of addresses says to other peers: claims and stretches as facts, questions as requests.

Knows nothing of what it carries.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from weavedns.cluster.cluster import NO_NETWORK_FACT, Cluster
from weavedns.cluster.parcels import KIND, Parcels
from weavedns.errors import PeerError
from weavedns.records.catalog import Catalog
from weavedns.records.log import FactKind
from weavenet.errors import PeerError as NoPeerError
from weavenet.sharing import RING_KEY, Sharing

_CARRIED = (FactKind.CLAIM, FactKind.RING)


class Carrier:
    """The `weavenet.sharing.Peers` of one daemon; `sharing` is to be set before anything is heard."""

    sharing: Sharing

    def __init__(self, cluster: Cluster | None, catalog: Catalog) -> None:
        self._cluster = cluster
        self._catalog = catalog
        # What `sharing` was told that each peer says.
        self._heard: dict[str, dict[bytes, bytes]] = {}
        if cluster is not None:
            self._parcels = Parcels(cluster.ask, self._asked)
            cluster.answer_with(KIND, self._parcels.came)

    # What sharing asks for.

    def live(self) -> Collection[str]:
        """The names of the peers that are connected now and have a network, without this one."""
        cluster = self._cluster
        if cluster is None:
            return ()
        return [name for name in cluster.live() if self._shares(name)]

    def named(self) -> Mapping[str, str | None]:
        """The peers named at launch that have a network or were not met yet, each with its name then."""
        cluster = self._cluster
        if cluster is None:
            return {}
        return {
            spelled: name or None
            for spelled, name in cluster.named().items()
            if not name or cluster.told(name, NO_NETWORK_FACT) is None
        }

    async def ask(self, peer: str, question: bytes) -> bytes:
        """What that peer answered; raises weavenet's PeerError."""
        if self._cluster is None:
            raise NoPeerError(f"there is no peer {peer}")
        try:
            return await self._parcels.ask(peer, question)
        except PeerError as exc:
            raise NoPeerError(str(exc)) from exc

    def publish(self, key: bytes, value: bytes | None) -> None:
        """Let every peer know a value of this peer's, or with None that it is withdrawn."""
        kind = FactKind.RING if key == RING_KEY else FactKind.CLAIM
        news = self._catalog.untell(kind, key) if value is None else self._catalog.tell(kind, key, value)
        if news and self._cluster is not None:
            self._cluster.publish()

    # What the cluster tells.

    def facts_changed(self, owner: str) -> None:
        """Another peer's facts may have changed: pass on what is new; of one that is hidden nothing is."""
        replica = self._catalog.replica(owner)
        if replica is None:
            return  # it left, which is told as such
        now = {key: fact.data for (kind, key), fact in replica.facts.items() if kind in _CARRIED}
        before = self._heard.get(owner, {})
        self._heard[owner] = now
        for key in before.keys() - now.keys():
            self.sharing.heard(owner, key, None)
        for key, value in now.items():
            if before.get(key) != value:
                self.sharing.heard(owner, key, value)

    def left(self, peer: str) -> None:
        """A peer is gone for good."""
        self._heard.pop(peer, None)
        self.sharing.forgotten(peer)

    async def _asked(self, peer: str, question: bytes) -> bytes:
        return await self.sharing.answer(peer, question)

    def _shares(self, peer: str) -> bool:
        """Whether a peer has a network."""
        return self._cluster is not None and self._cluster.told(peer, NO_NETWORK_FACT) is None
