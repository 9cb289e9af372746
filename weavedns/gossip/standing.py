"""What is said of peers, and what follows from it: names hidden and shown again, statements passed on, this node
speaking up for itself. `membership.py` decides whether a statement is news.
"""

from __future__ import annotations

from collections.abc import Callable

from weavedns.errors import PeerError
from weavedns.gossip.codec import is_host
from weavedns.gossip.core import Core, Need
from weavedns.gossip.events import (
    Address,
    FactsChanged,
    NameConflict,
    PeerCleared,
    PeerDown,
    PeerJoined,
    PeerLeft,
    PeerLost,
    PeerMoved,
    PeerReturned,
    PeerSuspected,
)
from weavedns.gossip.membership import Move, Moved, Peer
from weavedns.gossip.message import (
    JUMP_BITS,
    MAX_INCARNATION,
    MAX_REBUTTAL,
    Alive,
    Dead,
    Leave,
    NameTaken,
    Ping,
    Row,
    State,
    Statement,
    Suspect,
)
from weavedns.gossip.spread import Spread
from weavedns.gossip.vigil import Vigil

# How long the holder of a name has to show that it is still there.
NAME_CHECK_S = 1.0
NAME_CHECK_PINGS = 4
# A statement heard in a sync is passed on, but not those of a whole cluster that is being joined.
ROWS_PASSED_ON = 32
# How long after a peer came its records may take to come by themselves before they are fetched.
SNAPSHOT_WAIT_S = 0.3
SNAPSHOT_SPREAD_S = 0.5


