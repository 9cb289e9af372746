"""This peer among the others: runs gossip, tells people what happens to it, answers what other peers ask.

It holds no rule about records, addresses or interfaces: those are told what changed and asked for answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from random import SystemRandom
from typing import Any

from weavedns.cluster.joining import Joining
from weavedns.cluster.passwords import PasswordFile
from weavedns.cluster.words import is_silence, refusal, where
from weavedns.config import Settings, peer_address
from weavedns.errors import ConfigError, PeerError
from weavedns.gossip.core import Config
from weavedns.gossip.events import (
    Address,
    Event,
    FactsChanged,
    JoinedCluster,
    JoinRefused,
    MetItself,
    NameConflict,
    OwnerOverLimit,
    PeerCleared,
    PeerDown,
    PeerJoined,
    PeerLeft,
    PeerLost,
    PeerReturned,
    PeerSuspected,
    RecordsChanged,
    StrangerRejected,
)
from weavedns.gossip.membership import Peer
from weavedns.gossip.message import State
from weavedns.gossip.node import Node
from weavedns.gossip.profile import FAST, LAN
from weavedns.gossip.seal import Keyring, Rejection
from weavedns.gossip.transport import Transport
from weavedns.records import names
from weavedns.records.catalog import Catalog, Change
from weavedns.records.log import FactKind
from weavedns.turns import Turns

log = logging.getLogger(__name__)

DNS_FACT = b"dns"
# A peer without addresses to share says so.
NO_NETWORK_FACT = b"no-network"
# A peer that answers queries, which means that it knows what the others have, says so.
SERVES_FACT = b"serves"
# How long those named at launch may take to answer before containers are given addresses without them.
MEET_S = 3.0
_MAX_TOLD = 64
_ANYWHERE = "0.0.0.0"
_PROFILES = {"fast": FAST, "lan": LAN}
_STATES = {State.ALIVE: "connected", State.SUSPECT: "suspect", State.DEAD: "gone"}

Answerer = Callable[[str, bytes], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the cluster tells: changed records, a peer's changed facts, a peer gone for good, its own name lost."""

    publish: Callable[[Sequence[Change]], None]
    facts: Callable[[str], None]
    left: Callable[[str], None]
    lost_name: Callable[[str], None]


