"""Shares the addresses of the weave range with the other peers: asks, answers, publishes. Holds no rule about them.

How messages travel is the business of whoever gives a `Peers`; what is true of the ring, of `RingKeeper`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from weavenet.bynumber import ByNumber
from weavenet.errors import NoAddressError, PeerError, RingError, RingFileError, RingWireError
from weavenet.ipam import wire
from weavenet.ipam.allocator import Wanted
from weavenet.ipam.ring import Owner
from weavenet.ipam.seeding import Reply
from weavenet.ringkeeper import RingKeeper

RING_KEY = b"ring"
TICK_S = 1.0
# Catches what got lost: a gift of which the receiver heard nothing, a stretch of a peer that is gone.
EXCHANGE_EVERY_S = 60.0
REPLENISH_EVERY_S = 5.0
_RETRY_S = 0.5

log = logging.getLogger(__name__)


class Peers(Protocol):
    """What carries messages between peers."""

    def live(self) -> Collection[str]:
        """The names of the peers that are connected now, without this one."""
        ...

    def named(self) -> Mapping[str, str | None]:
        """The peers named at launch as they were spelled, each with its name once it was met; maybe this one too."""
        ...

    async def ask(self, peer: str, question: bytes) -> bytes:
        """What that peer's `Sharing.answer` returned; raises PeerError, also when it took too long."""
        ...

    def publish(self, key: bytes, value: bytes | None) -> None:
        """Let every peer's `Sharing.heard` know a value of this peer's, or with None that it is withdrawn."""
        ...


@dataclass(frozen=True, slots=True)
class Share:
    """How many addresses of the range a peer owns, and whether it is connected or this peer itself.

    `lost`: this peer's own, of a life of which it has forgotten what it gave away.
    """

    owner: str
    addresses: int
    connected: bool
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """Who made the ring, who owns how much, whom its making waits for, and what is wrong, in words.

    `unowned`: how many addresses of the range are nobody's, as they were not in the range when it was shared out.
    `wants`: why this peer has no address to give out in the default subnet; "" when it has some.
    """

    founder: str
    shares: tuple[Share, ...]
    unowned: int
    waits_for: tuple[str, ...]
    wants: str
    troubles: tuple[str, ...]
    malformed: int


