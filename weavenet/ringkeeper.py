"""This peer's ring, kept on disk: what is heard goes in, and only what is durable comes out. Never starts a message.

The rules are those of `weavenet.ipam`. Everything happens on the loop's thread, between two awaits at a time.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection, Iterable
from ipaddress import IPv4Address, IPv4Network

import msgspec

from weavenet.errors import AddressInUseError, ForeignRingError, RingError, TakenElsewhereError
from weavenet.ipam import wire
from weavenet.ipam.allocator import Allocator
from weavenet.ipam.claims import printable
from weavenet.ipam.ring import Owner, Ring, Update, founder
from weavenet.ipam.seeding import Reply, Seeding
from weavenet.ringfile import Kept, RingFile

# What is told at most, the newest; more is no use to a person.
_MAX_TROUBLES = 32

log = logging.getLogger(__name__)


def random_token() -> str:
    """A word that nobody else comes up with."""
    return secrets.token_hex(8)


class RingKeeper:
    """Holds the ring, the allocator that gives out of it, and the seeding; made by `open`."""

    def __init__(
        self, file: RingFile, allocator: Allocator, ring: Ring, seeding: Seeding, token: Callable[[], str]
    ) -> None:
        self.allocator = allocator
        self.ring = ring
        self.seeding = seeding
        self.troubles: dict[str, str] = {}
        # False until all addresses in use here are known.
        self.may_give = False
        self._file = file
        self._token = token
        self._saved: Kept | None = None
        self._saving = asyncio.Lock()

    @classmethod
    async def open(
        cls,
        file: RingFile,
        *,
        name: str,
        weave_range: IPv4Network,
        dns_subnet: IPv4Network,
        default_subnet: IPv4Network,
        token: Callable[[], str] = random_token,
    ) -> RingKeeper:
        """Recover what this peer owns; a peer that has nothing to recover begins a new life.

        Raises RingFileError, and EndpointError when the subnets are not in the range.
        """
        kept = await file.load()
        if kept is not None and kept.name != name:
            log.warning("this peer was called %s: what it owned then waits for 'weavenet ipam takeover'", kept.name)
            kept = None
        ring = Ring(weave_range, Owner(name, kept.life if kept else token()))
        if kept is not None and kept.ring:
            try:
                ring.merge(wire.decode_ring(kept.ring))
                fits = ring.complete or {each.owner for each in ring.update().stretches} != {ring.me}
            except ForeignRingError:
                fits = False
            except RingError as exc:
                raise file.damaged(str(exc)) from exc
            if not fits:
                # What it owned of another range is of no use.
                log.warning("the range is another than before: this peer owns nothing of it yet")
                kept = None
                ring = Ring(weave_range, Owner(name, token()))
        return cls(
            file,
            Allocator(weave_range, dns_subnet, default_subnet, host=name, ring=ring),
            ring,
            Seeding(name, kept.members if kept else (), kept.promised_to if kept else ""),
            token,
        )

    @property
    def me(self) -> Owner:
        """This peer in its present life."""
        return self.ring.me

    @property
    def saved(self) -> Kept | None:
        """What is on disk."""
        return self._saved

    async def save(self) -> Kept:
        """Make what is known now durable; what is on disk then. Raises RingFileError."""
        async with self._saving:
            seeding = self.seeding
            ring = wire.encode_ring(self.ring.update()) if self.ring else b""
            kept = Kept(self.me.name, self.me.life, ring, tuple(sorted(seeding.members)), seeding.promised_to)
            if kept != self._saved:
                await self._file.save(kept)
                self._saved = kept
            return kept

    async def everything(self) -> msgspec.Raw:
        """All that is known of the ring, durable and encoded; raises RingFileError."""
        return msgspec.Raw((await self.save()).ring or wire.encode_ring(Update("", ())))

    async def own(self) -> bytes:
        """What this peer owns, durable and encoded; raises RingFileError."""
        own = self.ring.own_update()
        await self.save()
        return wire.encode_ring(own)

    async def of_address(self, number: int) -> msgspec.Raw:
        """What is known of one address, durable and encoded; raises RingFileError."""
        known = self.ring.of_address(number)
        await self.save()
        return msgspec.Raw(wire.encode_ring(known))

    def make(self, owners: Iterable[Owner]) -> None:
        """Make a ring of these peers; RingError when there is one."""
        self.ring.seed(f"{self.me.name}/{self._token()}", owners, apart=self.allocator.space.dns_runs())

    def merge(self, peer: str, update: Update) -> bool:
        """Learn what another peer knows of the ring; whether anything was new. What is wrong with it is told."""
        trouble = f"ring of {peer}"
        try:
            if self._gives_way_to(update):
                log.warning(
                    "the ring of %s, all of it one peer's, is given up for that of %s",
                    self.founder,
                    founder(update.ring_id),
                )
                self.ring.abandon()
            merged = self.ring.merge(update)
        except RingError as exc:
            self.tell(trouble, f"peer {peer}: {exc}")
            return False
        for each in merged.lost:
            self.tell(f"lost {each}", f"{each} was this host's and is now {each.owner}'s: somebody took it over")
        for conflict in merged.conflicts:
            self.tell(f"conflict {conflict}", f"peer {peer}: {conflict}: what one of them remembers is out of date")
        self.troubles.pop(trouble, None)
        return merged.changed

    def tell(self, about: str, trouble: str) -> None:
        """Log a trouble once, and keep it for the status."""
        if self.troubles.get(about) != trouble:
            log.error("addresses: %s", trouble)
            self.troubles[about] = trouble
        while len(self.troubles) > _MAX_TROUBLES:
            del self.troubles[next(iter(self.troubles))]

    async def answer(self, peer: str, question: wire.Question, waits_for: Collection[str], now: float) -> wire.Answer:
        """Answer a peer's question. `waits_for`: who was named at launch and is not there.

        Raises RingError, RingWireError for a malformed ring and RingFileError.
        """
        match question:
            case wire.AskRing(ring):
                self.merge(peer, wire.decode_ring(ring))
            case wire.AskSpace() | wire.AskAddress() if not self.may_give:
                raise RingError("it does not know yet which addresses its containers use")
            case wire.AskSpace(ring, life):
                subnet, update, asker = wire.subnet_of(question), wire.decode_ring(ring), Owner(peer, life)
                self.merge(peer, update)
                known = [(each.first, each.last) for each in update.stretches if each.owner == asker]
                self.allocator.donate(asker, subnet, known, now)
            case wire.AskAddress(ring, life, number) if self.ring:
                return await self._give_by_number(peer, wire.decode_ring(ring), life, number, now)
            case wire.AskSeed(members, life) if not self.ring:
                reply = self.seeding.asked(peer, members, waits_for, self.me.life)
                await self.save()
                return wire.NoRing(tuple(sorted(reply.members)), reply.promised_to, reply.waits_for, reply.life)
            case wire.AskSeed() | wire.AskAddress():
                pass
        if self.ring:
            return wire.RingIs(await self.everything())
        return wire.NoRing(
            tuple(sorted(self.seeding.members)), self.seeding.promised_to, tuple(waits_for), self.me.life
        )

    def replied(self, peer: str, answer: wire.Answer) -> Reply | None:
        """Take in what a peer answered: its ring, or what it knows of the seeding, which is returned.

        Raises RingError with the reason of a refusal, RingWireError.
        """
        match answer:
            case wire.RingIs(ring):
                self.merge(peer, wire.decode_ring(ring))
                return None
            case wire.NoRing(members, promised_to, waits_for, life):
                self.seeding.learn(members)
                return Reply(frozenset(members), promised_to, tuple(map(printable, waits_for)), life)
            case wire.Used(reason):
                raise TakenElsewhereError(printable(reason))
            case wire.Refused(reason):
                raise RingError(f"{peer} refused: {printable(reason)}")

    async def _give_by_number(self, peer: str, known: Update, life: str, number: int, now: float) -> wire.Answer:
        if known.ring_id != self.ring.ring_id:
            # Which of two rings yields cannot be told from a part of one, and nobody would learn of the gift.
            return wire.RingIs(await self.everything())
        self.merge(peer, known)
        try:
            self.allocator.give_by_number(Owner(peer, life), IPv4Address(number), now)
        except AddressInUseError as exc:
            # Cut, as one that is too long would not be understood, and the address taken all the same.
            return wire.Used(str(exc)[: wire.MAX_TEXT])
        return wire.RingIs(await self.of_address(number))

    def _gives_way_to(self, update: Update) -> bool:
        """Whether the ring here, all of which is one peer's, is to yield to another group's.

        Of two such rings that meet the same one yields wherever they meet.
        """
        ours = self.ring.ring_id
        if not ours or update.ring_id in {"", ours} or not self.ring.alone or not update.stretches:
            return False
        if not self.ring.covers(update):
            return False  # of another range: that is for a person to put right
        theirs_alone = self.ring.is_alone(update)
        return not theirs_alone or update.ring_id < ours

    @property
    def founder(self) -> str:
        """Who made the ring; "" when there is none."""
        return founder(self.ring.ring_id)