class Cluster:
    """The other peers, as one daemon sees them; nothing is sent or heard but within `serving`.

    `changed` is set whenever peers come and go or change what they tell of themselves; `met` once those to be joined
    answered, refused, or had their time; `caught_up` once this peer has the records of all that are there, as far as
    one knows that answers queries itself, or else as far as all know that this peer knew of when it began. `leaves`
    False: it ends as for a restart, and others wait for its return.
    """

    def __init__(self, settings: Settings, catalog: Catalog, hooks: Hooks, turns: Turns) -> None:
        self.name = settings.name
        self.changed = asyncio.Event()
        self.met = asyncio.Event()
        self.caught_up = asyncio.Event()
        self._port = settings.port or 0
        self._catalog = catalog
        self._hooks = hooks
        self._named = settings.peers
        self._earlier: tuple[Address, ...] = ()
        self._has_met = False
        self._answerers: dict[str, Answerer] = {}
        self._joining = Joining(self._dial)
        self._refusals: dict[Address, str] = {}
        self._serving = False
        self._strangers: dict[str, str] = {}
        config = Config(
            settings.name,
            settings.advertise,
            self._port,
            seeds=settings.peers,
            cluster=settings.cluster,
            keyring=Keyring.from_passwords(settings.passwords, settings.cluster),
            terms={
                "--domain": names.render(settings.domain),
                "--range": str(settings.weave_range),
                "--dns-subnet": str(settings.dns_subnet),
                "--overlay-port": str(settings.overlay_port),
            },
            profile=_PROFILES[settings.profile],
        )
        self._node = Node(config, catalog, SystemRandom(), wall_ms=int(time.time() * 1000))
        self._password_file: PasswordFile | None = None
        if settings.password_file is not None:
            self._password_file = PasswordFile(
                settings.password_file, settings.cluster, settings.passwords, self._node.rekey
            )
        self._transport = Transport(self._node, on_event=self._happened, on_request=self._asked, turn=turns.take)

    @property
    def leaves(self) -> bool:
        """Whether the others are told, at the end, that this peer will not be back."""
        return self._transport.leaves

    @leaves.setter
    def leaves(self, leaves: bool) -> None:
        self._transport.leaves = leaves

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Be one of the peers until the block ends; raises ListenError."""
        now = asyncio.get_running_loop().time()
        for addr in self._earlier:
            self._node.join(addr, now)
        async with self._transport.serving(_ANYWHERE, self._port):
            self._serving = True
            waiting = asyncio.get_running_loop().call_later(MEET_S if self._node.seeds() else 0.0, self.met.set)
            self._see_whether_caught_up()
            following = asyncio.create_task(self._password_file.follow()) if self._password_file else None
            try:
                yield
            finally:
                waiting.cancel()
                if following is not None:
                    following.cancel()
                self._serving = False

    def expect(self, addresses: Iterable[Address]) -> None:
        """Before `serving`: look for others where some were before a restart, too."""
        self._earlier = tuple(dict.fromkeys([*self._earlier, *addresses]))

    # What this peer says.

    def publish(self) -> None:
        """The catalog's own records or facts changed; before `serving` that is told as a whole anyway."""
        if self._serving:
            self._transport.publish()

    def tell(self, key: bytes, value: bytes) -> None:
        """Tell all peers something about this one."""
        if self._catalog.tell(FactKind.PEER, key, value):
            self.publish()

    def answer_with(self, kind: str, answerer: Answerer) -> None:
        """Have the questions of a kind that other peers ask answered; `answerer` may raise PeerError."""
        self._answerers[kind] = answerer

    async def ask(self, peer: str, kind: str, body: bytes) -> bytes:
        """Ask another peer; raises PeerError."""
        if not self._serving:
            raise PeerError("this peer is not connected to others yet")
        return await self._transport.request(peer, kind, body)

    async def join(self, addresses: Sequence[Address]) -> None:
        """Join more peers, and wait for their answers; raises PeerError with what became of those that failed."""
        await self._joining.join(addresses)

    def forget(self, peer: str) -> None:
        """Drop a peer that is gone, everywhere, or look for nobody at an address any more; raises PeerError."""
        addr = _address(peer, self._port)
        if addr is not None and self._node.peer(peer) is None:
            found = self._node.peer(self._node.seeds().get(addr, ""))
            if found is not None:
                peer = found.name
            elif self._node.give_up(addr):
                self._refusals.pop(addr, None)
                log.info("nobody is looked for at %s port %d any more", *addr)
                self._see_whether_met()
                return
        self._transport.forget(peer)

    # What is known of the others.

    def peers(self) -> list[Peer]:
        """All other peers, those that are gone but not forgotten too; to be read only."""
        return self._node.peers()

    def live(self) -> list[str]:
        """The names of those that are there."""
        return [peer.name for peer in self._node.peers() if peer.state is not State.DEAD]

    def is_live(self, name: str) -> bool:
        """Whether a peer is this one or is there."""
        peer = self._node.peer(name)
        return name == self.name or (peer is not None and peer.state is not State.DEAD)

    def told(self, peer: str, key: bytes) -> bytes | None:
        """What a peer tells of itself."""
        fact = self._catalog.fact(peer, FactKind.PEER, key)
        return fact.data if fact else None

    def named(self) -> Mapping[str, str]:
        """Those named at launch, each with the name of the peer that answered, maybe this one; "" before that.

        Until the first answer, those of an earlier life count as named: this peer is not the only one.
        """
        seeds = self._node.seeds()
        looked_for = dict.fromkeys([*self._named, *(() if self._has_met else self._earlier)])
        return {f"{host}:{port}": seeds.get((host, port), "") for host, port in looked_for}

    def whereabouts(self) -> list[Address] | None:
        """Where the others are or were, but for those that left; None while none was met."""
        return self._node.whereabouts() if self._has_met else None

    def refused(self) -> dict[Address, str]:
        """Where this peer was not let in, and why; nobody waits for those of an earlier life once one was met."""
        seeds = self._node.seeds()
        stale = set(self._earlier) - set(self._named) if self._has_met else ()
        return {addr: why for addr, why in self._refusals.items() if not seeds.get(addr) and addr not in stale}

    def strangers(self) -> dict[str, str]:
        """Whose packets are refused, and why."""
        return self._strangers

    @property
    def host(self) -> str:
        """The address under which the others know this peer; empty until one is known."""
        return self._node.host

    @property
    def port(self) -> int:
        """Where peers are heard."""
        return self._port

    def gossip(self) -> dict[str, Any]:
        """What was sent, heard, refused and believed since the launch, and the numbers of the valid keys."""
        stats = self._node.stats
        return {
            **{each.name: getattr(stats, each.name) for each in fields(stats) if each.name != "rejected"},
            "datagrams_dropped": self._transport.datagrams_dropped,
            "refused": {why.name.lower(): stats.rejected[why.name.lower()] for why in Rejection},
            "health": self._node.health,
            "keys": [key.number for key in self._node.keyring.keys],
        }

    def state_of(self, peer: Peer) -> str:
        """How a peer is, in a word or two."""
        return "daemon down" if peer.host_there else _STATES[peer.state]

    def unmet(self) -> list[str]:
        """Where a peer was looked for and none is known yet."""
        return [f"{host} port {port}" for (host, port), name in self._node.seeds().items() if not name]

    # What comes.

    async def _asked(self, peer: str, kind: str, body: bytes) -> bytes:
        answerer = self._answerers.get(kind)
        if answerer is None:
            raise PeerError(f"peer {self.name} does not know what {kind[:32]!r} asks")
        return await answerer(peer, body)

    def _happened(self, event: Event) -> None:
        match event:
            case RecordsChanged(changes):
                self._hooks.publish(changes)
            case FactsChanged(owner):
                self._hooks.facts(owner)
                self._see_whether_caught_up()
                self.changed.set()
            case JoinedCluster(via, addr):
                log.info("joined peer %s", via)
                self._joined(addr)
            case MetItself(addr):
                self._joining.failed(addr, f"{where(addr)} is this peer itself")
                self._see_whether_met()
            case JoinRefused(addr, text):
                self._refused(addr, text)
            case NameConflict(addr, lost):
                self._name_conflict(addr, lost=lost)
            case StrangerRejected(addr, why):
                log.error("packets from %s are refused: %s", addr[0], why)
                # The newest last, so that the oldest go.
                self._strangers.pop(addr[0], None)
                self._strangers[addr[0]] = why
                while len(self._strangers) > _MAX_TOLD:
                    del self._strangers[next(iter(self._strangers))]
            case OwnerOverLimit(owner):
                log.error(
                    "peer %s has more than %d records: the rest is not answered here", owner, self._catalog.limit
                )
            case _:
                self._membership(event)

    def _membership(self, event: Event) -> None:
        match event:
            case PeerJoined(name, addr, restarted):
                self._has_met = True
                log.info("peer %s at %s %s", name, addr[0], "has restarted" if restarted else "is there")
            case PeerSuspected(name, accuser):
                log.info("peer %s does not answer %s", name, accuser)
            case PeerCleared(name):
                log.info("peer %s answers again", name)
            case PeerLost(name):
                log.warning("peer %s is gone: its names are not answered until it is back", name)
            case PeerDown(name):
                log.warning("the daemon of peer %s is down, but its host answers: its names are answered on", name)
            case PeerReturned(name):
                log.info("peer %s is back", name)
            case PeerLeft(name):
                log.info("peer %s has left", name)
                self._hooks.left(name)
        self._see_whether_caught_up()
        self.changed.set()

    def _dial(self, addr: Address) -> None:
        if not self._serving:
            raise PeerError("this peer is not connected to others yet")
        self._refusals.pop(addr, None)
        self._transport.join(addr)

    def _joined(self, addr: Address) -> None:
        self._joining.joined(addr)
        self._strangers = {}
        self.met.set()
        self._see_whether_caught_up()
        self.changed.set()

    def _see_whether_caught_up(self) -> None:
        if self.caught_up.is_set():
            return
        seeds = self._node.seeds()
        live = self.live()
        if any(self._catalog.replica(name) is None for name in live):
            return
        informed = any(name in live and self.told(name, SERVES_FACT) is not None for name in seeds.values())
        if informed or all(seeds.values()):
            self.caught_up.set()

    def _refused(self, addr: Address, why: str) -> None:
        text = refusal(addr, why)
        if is_silence(why):
            # What came from there before is no longer the reason.
            self._strangers.pop(addr[0], None)
        if addr not in self._node.seeds():
            # Met on the way, and kept by the node itself: here it would stay for ever.
            log.info("%s", text)
            return
        if self._refusals.get(addr) != text:
            log.error("%s", text)
        self._refusals[addr] = text
        self._joining.failed(addr, text)
        self._see_whether_met()

    def _see_whether_met(self) -> None:
        """An address where somebody was to be joined is decided without anybody let in there."""
        if all(name or seed in self._refusals for seed, name in self._node.seeds().items()):
            self.met.set()
        self._see_whether_caught_up()
        self.changed.set()

    def _name_conflict(self, addr: Address, *, lost: bool) -> None:
        if lost:
            self._hooks.lost_name(
                f"the peer at {addr[0]} knows of another one named {self.name}: give this one another --name"
            )
        else:
            log.error("a peer at %s has the name %s too and is refused: it needs another --name", addr[0], self.name)


def _address(text: str, default_port: int) -> Address | None:
    try:
        return peer_address(text, default_port)
    except ConfigError:
        return None
