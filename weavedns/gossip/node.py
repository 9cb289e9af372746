"""One peer of the cluster, without sockets or clock: bytes and times go in, datagrams, stream actions and events come
out. Puts the parts together and hands each message to the one it is for; holds no rule of its own.

Whoever drives it, after every call: send `datagrams_to_send`, carry out `stream_actions`, take every `next_event`,
and call `handle_timer` when `get_timer` is due.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from weavedns.gossip import codec
from weavedns.gossip.core import Config, Core, Stats
from weavedns.gossip.dice import Dice
from weavedns.gossip.events import Address, Event
from weavedns.gossip.inbound import Inbound, Parts
from weavedns.gossip.links import Action, Links
from weavedns.gossip.membership import Peer
from weavedns.gossip.message import Leave, Suspect
from weavedns.gossip.probe import Prober
from weavedns.gossip.rendezvous import EXPIRE_EVERY_S, Rendezvous
from weavedns.gossip.requests import DEFAULT_TIMEOUT_S, Requests
from weavedns.gossip.seal import Keyring
from weavedns.gossip.session import SECRET_BYTES, Sessions
from weavedns.gossip.spread import Spread
from weavedns.gossip.standing import Standing
from weavedns.gossip.vigil import Vigil
from weavedns.records.catalog import Catalog

# Being woken so much later than asked for means that this host was paused or too busy.
OVERSLEPT_S = 0.25
LEAVE_SENDS = 3
LEAVE_EVERY_S = 0.05
_RUMORS = ("rumors",)
_LEAVE = ("leave",)


class Node:
    """One peer. `wall_ms` is a hint that makes a later start a higher incarnation; `rng` has to be
    `random.SystemRandom` when there is a password.
    """

    def __init__(self, config: Config, catalog: Catalog, rng: Dice, *, wall_ms: int) -> None:
        self._core = core = Core(config, catalog, rng, wall_ms)
        sessions = Sessions(rng.randbytes(SECRET_BYTES))
        self._spread = Spread(core)
        self._requests = Requests(core)
        self._standing = Standing(core, self._spread, self._requests.peer_gone)
        self._links = Links(core, self._spread, self._standing)
        self._prober = Prober(core, self._accuse, self._links.probe)
        self._rendezvous = Rendezvous(core, self._links, self._spread.announce)
        self._vigil = Vigil(core, self._links.knock, self._standing.hide, self._standing.keep)
        self._standing.vigil = self._vigil
        self._standing.probe = self._prober.probe
        self._standing.worse = self._prober.worse
        self._links.answered_by_tcp = self._prober.answered_by_tcp
        parts = Parts(self._prober, self._spread, self._standing, self._links, self._rendezvous, self._requests)
        self._inbound = Inbound(core, sessions, parts)
        self._links.stranger = self._inbound.complain
        self._leave_sends = 0
        self._on_timer = self._timer_table()

    # What the daemon asks and says.

    @property
    def name(self) -> str:
        """This peer's name."""
        return self._core.name

    @property
    def incarnation(self) -> int:
        """This peer's present incarnation."""
        return self._core.incarnation

    @property
    def boot(self) -> int:
        """This peer's boot id."""
        return self._core.boot

    @property
    def host(self) -> str:
        """The address that this peer tells others, empty until one is known."""
        return self._core.host

    @property
    def muted(self) -> bool:
        """Whether it left, or another peer holds its name."""
        return self._core.muted

    @property
    def health(self) -> int:
        """0: well. The more, the less this peer trusts its own view of others."""
        return self._prober.health

    @property
    def stats(self) -> Stats:
        """What is counted; to be read only."""
        stats = self._core.stats
        stats.datagrams_out = self._core.outbox.datagrams
        stats.bytes_out = self._core.outbox.size_bytes
        return stats

    @property
    def keyring(self) -> Keyring:
        """The keys that are valid now."""
        return self._core.sealer.keyring

    def rekey(self, keyring: Keyring) -> None:
        """Use other keys from the next datagram and stream on."""
        self._core.sealer.rekey(keyring)

    def peers(self) -> list[Peer]:
        """All other peers, dead ones too; to be read only."""
        return sorted(self._core.members, key=lambda peer: peer.name)

    def peer(self, name: str) -> Peer | None:
        """One other peer; to be read only."""
        return self._core.members.get(name)

    def whereabouts(self) -> list[Address]:
        """Where others are or were, but for those that left."""
        members = self._core.members
        graves = [(grave.host, grave.port) for _, grave in members.graves() if not grave.left]
        return [*(peer.addr for peer in members), *graves]

    def seeds(self) -> dict[Address, str]:
        """Where to join, each with the name of the peer that it led to, maybe this one itself; "" before.

        One that was forgotten counts as leading to this one: nobody is looked for there.
        """
        return self._rendezvous.seeds()

    def start(self, now: float) -> None:
        """Begin. What the catalog has by now is published as a whole, so it should be complete."""
        self._prober.start(now)
        self._rendezvous.start(now)
        self._standing.speak(now)
        self._spread.announce(now)
        self._arm()

    def publish(self, now: float) -> None:
        """The catalog's own records changed."""
        if not self._core.muted:
            self._spread.publish(now)
            self._arm()

    def join(self, addr: Address, now: float) -> None:
        """Join one more peer, and keep trying until it answers."""
        self._rendezvous.add_seed(addr, now)

    def forget(self, name: str, now: float) -> None:
        """Drop a dead peer on all peers; raises PeerError when it is alive or unknown."""
        self._standing.forget(name, now)
        self._rendezvous.drop_seeds(name)
        self._arm()

    def give_up(self, addr: Address) -> bool:
        """Look for nobody at an address that was to be joined; False when nobody was."""
        return self._rendezvous.drop_seed(addr)

    def request(self, peer: str, kind: str, body: bytes, now: float, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
        """Ask a peer something; the number comes back in ReplyCame or RequestFailed.

        `body` has at most 1,000 bytes. Raises PeerError when the peer is not there.
        """
        return self._requests.ask(peer, kind, body, now, timeout_s=timeout_s)

    def reply(self, number: int, body: bytes, *, failed: bool = False) -> None:
        """Answer a RequestCame; `failed` with a sentence as `body` when it cannot be done."""
        self._requests.reply(number, body, failed=failed)

    def leave(self, now: float) -> None:
        """Leave for good: the others drop this peer's records at once. Over when `get_timer` is None."""
        if not self._core.muted:
            self._core.muted = True
            self._say_goodbye(now)

    # Datagrams.

    def receive(self, data: bytes, addr: Address, now: float) -> None:
        """A datagram came from `addr`."""
        self._inbound.receive(data, addr, now)
        self._arm()

    def datagrams_to_send(self, _now: float) -> list[tuple[bytes, Address]]:
        """What is to go out now."""
        return self._core.outbox.take()

    # Streams.

    def stream_actions(self) -> list[Action]:
        """What is to be done with connections: Dial, Send (draw with `stream_data`), Close."""
        return self._links.take_actions()

    def stream_accepted(self, addr: Address, now: float) -> int | None:
        """Somebody connected: the number of the stream, or None when it is to be closed at once."""
        return self._links.accepted(addr, now)

    def stream_opened(self, number: int, addr: Address) -> None:
        """A Dial succeeded; `addr` is the numeric address at the other end."""
        self._links.opened(number, addr)

    def stream_received(self, number: int, data: bytes, now: float) -> None:
        """Bytes came on a stream."""
        self._links.received(number, data, now)
        self._arm()

    def stream_data(self, number: int, now: float) -> bytes:
        """The next bytes to write; empty when there are none for now. At most a frame of 1 MiB at a time."""
        return self._links.data(number, now)

    def stream_closed(self, number: int, now: float, why: str = "", *, nobody_listens: bool = False) -> None:
        """A stream is gone, or a Dial failed, and then maybe it is known why; `nobody_listens`: the host said so."""
        self._links.closed(number, now, why, nobody_listens=nobody_listens)
        self._arm()

    # Time and events.

    def get_timer(self) -> float | None:
        """When `handle_timer` wants to be called."""
        return self._core.timers.next()

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        core = self._core
        due = core.timers.next()
        if due is not None and now - due > OVERSLEPT_S:
            self._prober.overslept()
            self._standing.overslept(now - due)
            self._vigil.overslept(now - due)
        while (name := core.timers.pop(now)) is not None:
            if not core.muted or name == _LEAVE:
                self._on_timer[name[0]](name[1] if len(name) > 1 else None, now)
        self._arm()

    def next_event(self) -> Event | None:
        """What happened, one at a time; None: nothing more. Many changes come in portions: let others run between."""
        return self._core.next_event()

    def _arm(self) -> None:
        rumors, timers = self._core.rumors, self._core.timers
        if len(rumors) and not self._core.muted:
            due = rumors.due()
            if due is not None and timers.at(_RUMORS) != due:
                timers.set(_RUMORS, due)

    def _timer_table(self) -> dict[str, Callable[[Any, float], None]]:
        """What each kind of timer is for; a timer's name is its kind and what it is about."""
        standing, links, meetings = self._standing, self._links, self._rendezvous
        return {
            "probe": self._prober.step,
            "probe round": lambda _, now: self._prober.round(now),
            "rumors": lambda _, now: self._round(now),
            "publish": lambda _, now: self._spread.publish(now),
            "pull": self._spread.pull,
            "suspicion": standing.suspicion_over,
            "vigil": self._vigil.ask,
            "verdict": self._vigil.judge,
            "rival": lambda _, now: standing.check_rival(now),
            "request": self._requests.again,
            "name": links.check_name,
            "link": links.timed_out,
            "join": meetings.join,
            "sync": meetings.sync,
            "exchange": lambda _, now: meetings.exchange(now),
            "doubt": meetings.ask_again,
            "doubt over": lambda name, _: meetings.doubt_over(name),
            "reconnect": lambda _, now: meetings.reconnect(now),
            "graves": lambda _, now: meetings.visit_grave(now),
            "expire": lambda _, now: self._expire(now),
            "leave": lambda _, now: self._say_goodbye(now),
        }

    def _expire(self, now: float) -> None:
        self._core.timers.set(("expire",), now + EXPIRE_EVERY_S)
        self._standing.expire(now)
        self._core.catalog.tick(now)

    def _round(self, now: float) -> None:
        core = self._core
        targets = core.random_live(core.profile.fanout)
        parts = core.rumors.round(now, core.sealer.room_bytes, len(targets))
        if targets and parts:
            core.outbox.post_to_all([peer.addr for peer in targets], parts)

    def _say_goodbye(self, now: float) -> None:
        core = self._core
        leave = codec.encode(Leave(core.name, core.incarnation))
        core.outbox.post_to_all([peer.addr for peer in core.members.live()], [leave])
        self._leave_sends += 1
        core.timers.clear()
        if self._leave_sends < LEAVE_SENDS:
            core.timers.set(_LEAVE, now + LEAVE_EVERY_S)

    def _accuse(self, said: Suspect, now: float) -> None:
        self._standing.on_statement(said, now)