class Sharing:
    """One peer's part in sharing out the range; `start` it, `run` it, and give it what the peers send."""

    def __init__(self, keeper: RingKeeper, peers: Peers, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.allocator = keeper.allocator
        self.malformed = 0
        self._keeper = keeper
        self._peers = peers
        self._clock = clock
        self._by_number = ByNumber(keeper, peers.live, self._ask)
        self._asking = asyncio.Lock()
        self._changed = asyncio.Event()
        self._told_claims: dict[bytes, bytes] = {}
        self._told_ring = b""
        self._waits_for: tuple[str, ...] = ()
        self._conflicts: frozenset[str] = frozenset()
        self._exchange_at = 0.0
        self._replenish_at = 0.0
        self._turn = 0

    @property
    def ready(self) -> bool:
        """Whether there is a ring."""
        return bool(self._keeper.ring)

    async def start(self) -> None:
        """Without a ring, and without other peers named at launch, own everything."""
        others = [each for each in self._peers.named().values() if each != self._keeper.me.name]
        if not self.ready and not others:
            self._keeper.make([self._keeper.me])
        try:
            await self._keeper.save()
        except RingFileError as exc:
            # One host can do without; whatever is to go to others fails until it can be saved.
            self._keeper.tell("file", str(exc))

    def recovered(self) -> None:
        """The addresses that containers use here are all known: from now on free ones may be given away."""
        self._keeper.may_give = True

    async def run(self) -> None:
        """Find or make the ring and keep the others informed, until cancelled."""
        while True:
            try:
                await self._tick()
                self._keeper.troubles.pop("file", None)
            except RingFileError as exc:
                self._keeper.tell("file", str(exc))
            except RingError as exc:
                log.warning("addresses: %s", exc)
            await self._await_change(TICK_S)

    def heard(self, peer: str, key: bytes, value: bytes | None) -> None:
        """Take in what a peer published or withdrew; malformed input is counted, never raised."""
        if peer == self._keeper.me.name:
            return  # an echo of an earlier life: the kernel knows better
        try:
            if key != RING_KEY:
                self.allocator.foreign.heard(peer, key, value)
            elif value is not None and self._keeper.merge(peer, wire.decode_ring(value)):
                self._changed.set()
        except RingWireError:
            self.malformed += 1

    def forgotten(self, peer: str) -> None:
        """Drop the claims of a peer that left, or that was away for so long that nobody counts on its return."""
        self.allocator.foreign.forget(peer)

    async def answer(self, peer: str, raw: bytes) -> bytes:
        """Answer what a peer asks; it never raises for what the peer sent."""
        before = self._keeper.saved
        try:
            question = wire.decode_question(raw)
            answer = await self._keeper.answer(peer, question, self._unmet(), self._clock())
        except RingWireError as exc:
            self.malformed += 1
            answer = wire.Refused(str(exc)[: wire.MAX_TEXT])
        except RingFileError as exc:
            self._keeper.tell("file", str(exc))
            answer = wire.Refused("it cannot write its disk")
        except RingError as exc:
            answer = wire.Refused(str(exc)[: wire.MAX_TEXT])
        if self._keeper.saved != before:
            self._changed.set()
        return wire.encode(answer)

    def claimed(self) -> None:
        """Claims may have changed: tell the others what is new."""
        for key, value in self.allocator.news(self._clock()).items():
            if self._told_claims.get(key) == value:
                continue
            if value is None:
                del self._told_claims[key]
            else:
                self._told_claims[key] = value
            self._peers.publish(key, value)

    async def gain(self, wanted: Wanted) -> None:
        """Try once to have addresses given; returns when asking the allocator again may be of use.

        Raises AddressInUseError when one was asked for by number and its owner says that somebody has it.
        """
        if wanted.address is not None:
            await self._by_number.gain(wanted.address)
            self._changed.set()
        elif await self._ask_around(wanted):
            self._changed.set()
        else:
            await self._await_change(_RETRY_S)

    def waits_for(self, wanted: Wanted) -> str:
        """Why there is no address of a subnet to give out yet, naming whom it takes, and the cure."""
        if not self.ready:
            names = ", ".join(self._waits_for) or "the peers named at launch"
            return (
                f"the addresses are not shared out yet: waiting for {names}; 'weavenet ipam seed' does without them"
            )
        live = self._peers.live()
        away = [each for each in wanted.owners if each not in live]
        told = [each if each in live else f"{each} (not connected)" for each in wanted.owners]
        cure = f"start {away[0]}, or 'weavenet ipam takeover {away[0]}' if it never returns" if away else "try again"
        return (
            f"this host owns no free address in {wanted.subnet}, and {', '.join(told) or 'nobody'} gave none: {cure}"
        )

    async def dns_address(self, asked: IPv4Address | None, carried: Iterable[IPv4Address] = ()) -> IPv4Address:
        """This peer's DNS address, claimed; `carried` are those that the bridge has. Waits: bound it.

        Raises EndpointError, AddressInUseError or NoAddressError.
        """
        on_bridge = list(carried)
        while isinstance(found := self.allocator.claim_dns(asked, on_bridge, self._clock()), Wanted):
            await self.gain(found)
        self.claimed()
        return found

    def waits_for_dns(self) -> str:
        """The same as `waits_for`, for the DNS address; "" when there is one to be had."""
        try:
            found = self.allocator.claim_dns(None, (), self._clock())
        except NoAddressError as exc:
            return str(exc)
        return self.waits_for(found) if isinstance(found, Wanted) else ""

    async def seed(self) -> None:
        """Share the range out between this peer and those connected now, by a person's decision.

        Raises RingError when there is a ring already, here or there, and PeerError when one does not answer.
        """
        replies = {peer: await self._ask_for_ring(peer) for peer in sorted(self._peers.live())}
        members = [Owner(peer, reply.life) for peer, reply in replies.items() if reply is not None]
        self._keeper.make([self._keeper.me, *members])
        await self._publish_ring()

    async def take_over(self, name: str) -> int:
        """Inherit what a peer that never returns owned, and forget its claims; how many addresses that is.

        Everybody connected is first asked for what it knows. Raises RingError, PeerError when one does not answer.
        """
        live = sorted(self._peers.live())
        if not self.ready:
            raise RingError(f"nothing of {name} can be inherited: the addresses are not shared out yet")
        if name in live:
            raise RingError(f"{name} is connected: stop it first, if it is to go for good")
        for peer in live:
            await self._ask_for_ring(peer)
        taken = self._keeper.ring.take_over(name)
        self.allocator.foreign.forget(name)
        await self._publish_ring()
        return sum(each.last - each.first + 1 for each in taken)

    def status(self) -> Status:
        """How the addresses are shared out."""
        me = self._keeper.me
        counts: Counter[tuple[str, bool]] = Counter()
        for each in self._keeper.ring.update().stretches:
            counts[each.owner.name, each.owner.name == me.name and each.owner != me] += each.last - each.first + 1
        here = {*self._peers.live(), me.name}
        conflicts = [str(each) for each in self.allocator.conflicts()]
        return Status(
            founder=self._keeper.founder,
            shares=tuple(Share(name, count, name in here, lost) for (name, lost), count in sorted(counts.items())),
            unowned=self.allocator.space.weave_range.num_addresses - counts.total() if self.ready else 0,
            waits_for=() if self.ready else self._waits_for,
            wants=self._wants() if self.ready else "",
            troubles=(*conflicts, *self._keeper.troubles.values()),
            malformed=self.malformed,
        )

    def _wants(self) -> str:
        try:
            wanted = self.allocator.wants(self._clock())
        except NoAddressError as exc:
            return str(exc)
        return self.waits_for(wanted) if wanted else ""

    async def _tick(self) -> None:
        self.claimed()
        self._tell_conflicts()
        if not self.ready:
            await self._find_ring()
        if self.ready:
            await self._publish_ring()
            await self._exchange()
            await self._replenish()
            await self._by_number.gain_strays(self._clock())

    async def _find_ring(self) -> None:
        """Ask those connected for the ring; when none of them has one, and this peer leads, make it."""
        silent: list[str] = []
        for peer in sorted(self._peers.live()):
            try:
                await self._ask_for_ring(peer)
            except RingFileError:
                raise
            except (PeerError, RingError):
                silent.append(peer)
            if self.ready:
                return
        self._keeper.seeding.learn(name for name in self._peers.named().values() if name)
        # Who has not said that there is none may have one.
        self._waits_for = tuple(sorted({*self._unmet(), *silent}))
        if not self._waits_for:
            await self._try_to_seed()

    async def _try_to_seed(self) -> None:
        seeding, me = self._keeper.seeding, self._keeper.me
        attempt = seeding.attempt()
        if attempt is None:
            self._waits_for = (seeding.promised_to or seeding.leader,)
            return
        question = wire.AskSeed(tuple(sorted(attempt.members)), me.life)
        for peer in sorted(attempt.members & set(self._peers.live())):
            with contextlib.suppress(PeerError, RingError):
                reply = await self._ask(peer, question)
                if reply is not None:
                    seeding.replied(attempt, peer, reply)
            if self.ready:
                return
        self._waits_for = tuple(seeding.waits_for(attempt))
        if not self._waits_for:
            self._keeper.make([me, *(Owner(peer, reply.life) for peer, reply in attempt.replies.items())])
            self._changed.set()

    async def _exchange(self) -> None:
        """Now and then compare the whole ring with one peer, each in its turn."""
        live = sorted(self._peers.live())
        if self._clock() < self._exchange_at or not live:
            return
        self._turn += 1
        with contextlib.suppress(PeerError, RingError):
            await self._ask_for_ring(live[self._turn % len(live)])
            self._exchange_at = self._clock() + EXCHANGE_EVERY_S

    async def _replenish(self) -> None:
        """Have an address to give out before a container asks, so that it need not wait."""
        with contextlib.suppress(NoAddressError):
            wanted = self.allocator.wants(self._clock())
            if wanted is not None and self._clock() >= self._replenish_at:
                self._replenish_at = self._clock() + REPLENISH_EVERY_S
                await self._ask_around(wanted)

    async def _ask_around(self, wanted: Wanted) -> bool:
        """Ask for addresses, one after the other, those who may have some; whether one gave."""
        async with self._asking:
            live = self._peers.live()
            for owner in [each for each in wanted.owners if each in live]:
                with contextlib.suppress(PeerError, RingError):
                    await self._ask_for_space(owner, wanted)
            return self.allocator.has_free(wanted.subnet, self._clock())

    async def _publish_ring(self) -> None:
        own = await self._keeper.own()
        if own != self._told_ring:
            self._told_ring = own
            self._peers.publish(RING_KEY, own)

    async def _ask_for_ring(self, peer: str) -> Reply | None:
        return await self._ask(peer, wire.AskRing(await self._keeper.everything(), self._keeper.me.life))

    async def _ask_for_space(self, peer: str, wanted: Wanted) -> None:
        subnet = wanted.subnet
        ring, life = await self._keeper.everything(), self._keeper.me.life
        if self.allocator.has_free(subnet, self._clock()):
            return
        await self._ask(peer, wire.AskSpace(ring, life, int(subnet.network_address), subnet.prefixlen))

    async def _ask(self, peer: str, question: wire.Question) -> Reply | None:
        """What a peer without a ring replies; None when it has one, which is merged then."""
        raw = await self._peers.ask(peer, wire.encode(question))
        try:
            return self._keeper.replied(peer, wire.decode_answer(raw))
        except RingWireError:
            self.malformed += 1
            raise

    def _unmet(self) -> tuple[str, ...]:
        """Who was named at launch and is not there."""
        here = {*self._peers.live(), self._keeper.me.name}
        return tuple(sorted(spelled for spelled, name in self._peers.named().items() if name not in here))

    def _tell_conflicts(self) -> None:
        conflicts = frozenset(map(str, self.allocator.conflicts()))
        for each in sorted(conflicts - self._conflicts):
            log.error("addresses: %s", each)
        self._conflicts = conflicts

    async def _await_change(self, within_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._changed.wait()
        self._changed.clear()
