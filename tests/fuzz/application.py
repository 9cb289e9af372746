"""What peers send beside gossip (addresses, questions in parts, removals), heard by the code that takes it."""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Network
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from weavedns.cluster.addresses import Carrier
from weavedns.cluster.cluster import Cluster
from weavedns.cluster.parcels import KIND, MAX_PARTS, PART_BYTES, Parcels
from weavedns.control import peers
from weavedns.errors import PeerError, WeaveError
from weavedns.gossip.message import MAX_REQUEST_BYTES
from weavedns.records import names
from weavedns.records.catalog import Catalog
from weavedns.records.log import Delta, Entry, Fact, FactKind, Replica
from weavedns.registry import Registry
from weavenet.errors import RingError
from weavenet.ipam import wire
from weavenet.ringfile import Kept, RingFile
from weavenet.ringkeeper import RingKeeper
from weavenet.sharing import RING_KEY, Sharing

RANGE, DNS = IPv4Network("10.2.0.0/24"), IPv4Network("10.2.0.128/25")


class _NoDisk:
    """A ring's file that is never written."""

    async def load(self) -> Kept | None:
        return None

    async def save(self, kept: Kept) -> None:
        del kept


class _NobodyAdded:
    def check(self, name: str, data: list[str]) -> None:
        if data:
            raise PeerError(f"nothing was added under {name!r} with {data}")

    async def remove(self, name: str, data: list[str]) -> int:
        raise PeerError(f"nothing was added under {name!r} with {data}")


class Daemon:
    """The parts of a daemon that other peers' payloads reach, without sockets or disk."""

    def __init__(self, sharing: Sharing, catalog: Catalog) -> None:
        self.sharing = sharing
        self._catalog = catalog
        # Not connected, so that nothing is sent; what comes is taken in all the same.
        self._carrier = Carrier(None, catalog)
        self._carrier.sharing = sharing
        self._parcels = Parcels(self._no_request, sharing.answer)
        self._registry = cast("Registry", _NobodyAdded())

    @classmethod
    async def start(cls, *, ring: bool) -> Daemon:
        catalog = Catalog("victim")
        catalog.adopt(Replica("evil", 1))
        keeper = await RingKeeper.open(
            cast("RingFile", _NoDisk()), name="victim", weave_range=RANGE, dns_subnet=DNS, default_subnet=RANGE
        )
        carrier = Carrier(None, catalog)
        sharing = Sharing(keeper, carrier, clock=lambda: 0.0)
        if ring:
            await sharing.start()
            sharing.recovered()
        return cls(sharing, catalog)

    @staticmethod
    async def _no_request(peer: str, kind: str, body: bytes) -> bytes:
        raise PeerError(f"{peer} is not asked {kind} {body!r}")

    async def asked(self, body: bytes) -> None:
        """A request of the kind that carries questions about addresses; a reply has to fit."""
        with contextlib.suppress(PeerError):
            assert len(await self._parcels.came("evil", body)) <= MAX_REQUEST_BYTES

    async def answered(self, body: bytes) -> None:
        """The answer to a question of its own, in parts."""
        left = MAX_PARTS

        async def reply(_peer: str, _kind: str, _body: bytes) -> bytes:
            nonlocal left
            left -= 1
            return body

        with contextlib.suppress(PeerError):
            whole = await Parcels(reply, self.sharing.answer).ask("evil", b"")
            assert len(whole) <= MAX_PARTS * PART_BYTES
        assert left >= 0

    async def questioned(self, question: bytes) -> None:
        """A whole question about addresses; what it answers is well formed."""
        wire.decode_answer(await self.sharing.answer("evil", question))
        self._sound()

    async def replied(self, answer: bytes) -> None:
        """A whole answer about addresses."""
        with contextlib.suppress(RingError):
            self.sharing._keeper.replied("evil", wire.decode_answer(answer))
        self._sound()

    async def told(self, key: bytes, value: bytes) -> None:
        """A fact of another peer, as gossip brings it."""
        for kind in (FactKind.CLAIM, FactKind.RING, FactKind.PEER):
            replica = self._catalog.replica("evil")
            assert replica is not None
            entry = Entry(Fact("evil", kind, key, value), added=True)
            self._catalog.merge(Delta("evil", 1, replica.version, (entry,)), 0.0)
        self._carrier.facts_changed("evil")
        self._sound()

    async def asked_to_remove(self, body: bytes) -> None:
        """A request to remove records."""
        with contextlib.suppress(WeaveError):
            await peers.removed_for(self._registry, body)

    async def told_how_many(self, reply: bytes) -> None:
        """The answer to a request of its own to remove records."""

        async def ask(_peer: str, _kind: str, _body: bytes) -> bytes:
            return reply

        cluster = cast("Cluster", SimpleNamespace(is_live=lambda _: True, ask=ask))
        owners: Any = SimpleNamespace(owners=lambda: ["evil"], replica=self._owner, own=None)
        with contextlib.suppress(WeaveError):
            await peers.remove(cluster, owners, self._registry, names.parse("weave.local"), ("x", []))

    @staticmethod
    def _owner(_name: str) -> Any:
        added = SimpleNamespace(origin="added", holder="added", rtype=1, rdata=b"1234")
        return SimpleNamespace(of_name=lambda _: [added])

    def _sound(self) -> None:
        """What it says to others, and shows to people, can still be said and shown."""
        keeper = self.sharing._keeper
        assert wire.decode_ring(wire.encode_ring(keeper.ring.update())) == keeper.ring.update()
        wire.decode_answer(
            wire.encode(wire.NoRing(tuple(keeper.seeding.members), keeper.seeding.promised_to, (), "x"))
        )
        for line in peers.ipam_text(peers.ipam(self.sharing, "victim")).splitlines():
            assert line.isprintable(), line


def ring_update(stretches: object, ring_id: str = "evil/1", owners: object = (("evil", "1"),)) -> bytes:
    """A ring as bytes, whether or not it is sound."""
    return msgspec.msgpack.encode((ring_id, owners, stretches))


__all__ = ["KIND", "RING_KEY", "Daemon", "ring_update"]
