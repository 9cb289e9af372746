"""Whom to exchange everything with, and when: joining, comparing digests, finding lost peers again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from weavedns.gossip.core import Core, Need
from weavedns.gossip.events import Address, JoinedCluster, JoinRefused, MetItself
from weavedns.gossip.links import Links
from weavedns.gossip.message import Ping, Purpose, Reason, State

MAX_WANTED = 16
MAX_DOUBTS = 8
RETRY_S = 0.25
BUSY_RETRY_S = 0.4
# After an exchange that brought nothing the next mismatch waits longer, up to this.
LONGEST_REST_S = 16.0
JOIN_RETRY_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
ISOLATED_RETRY_S = 30.0
EXPIRE_EVERY_S = 10.0
# A peer that was forgotten may still come back at its address.
GRAVE_EVERY_S = 60.0


@dataclass(slots=True)
class _Seed:
    addr: Address
    tries: int = 0
    # Why it did not work the last time, as it was told.
    told: str = ""
    peer: str = ""
    itself: bool = False
    joined: bool = False
    # A person wants nobody there any more.
    forgotten: bool = False


class Rendezvous:
    """When a node meets which other."""

    def __init__(self, core: Core, links: Links, announce: Callable[[float], None]) -> None:
        self._core = core
        self._announce = announce
        self._links = links
        self._seeds = [_Seed(addr) for addr in core.config.seeds]
        self._wanted: dict[str, Need | None] = {}
        self._doubts: dict[str, float] = {}
        self._busy: int | None = None
        self._rest_s = 0.0
        self._rested = 0.0
        core.sync_wanted = self.want

    def start(self, now: float) -> None:
        """Begin to join and to look after lost peers."""
        core = self._core
        for number in range(len(self._seeds)):
            core.timers.set(("join", number), now)
        core.timers.set(("reconnect",), now + core.profile.reconnect_every_s * (0.5 + core.rng.random()))
        core.timers.set(("expire",), now + EXPIRE_EVERY_S)
        core.timers.set(("graves",), now + GRAVE_EVERY_S * (0.5 + core.rng.random()))
        if core.profile.exchange_every_s:
            core.timers.set(("exchange",), now + core.profile.exchange_every_s * core.rng.random())

    def add_seed(self, addr: Address, now: float) -> None:
        """Join one more peer, or one that was joined or forgotten before, and keep trying until it answers."""
        core = self._core
        if all(seed.addr != addr for seed in self._seeds):
            self._seeds.append(_Seed(addr))
        there = next((peer for peer in core.members if peer.addr == addr and peer.state is State.ALIVE), None)
        for number, seed in enumerate(self._seeds):
            if seed.addr == addr:
                # Whatever it led to before, it is for whoever is there now to answer.
                led_to = "" if seed.forgotten else seed.peer
                self._seeds[number] = _Seed(addr, peer=there.name if there else led_to, joined=there is not None)
                core.timers.set(("join", number), now)
        if there is not None:
            core.tell(JoinedCluster(there.name, addr))

    def seeds(self) -> dict[Address, str]:
        """Each seed with the name of the peer that it led to; this node's own where nobody else is looked for."""
        return {seed.addr: self._core.name if seed.itself or seed.forgotten else seed.peer for seed in self._seeds}

    def drop_seeds(self, name: str) -> None:
        """A peer is forgotten: its address is not tried any more."""
        for seed in self._seeds:
            if seed.peer == name:
                seed.forgotten = True

    def drop_seed(self, addr: Address) -> bool:
        """An address is forgotten; whether anybody was looked for there."""
        dropped = [seed for seed in self._seeds if seed.addr == addr and not seed.forgotten]
        for seed in dropped:
            seed.forgotten = True
        return bool(dropped)

    # Joining.

    def join(self, number: int, now: float) -> None:
        """Try a seed, or see that what it led to still holds."""
        core, seed = self._core, self._seeds[number]
        if seed.itself or seed.forgotten or core.muted:
            return
        peer = core.members.get(seed.peer) if seed.joined else None
        if peer is not None and peer.state is not State.DEAD:
            core.timers.set(("join", number), now + ISOLATED_RETRY_S)
            return

        def done(ok: bool, told: str, at: float) -> None:
            self._joined(number, ok, told, at)

        if self._links.dial(Purpose.JOIN, seed.addr, now, done) is None:
            core.timers.set(("join", number), now + RETRY_S)

    def _joined(self, number: int, ok: bool, told: str, now: float) -> None:
        core, seed = self._core, self._seeds[number]
        if ok:
            seed.joined, seed.peer, seed.tries, seed.told = True, told, 0, ""
            core.tell(JoinedCluster(told, seed.addr))
            self._announce(now)
            core.timers.set(("join", number), now + ISOLATED_RETRY_S)
            return
        if told == Reason.UNEXPECTED.name:
            seed.itself = True
            core.tell(MetItself(seed.addr))
            return
        if told == Reason.BUSY.name:
            wait = BUSY_RETRY_S * (0.5 + core.rng.random())
        else:
            wait = JOIN_RETRY_S[min(seed.tries, len(JOIN_RETRY_S) - 1)]
            # Another reason than before is news: the one that was told is no longer true.
            if told != seed.told and told not in Reason.__members__:
                core.tell(JoinRefused(seed.addr, told))
            seed.told = told
            seed.tries += 1
        core.timers.set(("join", number), now + wait)

    # Exchanging.

    def want(self, peer: str, at: float, need: Need | None = None) -> None:
        """Exchange with a peer at some time, unless what is needed of it has come by then."""
        if peer in self._wanted or len(self._wanted) < MAX_WANTED:
            self._wanted[peer] = need
            due = self._core.timers.at(("sync", peer))
            self._core.timers.set(("sync", peer), at if due is None else min(at, due))

    def sync(self, name: str, now: float) -> None:
        """Exchange with a peer, unless it is not needed any more."""
        core = self._core
        need = self._wanted.pop(name, None)
        peer = core.members.get(name)
        if core.muted or peer is None or peer.state is State.DEAD or self._has(need):
            return
        # What is missing may be what comes just now.
        if self._busy is not None or self._links.snapshot_comes_from(name):
            self.want(name, now + RETRY_S * (0.5 + core.rng.random()), need)
            return

        def done(ok: bool, told: str, at: float) -> None:
            self._synced(name, need, ok, told, at)

        self._busy = self._links.dial(Purpose.SYNC, peer.addr, now, done)
        if self._busy is None:
            self.want(name, now + RETRY_S, need)

    def _synced(self, name: str, need: Need | None, ok: bool, told: str, now: float) -> None:
        core = self._core
        useful = self._busy is not None and self._links.useful(self._busy)
        self._busy = None
        self._doubts.clear()
        if ok:
            self._rest_s = 0.0 if useful else min(LONGEST_REST_S, max(1.0, 2 * self._rest_s))
            self._rested = now + self._rest_s
            return
        if told == Reason.BUSY.name:
            # Whoever got in meanwhile has it too.
            for peer in core.random_live(1):
                self.want(peer.name, now + BUSY_RETRY_S * (0.5 + core.rng.random()), need)
        elif need is not None:
            self.want(name, now + 1.0, need)

    def _has(self, need: Need | None) -> bool:
        """Whether what was needed has come by itself, or is of no use any more."""
        if need is None:
            return False
        if self._core.members.get(need.owner) is None:
            return True
        replica = self._core.catalog.replica(need.owner)
        return replica is not None and (replica.incarnation, replica.version) >= (need.incarnation, need.version)

    def exchange(self, now: float) -> None:
        """Exchange with somebody by chance, from time to time."""
        core = self._core
        core.timers.set(("exchange",), now + core.profile.exchange_every_s)
        for peer in core.random_live(1):
            self.want(peer.name, now)

    # Comparing digests.

    def compare(self, name: str, digest: int, now: float) -> None:
        """A peer told its digest: a mismatch that lasts leads to an exchange with it."""
        core = self._core
        if not core.profile.digest:
            return
        if digest == core.catalog.digest:
            if self._doubts.pop(name, None) is not None:
                core.timers.cancel(("doubt", name))
            return
        since = self._doubts.get(name)
        if since is None:
            if now >= self._rested and len(self._doubts) < MAX_DOUBTS and core.members.get(name) is not None:
                self._doubts[name] = now
                core.timers.set(("doubt", name), now + core.profile.mismatch_s)
        elif now - since >= core.profile.mismatch_s:
            del self._doubts[name]
            self.want(name, now)

    def ask_again(self, name: str, now: float) -> None:
        """A mismatch was seen a while ago: does it last?"""
        core = self._core
        peer = core.members.get(name)
        if name not in self._doubts or peer is None:
            self._doubts.pop(name, None)
            return
        core.outbox.post(peer.addr, Ping(0, name, core.catalog.digest))
        # If no answer comes, the doubt must not keep its place for ever.
        core.timers.set(("doubt over", name), now + core.profile.mismatch_s)

    def doubt_over(self, name: str) -> None:
        """No answer came."""
        self._doubts.pop(name, None)

    # Looking after who was lost.

    def reconnect(self, now: float) -> None:
        """Knock at a dead peer by chance, telling it what is held against it."""
        core = self._core
        core.timers.set(("reconnect",), now + core.profile.reconnect_every_s)
        dead = core.members.dead()
        if dead:
            peer = core.rng.choice(dead)
            core.outbox.post(peer.addr, Ping(0, peer.name, core.catalog.digest), peer.notice())

    def visit_grave(self, now: float) -> None:
        """Knock where a forgotten peer was."""
        core = self._core
        core.timers.set(("graves",), now + GRAVE_EVERY_S)
        graves = [grave for _, grave in core.members.graves() if not grave.left]
        if graves:
            grave = core.rng.choice(graves)
            self._links.dial(Purpose.JOIN, (grave.host, grave.port), now)
