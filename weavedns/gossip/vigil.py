"""Whether the host of a peer whose daemon does not answer is there: then so are its containers, and their names stay.

A host without a daemon refuses connections, one that is gone answers nothing. Decides what becomes of the names of a
peer that is believed dead; never who is believed dead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from weavedns.gossip.core import Core
from weavedns.gossip.membership import Peer
from weavedns.gossip.message import State

# A host that is asked for the first time has this long to answer before it counts as gone.
VERDICT_S = 0.5
# How often a host is asked, and how long its last answer holds: one connection's first retransmission (1 s) longer.
ASK_EVERY_S = 1.0
HOLDS_S = 2.5
# Everybody asks: together no more than so often a second.
ASKED_A_S = 100

Answered = Callable[[bool, str, float], None]


@dataclass(slots=True)
class _Watch:
    """One host: since when it is watched, and when it last answered."""

    since: float
    answered: float | None = None


class Vigil:
    """The hosts of peers that are suspected, or believed dead with their names still answered.

    `knock` opens a stream to a peer's host and tells whether the host answered, were it by a refusal; `hide` and
    `keep` hear what becomes of the names of a peer believed dead.
    """

    def __init__(
        self,
        core: Core,
        knock: Callable[[Peer, float, Answered], None],
        hide: Callable[[Peer], None],
        keep: Callable[[Peer], None],
    ) -> None:
        self._core = core
        self._knock = knock
        self._hide = hide
        self._keep = keep
        self._watches: dict[str, _Watch] = {}

    def begin(self, peer: Peer, now: float) -> None:
        """A peer is suspected, or said to be dead: see whether its host is there."""
        if peer.name not in self._watches:
            self._watches[peer.name] = _Watch(now)
            self.ask(peer.name, now)
        if peer.state is State.DEAD:
            self._core.timers.set(("verdict", peer.name), max(now, self._watches[peer.name].since + VERDICT_S))

    def end(self, name: str) -> None:
        """The peer answers again, or is gone for good."""
        if self._watches.pop(name, None) is not None:
            self._core.timers.cancel(("vigil", name))
            self._core.timers.cancel(("verdict", name))

    def overslept(self, by_s: float) -> None:
        """This node did not run for a while: no host had to answer in that time."""
        for watch in self._watches.values():
            if watch.answered is not None:
                watch.answered += by_s

    def ask(self, name: str, now: float) -> None:
        """Ask a host once more."""
        core, watch, peer = self._core, self._watches.get(name), self._core.members.get(name)
        if watch is None or peer is None:
            return

        def answered(there: bool, _why: str, at: float) -> None:
            if there:
                watch.answered = at

        self._knock(peer, now, answered)
        core.timers.set(("vigil", name), now + max(ASK_EVERY_S, len(core.members) / ASKED_A_S))

    def judge(self, name: str, now: float) -> None:
        """Decide about the names of a peer that is believed dead, and look again later while they are kept."""
        watch, peer = self._watches.get(name), self._core.members.get(name)
        if watch is None or peer is None or peer.state is not State.DEAD:
            return
        holds = HOLDS_S + max(0.0, len(self._core.members) / ASKED_A_S - ASK_EVERY_S)
        if watch.answered is None or now >= watch.answered + holds:
            self.end(name)
            peer.host_there = False
            self._hide(peer)
            return
        if not peer.host_there:
            peer.host_there = True
            self._keep(peer)
        self._core.timers.set(("verdict", name), watch.answered + holds)
