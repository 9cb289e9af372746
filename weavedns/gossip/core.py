"""What the parts of a node share: who it is, what it knows, what is on its way out. Decides nothing."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from weavedns.gossip.broadcast import Outbox, Rumors
from weavedns.gossip.codec import encode
from weavedns.gossip.dice import Dice
from weavedns.gossip.events import Address, Event, RecordsChanged
from weavedns.gossip.membership import Members, Peer
from weavedns.gossip.message import Alive, Dead, Leave, Statement, Suspect
from weavedns.gossip.profile import FAST, Profile
from weavedns.gossip.seal import Header, Keyring, Sealer, terms_digest
from weavedns.gossip.timers import Timers
from weavedns.records.catalog import Catalog
from weavedns.records.log import Change

# One event carries at most so many changes, less than a slice of work: a large snapshot never keeps queries waiting.
CHANGES_AN_EVENT = 10
SUSPICION_SHARE = 1 / 3


@dataclass(frozen=True, slots=True)
class Config:
    """How one node is set up. `host` may be empty: then the first peer that is joined says what it sees.

    `terms` are settings, by their flags, that all peers of a cluster have to have equal.
    """

    name: str
    host: str
    port: int
    seeds: tuple[Address, ...] = ()
    cluster: str = "weave"
    keyring: Keyring = field(default_factory=Keyring)
    terms: Mapping[str, str] = field(default_factory=dict)
    profile: Profile = FAST


@dataclass(slots=True)
class Stats:
    """What a node counts."""

    datagrams_in: int = 0
    datagrams_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    stream_bytes_in: int = 0
    stream_bytes_out: int = 0
    malformed: int = 0
    syncs: int = 0
    syncs_refused: int = 0
    # Suspicions that this node raised, those of anybody that the suspect cleared, peers that were believed dead, and
    # those of them that came back as they were.
    suspicions: int = 0
    suspicions_cleared: int = 0
    deaths: int = 0
    returns: int = 0
    pulls: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


class Need(NamedTuple):
    """A version of an owner's records that somebody else has."""

    owner: str
    incarnation: int
    version: int


class Core:
    """One node's state that more than one of its parts needs."""

    def __init__(self, config: Config, catalog: Catalog, rng: Dice, wall_ms: int) -> None:
        self.config = config
        self.profile = config.profile
        self.catalog = catalog
        self.rng = rng
        self.name = config.name
        self.host = config.host
        self.born = wall_ms
        self.incarnation = wall_ms
        self.boot = rng.getrandbits(64)
        self.rebuttal = 0
        terms = terms_digest(config.cluster, config.terms)
        self.sealer = Sealer(config.keyring, config.name, self.incarnation, self.boot, terms)
        self.outbox = Outbox(self.sealer)
        self.members = Members(config.name, config.profile)
        self.rumors = Rumors(config.profile, rng)
        self.timers = Timers()
        self.stats = Stats()
        # Muted: it left, or another peer holds its name.
        self.muted = False
        # Set by the part that arranges exchanges: with this peer, at this time, for what is needed.
        self.sync_wanted: Callable[[str, float, Need | None], None] = _nobody
        # Whose snapshots are on their way, each with who gets it.
        self.on_the_way: set[tuple[str, str]] = set()
        self._events: deque[Event] = deque()
        self._changes: deque[Iterator[Change]] = deque()
        catalog.restart(self.incarnation)

    @property
    def header(self) -> Header:
        """How this node introduces itself on streams."""
        return Header(self.name, self.incarnation, self.boot, 0)

    def me(self) -> Alive:
        """What this node says of itself."""
        return Alive(self.name, self.host, self.config.port, self.incarnation, self.boot, self.rebuttal)

    def tell(self, event: Event) -> None:
        """Queue an event for whoever drives the node."""
        self._events.append(event)

    def changed(self, changes: Iterator[Change]) -> None:
        """Queue changes to be drawn bit by bit."""
        self._changes.append(changes)

    def next_event(self) -> Event | None:
        """The next thing to be told, the changes in portions."""
        if self._events:
            return self._events.popleft()
        while self._changes:
            portion = tuple(islice(self._changes[0], CHANGES_AN_EVENT))
            if len(portion) < CHANGES_AN_EVENT:
                self._changes.popleft()
            if portion:
                return RecordsChanged(portion)
        return None

    def spread(self, statement: Statement, now: float) -> None:
        """Pass on what is said of a peer; what was said of it before is not needed any more."""
        name = statement.name
        accuser = statement.accuser if isinstance(statement, Suspect) else ""
        if not isinstance(statement, Suspect):
            self.rumors.drop_about(name)
        # A suspicion need not reach everybody, only enough to be shared or answered.
        share = SUSPICION_SHARE if accuser else 1.0
        self.rumors.add(("peer", name, accuser), encode(statement), now, peers=len(self.members), share=share)

    def heard(self, statement: Alive | Suspect | Dead | Leave) -> None:
        """Others pass it on as well."""
        self.rumors.heard(("peer", statement.name, statement.accuser if isinstance(statement, Suspect) else ""))

    def random_live(self, count: int, *, but: str = "") -> list[Peer]:
        """Up to `count` different live peers by chance."""
        members = self.members
        total = len(members)
        if total <= count + 1:
            live = [peer for peer in members.live() if peer.name != but]
            self.rng.shuffle(live)
            return live[:count]
        picked: dict[str, Peer] = {}
        # Bounded: with more than count + 1 to choose from, misses are few.
        for _ in range(8 * count):
            peer = members.pick(int(self.rng.random() * total))
            if peer.name != but:
                picked[peer.name] = peer
            if len(picked) == count:
                break
        return list(picked.values())


def _nobody(_peer: str, _at: float, _need: Need | None) -> None:
    """Before there are streams, nothing is synced."""