class Standing:
    """One node's view of who is there."""

    def __init__(self, core: Core, spread: Spread, gone: Callable[[str], None]) -> None:
        self._core = core
        self._spread = spread
        self._gone = gone
        self.probe: Callable[[str, float], None] = _no_probe
        self.worse: Callable[[int], None] = lambda _by: None
        self.vigil: Vigil
        # The name of this node said to be elsewhere: at which address, how often asked, and the incarnation heard.
        self._rival: tuple[Address, int, int] | None = None

    def on_statement(self, said: Statement, now: float, addr: Address | None = None, *, relay: bool = True) -> bool:
        """Take in what somebody said; returns whether it was news. `addr` is where it came from."""
        core = self._core
        if said.name == core.name:
            self._about_me(said, now, addr)
            return False
        moved: Moved | None
        match said:
            case Alive():
                known = core.members.get(said.name)
                before = known.addr if known else None
                moved = core.members.on_alive(said, now)
                if moved is None:
                    self._contest(said, addr)
                elif before is not None and before != moved.peer.addr:
                    # Whoever is still there by this name has to know; nobody else would tell it.
                    core.outbox.post(before, said)
            case Suspect():
                moved = core.members.on_suspect(said, now)
            case Dead():
                moved = core.members.on_dead(said, now)
            case Leave():
                moved = core.members.on_leave(said, now)
        if moved is None:
            core.heard(said)
            return False
        self._act(moved, now)
        if relay:
            core.spread(said, now)
        return True

    def on_rows(self, rows: list[Row], sender: str, now: float) -> None:
        """Take in how another peer sees everybody."""
        passed_on = 0
        for row in rows:
            relay = passed_on < ROWS_PASSED_ON
            news = False
            if row.state is not State.DEAD:
                news = self.on_statement(row.peer, now, relay=relay)
            if row.state is not State.ALIVE and row.peer.name != self._core.name:
                # What another holds against a peer is taken up as a suspicion, so that it can clear itself.
                said = Suspect(row.peer.name, row.peer.incarnation, row.peer.rebuttal, sender)
                news = self.on_statement(said, now, relay=relay) or news
            elif row.state is not State.ALIVE:
                self._about_me(Suspect(row.peer.name, row.peer.incarnation, row.peer.rebuttal, sender), now, None)
            passed_on += news

    def suspicion_over(self, name: str, now: float) -> None:
        """A suspect's time is up."""
        peer = self._core.members.get(name)
        if peer is not None and peer.suspicion is not None:
            self.on_statement(Dead(name, peer.incarnation, peer.rebuttal, self._core.name), now)

    def overslept(self, by_s: float) -> None:
        """This node did not run for a while, so suspects get that time on top."""
        for peer in self._core.members:
            if peer.suspicion is not None:
                peer.suspicion.since += by_s
                self._core.timers.set(("suspicion", peer.name), peer.suspicion.until)

    def expire(self, now: float) -> None:
        """Forget whoever has been dead for long."""
        for moved in self._core.members.expire(now):
            self._act(moved, now)

    def forget(self, name: str, now: float) -> None:
        """Drop a dead peer everywhere; raises PeerError when it is alive or unknown."""
        peer = self._core.members.get(name)
        if peer is None:
            raise PeerError(f"there is no peer {name}; 'weavedns status peers' lists them")
        if peer.state is not State.DEAD:
            raise PeerError(f"peer {name} at {peer.host} is there; stop it first")
        self.on_statement(Leave(name, peer.incarnation), now)

    def jump(self, heard: int, now: float) -> None:
        """Publish anew as an incarnation above `heard`; one with nothing above it is not taken seriously."""
        core = self._core
        if heard > MAX_INCARNATION:
            return
        # Not just one higher: an earlier life that few have heard of may have jumped from the same number.
        core.incarnation = max(core.incarnation, heard) + 1 + core.rng.getrandbits(JUMP_BITS)
        core.rebuttal = 0
        core.sealer.restart(core.incarnation)
        core.catalog.restart(core.incarnation)
        self.speak(now)
        self._spread.announce(now)

    def speak(self, now: float) -> None:
        """Tell all that this node is there."""
        core = self._core
        core.spread(core.me(), now)

    # Two peers of one name.

    def check_rival(self, now: float) -> None:
        """Ask at the address where this node's name is said to be, or conclude that nobody is there."""
        if self._rival is None:
            return
        addr, asked, incarnation = self._rival
        if asked >= NAME_CHECK_PINGS:
            self._rival = None
            if incarnation >= self._core.incarnation:
                self.jump(incarnation, now)
            return
        self._rival = (addr, asked + 1, incarnation)
        self._core.outbox.post(addr, Ping(0, self._core.name, self._core.catalog.digest))
        self._core.timers.set(("rival",), now + NAME_CHECK_S / NAME_CHECK_PINGS)

    def met_namesake(self, addr: Address) -> None:
        """Somebody else's packet bears this node's name: both say since when they have it."""
        core = self._core
        core.outbox.post(addr, NameTaken(core.name, core.born, core.boot))

    def on_name_taken(self, said: NameTaken, addr: Address, now: float) -> None:
        """The one who had the name first keeps it; the other takes part no more."""
        core = self._core
        if said.name != core.name or said.boot == core.boot:
            return
        lost = (said.born, said.boot) < (core.born, core.boot)
        rival, self._rival = self._rival, None
        core.timers.cancel(("rival",))
        core.tell(NameConflict(addr, lost))
        self.met_namesake(addr)
        if lost:
            core.muted = True
            return
        if rival is not None and rival[2] >= core.incarnation:
            self.jump(rival[2], now)

    def _about_me(self, said: Statement, now: float, addr: Address | None) -> None:
        core = self._core
        match said:
            case Alive() if said.boot == core.boot:
                core.heard(said)
            case Alive():
                self._elsewhere(said, now)
            case Leave() if said.incarnation >= core.incarnation:
                # Forgotten after a long absence, or by a person: only a new incarnation is taken back.
                self.jump(said.incarnation, now)
            case Suspect() | Dead() if said.incarnation > core.incarnation:
                self.jump(said.incarnation, now)
            case Suspect() | Dead() if said.incarnation == core.incarnation:
                self._rebut(said, now, addr)

    def _rebut(self, said: Suspect | Dead, now: float, addr: Address | None) -> None:
        core = self._core
        if said.rebuttal == MAX_REBUTTAL:
            self.jump(core.incarnation, now)
            return
        if said.rebuttal >= core.rebuttal:
            core.rebuttal = said.rebuttal + 1
            self.worse(1)
            self.speak(now)
        accuser = core.members.get(said.accuser)
        for to in {addr, accuser.addr if accuser else None} - {None}:
            if to is not None:
                core.outbox.post(to, core.me())

    def _elsewhere(self, said: Alive, now: float) -> None:
        core = self._core
        if (said.host, said.port) == (core.host, core.config.port):
            if said.incarnation >= core.incarnation:
                self.jump(said.incarnation, now)
        elif self._rival is None and said.incarnation >= core.incarnation and is_host(said.host):
            self._rival = ((said.host, said.port), 0, said.incarnation)
            self.check_rival(now)

    def _contest(self, said: Alive, addr: Address | None) -> None:
        """Somebody thinks a peer alive that is not, as far as is known here: that peer has to say so itself."""
        core = self._core
        peer = core.members.get(said.name)
        if peer is not None and peer.state is State.DEAD and said.incarnation == peer.incarnation:
            core.outbox.post(peer.addr, Ping(0, peer.name, core.catalog.digest), peer.notice())
        grave = core.members.grave(said.name)
        if peer is None and grave is not None and said.incarnation <= grave.incarnation and addr is not None:
            core.outbox.post(addr, Leave(said.name, grave.incarnation))

    # What follows.

    def _act(self, moved: Moved, now: float) -> None:
        core, peer = self._core, moved.peer
        self._settle(moved)
        match moved.move:
            case Move.JOINED | Move.RESTARTED:
                core.tell(PeerJoined(peer.name, peer.addr, moved.move is Move.RESTARTED))
                self._want_records(peer, now)
            case Move.SUSPECTED:
                core.tell(PeerSuspected(peer.name, peer.accuser))
                self.vigil.begin(peer, now)
                self._confirm(peer, now)
                self._arm(peer)
            case Move.CONFIRMED:
                self._arm(peer)
            case Move.CHANGED:
                core.tell(PeerMoved(peer.name))
            case Move.CLEARED:
                core.stats.suspicions_cleared += 1
                core.tell(PeerCleared(peer.name))
            case Move.RETURNED:
                core.stats.returns += 1
                core.changed(core.catalog.unhide(peer.name))
                core.tell(PeerReturned(peer.name))
                core.tell(FactsChanged(peer.name))
                self._want_records(peer, now)
            case Move.DIED:
                core.stats.deaths += 1
                self._gone(peer.name)
                self.vigil.begin(peer, now)
            case Move.LEFT:
                core.changed(core.catalog.forget(peer.name))
                self._spread.forget(peer.name)
                core.tell(PeerLeft(peer.name))
                core.tell(FactsChanged(peer.name))
                self._gone(peer.name)

    def _settle(self, moved: Moved) -> None:
        """End what was under way about a peer and is decided now."""
        peer = moved.peer
        if peer.suspicion is None:
            self._core.timers.cancel(("suspicion", peer.name))
        if peer.state is State.ALIVE or moved.move is Move.LEFT:
            self.vigil.end(peer.name)

    def hide(self, peer: Peer) -> None:
        """A peer and its host are gone: its names are not answered any more."""
        core = self._core
        core.changed(core.catalog.hide(peer.name))
        core.tell(PeerLost(peer.name))
        core.tell(FactsChanged(peer.name))

    def keep(self, peer: Peer) -> None:
        """A peer's daemon is gone, but its host is there: its names are answered on."""
        self._core.tell(PeerDown(peer.name))

    def _want_records(self, peer: Peer, now: float) -> None:
        core = self._core
        replica = core.catalog.replica(peer.name)
        if replica is not None and replica.incarnation == peer.incarnation:
            # They came before the word that the peer is there.
            core.changed(core.catalog.unhide(peer.name))
        elif replica is None or replica.incarnation < peer.incarnation:
            at = now + SNAPSHOT_WAIT_S + core.rng.random() * SNAPSHOT_SPREAD_S
            core.sync_wanted(peer.name, at, Need(peer.name, peer.incarnation, 0))

    def _arm(self, peer: Peer) -> None:
        if peer.suspicion is not None:
            self._core.timers.set(("suspicion", peer.name), peer.suspicion.until)

    def _confirm(self, peer: Peer, now: float) -> None:
        """Try a suspect oneself: a suspicion that nobody shares lasts longer, and one that is wrong ends sooner."""
        core = self._core
        others = max(1, len(core.members) - 1)
        if peer.accuser != core.name and core.rng.random() < core.profile.confirmers / others:
            self.probe(peer.name, now)


def _no_probe(_name: str, _now: float) -> None:
    """Before there is a prober, nobody is tried."""
