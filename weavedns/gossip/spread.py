"""How changes of records travel: from the owner to all, from each to a few, and again to whoever missed some.

What cannot be had by datagrams (a snapshot, a log that was cut, very many changes) is left to a sync.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from weavedns.gossip import codec
from weavedns.gossip.broadcast import Budget
from weavedns.gossip.codec import encode
from weavedns.gossip.core import Core, Need
from weavedns.gossip.events import Address, FactsChanged, OwnerOverLimit
from weavedns.gossip.message import Advert, Changes, Pull, State, Whole
from weavedns.records.log import Delta, Entry, Fact, Replica, Snapshot

# More changes at once than this are fetched by a sync instead of being sent to everybody.
BULK_ENTRIES = 512
# A datagram has no room for more, so it is not even tried.
WHOLE_ITEMS = 64
DIRECT_DATAGRAMS_PER_S = 5_000.0
DIRECT_BURST = 4_000.0
MAX_WAITING_OWNERS = 256
MAX_WAITING_DELTAS = 64
PULL_AFTER_S = 0.1
PULLS = 3
PULL_DATAGRAMS = 8
ADVERT_SPREAD_S = 0.2


@dataclass(slots=True)
class _Ahead:
    """What came of an owner before something that is missing."""

    incarnation: int
    sender: str
    addr: Address
    deltas: dict[int, Delta] = field(default_factory=dict)
    pulls: int = 0

    def need(self, owner: str) -> Need:
        """What is known to be there of the owner."""
        return Need(owner, self.incarnation, max((delta.last for delta in self.deltas.values()), default=0))


class Spread:
    """One node's part in spreading changes."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._published = core.catalog.own.version
        self._last = -1.0
        self._budget = Budget(DIRECT_DATAGRAMS_PER_S, DIRECT_BURST)
        self._ahead: OrderedDict[str, _Ahead] = OrderedDict()
        self._over: set[str] = set()

    def publish(self, now: float) -> None:
        """Send what this peer itself has changed since; changes within 5 ms of each other go together."""
        core = self._core
        if core.catalog.own.version == self._published:
            return
        wait = self._last + core.profile.coalesce_s
        if core.profile.eager and now < wait:
            core.timers.set(("publish",), wait)
            return
        self._last = now
        own = core.catalog.own
        delta = own.since(self._published)
        self._published = own.version
        if delta is None or len(delta.entries) > BULK_ENTRIES:
            self._advertise(now)
            return
        for part, message in codec.changes(delta, core.sealer.room_bytes - 8):
            if message is None:
                self._advertise(now)
            else:
                self._tell_all(_key(part.owner, part.incarnation, part.last), message, now)

    def announce(self, now: float) -> None:
        """Publish all that this peer has, as when its incarnation is new: at once when it is little."""
        core = self._core
        own = core.catalog.own
        self._published = own.version
        if own.size <= WHOLE_ITEMS:
            snapshot = own.snapshot()
            items = [codec.wire_item(Entry(item, added=True)) for item in snapshot.items]
            message = encode(Whole(core.name, snapshot.incarnation, snapshot.version, items))
            if len(message) <= core.sealer.room_bytes - 8:
                self._tell_all(("whole", core.name), message, now)
                return
        self._advertise(now)

    def on_whole(self, whole: Whole, now: float) -> None:
        """Take in all that an owner has, when it is newer; raises PeerWireError."""
        core = self._core
        if whole.owner == core.name:
            core.rumors.heard(("whole", whole.owner))
            return
        known = core.catalog.replica(whole.owner)
        if known and (known.incarnation, known.version) >= (whole.incarnation, whole.version):
            core.rumors.heard(("whole", whole.owner))
            return
        replica = core.catalog.staged(Snapshot(whole.owner, whole.incarnation, whole.version, ()))
        for item in whole.items:
            replica.put(codec.entry(whole.owner, item).item)
        if self.adopt(replica, now):
            core.rumors.add(("whole", whole.owner), encode(whole), now, peers=len(core.members))

    def adopt(self, replica: Replica, now: float) -> bool:
        """Swap in all that a live peer has; of a peer that is not known, or that is gone, nothing is taken."""
        core = self._core
        owner = core.members.get(replica.owner)
        if owner is None or owner.incarnation > replica.incarnation:
            return False
        changes = core.catalog.adopt(replica)
        if changes is None:
            return False
        core.changed(changes)
        if owner.state is not State.DEAD and owner.incarnation == replica.incarnation:
            core.changed(core.catalog.unhide(owner.name))
        core.tell(FactsChanged(owner.name))
        self._check_limit(owner.name)
        self.catch_up(owner.name, now)
        return True

    def on_changes(self, changes: Changes, sender: str, addr: Address, now: float) -> None:
        """Take in what is new and pass just that on; raises PeerWireError."""
        core = self._core
        if changes.owner == core.name:
            core.rumors.heard(_key(changes.owner, changes.incarnation, changes.base + len(changes.items)))
            return
        delta = codec.delta(changes)
        if not self.merge(delta, now):
            replica = core.catalog.replica(delta.owner)
            if replica is None or (replica.incarnation, replica.version) < (delta.incarnation, delta.last):
                self._wait_for_more(delta, sender, addr, now)
            else:
                core.rumors.heard(_key(delta.owner, delta.incarnation, delta.last))

    def merge(self, delta: Delta, now: float) -> bool:
        """Take in what is new of a delta and pass it on; whether there was anything."""
        core = self._core
        merged = core.catalog.merge(delta, now)
        if not merged.new.entries:
            return False
        if merged.changes:
            core.changed(iter(merged.changes))
        if any(isinstance(entry.item, Fact) for entry in merged.new.entries):
            core.tell(FactsChanged(delta.owner))
        self._check_limit(delta.owner)
        if len(merged.new.entries) <= BULK_ENTRIES:
            for part, message in codec.changes(merged.new, core.sealer.room_bytes - 8):
                if message is not None:
                    key = _key(part.owner, part.incarnation, part.last)
                    core.rumors.add(key, message, now, peers=len(core.members))
        self.catch_up(delta.owner, now)
        return True

    def catch_up(self, owner: str, now: float) -> None:
        """Something came in of an owner: what waited for it may fit now."""
        ahead = self._ahead.get(owner)
        replica = self._core.catalog.replica(owner)
        if ahead is None or replica is None or replica.incarnation < ahead.incarnation:
            return
        for base in sorted(ahead.deltas):
            if replica.incarnation > ahead.incarnation or ahead.deltas[base].last <= replica.version:
                del ahead.deltas[base]
            elif base <= replica.version:
                ahead.pulls = 0
                self.merge(ahead.deltas.pop(base), now)
                return
        if not ahead.deltas:
            self._drop_ahead(owner)

    def pull(self, owner: str, now: float) -> None:
        """What is missing did not come by itself: ask whoever is ahead, and at last sync with it."""
        ahead = self._ahead.get(owner)
        if ahead is None:
            return
        core = self._core
        replica = core.catalog.replica(owner)
        if replica is None or replica.incarnation != ahead.incarnation or ahead.pulls >= PULLS:
            core.sync_wanted(ahead.sender, now, ahead.need(owner))
            self._drop_ahead(owner)
            return
        ahead.pulls += 1
        core.stats.pulls += 1
        core.outbox.post(ahead.addr, Pull(owner, ahead.incarnation, replica.version))
        core.timers.set(("pull", owner), now + PULL_AFTER_S)

    def on_pull(self, pull: Pull, addr: Address) -> None:
        """Send what somebody is missing, when that is little."""
        core = self._core
        replica = core.catalog.replica(pull.owner)
        if replica is None or (replica.incarnation, replica.version) <= (pull.incarnation, pull.base):
            return
        room = core.sealer.room_bytes - 8
        delta = replica.since(pull.base) if replica.incarnation == pull.incarnation else None
        messages = (
            [message for _, message in codec.changes(delta, room)]
            if delta and len(delta.entries) <= BULK_ENTRIES
            else []
        )
        if not messages or len(messages) > PULL_DATAGRAMS or None in messages:
            core.outbox.post(addr, Advert(pull.owner, replica.incarnation, replica.version))
            return
        core.outbox.post_to_all([addr], [message for message in messages if message is not None])

    def on_advert(self, advert: Advert, sender: str, now: float) -> None:
        """Somebody has more than can be sent in datagrams: fetch it, not all in the same moment."""
        core = self._core
        replica = core.catalog.replica(advert.owner)
        if advert.owner == core.name:
            return
        if replica is None or (replica.incarnation, replica.version) < (advert.incarnation, advert.version):
            key = ("advert", advert.owner, advert.incarnation, advert.version)
            if key not in core.rumors:
                core.rumors.add(key, encode(advert), now, peers=len(core.members))
            need = Need(advert.owner, advert.incarnation, advert.version)
            core.sync_wanted(sender, now + core.rng.random() * ADVERT_SPREAD_S, need)

    def forget(self, owner: str) -> None:
        """Nothing is waited for any more of an owner that is gone."""
        self._drop_ahead(owner)

    def _tell_all(self, key: Hashable, message: bytes, now: float) -> None:
        core = self._core
        count = len(core.members)
        direct = count <= core.profile.direct_up_to and self._budget.take(count, now)
        if direct:
            core.outbox.post_to_all([peer.addr for peer in core.members.live()], [message])
        core.rumors.add(key, message, now, peers=count, sent_to_all=direct)

    def _advertise(self, now: float) -> None:
        core = self._core
        own = core.catalog.own
        advert = Advert(core.name, own.incarnation, own.version)
        core.rumors.add(
            ("advert", core.name, own.incarnation, own.version), encode(advert), now, peers=len(core.members)
        )

    def _wait_for_more(self, delta: Delta, sender: str, addr: Address, now: float) -> None:
        core = self._core
        ahead = self._ahead.get(delta.owner)
        if ahead is None or ahead.incarnation < delta.incarnation:
            ahead = self._ahead[delta.owner] = _Ahead(delta.incarnation, sender, addr)
            core.timers.set(("pull", delta.owner), now + PULL_AFTER_S)
            if len(self._ahead) > MAX_WAITING_OWNERS:
                self._drop_ahead(next(iter(self._ahead)))
        if ahead.incarnation == delta.incarnation and len(ahead.deltas) < MAX_WAITING_DELTAS:
            ahead.deltas[delta.base] = delta
            ahead.sender, ahead.addr = sender, addr

    def _drop_ahead(self, owner: str) -> None:
        if self._ahead.pop(owner, None) is not None:
            self._core.timers.cancel(("pull", owner))

    def _check_limit(self, owner: str) -> None:
        replica = self._core.catalog.replica(owner)
        if replica is None or not replica.partial:
            self._over.discard(owner)
        elif owner not in self._over:
            self._over.add(owner)
            self._core.tell(OwnerOverLimit(owner))


def _key(owner: str, incarnation: int, last: int) -> tuple[str, str, int, int]:
    return ("changes", owner, incarnation, last)
