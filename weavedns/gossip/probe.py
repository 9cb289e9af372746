"""Finding out who does not answer: direct pings, then through others, then by TCP (SWIM section 3.1; Lifeguard).

Decides when to ping whom and when to accuse; what an accusation leads to is membership's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from weavedns.gossip.codec import is_host
from weavedns.gossip.core import Core
from weavedns.gossip.events import Address
from weavedns.gossip.membership import Peer
from weavedns.gossip.message import Ack, Nack, Ping, PingRequest, State, Suspect

# Probes of one's own, and pings on behalf of others, that run at the same time.
MAX_PROBES = 256
# How long a peer that was asked to try waits for an answer before it says that it got none, as a share of the time
# that the asker still has.
_RELAY_SHARE = 0.8
_RELAY_PINGS = 3


@dataclass(slots=True)
class _Probe:
    """One ping on its way, for oneself or for somebody else (`relay`)."""

    target: str
    addr: Address
    steps: list[tuple[float, str]]
    ends: float
    relay: tuple[Address, int] | None = None
    nacks_wanted: int = 0
    nacks: set[Address] = field(default_factory=set)


class Prober:
    """The probes of one node."""

    def __init__(
        self, core: Core, accuse: Callable[[Suspect, float], None], dial: Callable[[Peer, int, float], None]
    ) -> None:
        self._core = core
        self._accuse = accuse
        self._dial = dial
        self._probes: dict[int, _Probe] = {}
        self._seq = core.rng.getrandbits(31)
        self._turn: list[str] = []
        # Lifeguard's local health: 0 is well; the worse, the more patience with others.
        self.health = 0

    def start(self, now: float) -> None:
        """Begin to probe."""
        self._core.timers.set(("probe round",), now + self._core.rng.random() * self._core.profile.probe_every_s)

    def round(self, now: float) -> None:
        """Probe the successor on the ring and the next peer of a shuffled list."""
        core = self._core
        core.timers.set(("probe round",), now + core.profile.probe_every_s * (self.health + 1))
        peers = [core.members.successor()] if core.profile.ring_probe else []
        peers.append(self._next_in_turn())
        for peer in dict.fromkeys(peer.name for peer in peers if peer is not None):
            self.probe(peer, now)

    def probe(self, name: str, now: float) -> None:
        """Probe one peer, unless that is under way."""
        core, profile = self._core, self._core.profile
        peer = core.members.get(name)
        if peer is None or len(self._probes) >= MAX_PROBES:
            return
        if any(probe.target == name and probe.relay is None for probe in self._probes.values()):
            return
        timeout = profile.probe_timeout_s * (self.health + 1)
        ends = now + profile.probe_every_s * (self.health + 1)
        # Pinging goes on at the same pace to the end: under loss that is what keeps live peers from being accused.
        every = profile.probe_timeout_s / profile.direct_pings
        last = timeout if profile.direct_pings == 1 else ends - now
        steps = [(now + every * at, "ping") for at in range(1, int(last / every))]
        steps += [(now + timeout, "ask others"), (ends, "end")]
        steps.sort()
        self._begin(_Probe(name, peer.addr, steps, ends))

    def on_ping(self, ping: Ping, addr: Address) -> None:
        """Answer, when it is this node that was meant."""
        if ping.target == self._core.name:
            self._core.outbox.post(addr, Ack(ping.seq, self._core.catalog.digest, self._core.name))

    def on_ack(self, ack: Ack) -> str | None:
        """An answer came; returns whose it is when it is this node's own probe."""
        probe = self._probes.get(ack.seq)
        if probe is None or probe.target != ack.target:
            return None
        self._end(ack.seq)
        if probe.relay is not None:
            asker, seq = probe.relay
            self._core.outbox.post(asker, Ack(seq, ack.digest, ack.target))
            return None
        self.health = max(0, self.health - 1)
        return probe.target

    def on_nack(self, nack: Nack, addr: Address) -> None:
        """A peer that was asked got no answer, which at least shows that this node can be heard."""
        probe = self._probes.get(nack.seq)
        if probe is not None:
            probe.nacks.add(addr)

    def on_ping_request(self, request: PingRequest, addr: Address, now: float) -> None:
        """Ping somebody on behalf of the asker."""
        core = self._core
        if len(self._probes) >= MAX_PROBES or not is_host(request.host):
            return
        asker = (addr, request.seq)
        if any(probe.relay == asker for probe in self._probes.values()):
            return
        window = (core.profile.probe_every_s - core.profile.probe_timeout_s) * _RELAY_SHARE
        steps = [(now + window * at / _RELAY_PINGS, "ping") for at in range(1, _RELAY_PINGS)]
        steps.append((now + window, "end"))
        self._begin(_Probe(request.target, (request.host, request.port), steps, now + window, asker))

    def answered_by_tcp(self, seq: int) -> None:
        """The target answered on a stream."""
        if seq in self._probes:
            self._end(seq)

    def step(self, seq: int, now: float) -> None:
        """What a probe does when it has waited long enough for an answer."""
        probe = self._probes.get(seq)
        if probe is None:
            return
        _, what = probe.steps.pop(0)
        if what == "ping":
            self._ping(seq, probe)
        elif what == "ask others":
            self._ask_others(seq, probe, now)
        else:
            self._end(seq)
            self._give_up(probe, now)
            return
        self._core.timers.set(("probe", seq), probe.steps[0][0])

    def overslept(self) -> None:
        """This node did not run for a while: what it waited for meanwhile says nothing of others."""
        for seq in list(self._probes):
            self._end(seq)
        self.worse(1)

    def worse(self, by: int) -> None:
        """Trust oneself less."""
        self.health = min(self._core.profile.max_health, self.health + by)

    def _begin(self, probe: _Probe) -> None:
        self._seq = (self._seq + 1) & 0xFFFF_FFFF
        self._probes[self._seq] = probe
        self._ping(self._seq, probe)
        self._core.timers.set(("probe", self._seq), probe.steps[0][0])

    def _end(self, seq: int) -> None:
        del self._probes[seq]
        self._core.timers.cancel(("probe", seq))

    def _ping(self, seq: int, probe: _Probe) -> None:
        core = self._core
        peer = core.members.get(probe.target)
        # A suspect is told of it, so that it can clear itself (Lifeguard section IV-C).
        notice = peer.notice() if peer is not None else None
        core.outbox.post(probe.addr, Ping(seq, probe.target, core.catalog.digest), notice)

    def _ask_others(self, seq: int, probe: _Probe, now: float) -> None:
        core = self._core
        peers = core.random_live(core.profile.indirect_peers, but=probe.target)
        probe.nacks_wanted = len(peers)
        for peer in peers:
            core.outbox.post(peer.addr, PingRequest(seq, probe.target, *probe.addr))
        target = core.members.get(probe.target)
        if core.profile.tcp_probe and target is not None:
            self._dial(target, seq, now)

    def _give_up(self, probe: _Probe, now: float) -> None:
        core = self._core
        if probe.relay is not None:
            asker, seq = probe.relay
            core.outbox.post(asker, Nack(seq))
            return
        missing = probe.nacks_wanted - len(probe.nacks)
        self.worse(missing if probe.nacks_wanted else 1)
        peer = core.members.get(probe.target)
        if peer is not None and peer.state is not State.DEAD:
            core.stats.suspicions += 1
            self._accuse(Suspect(peer.name, peer.incarnation, peer.rebuttal, core.name), now)

    def _next_in_turn(self) -> Peer | None:
        members = self._core.members
        while self._turn:
            peer = members.get(self._turn.pop())
            if peer is not None and peer.state is not State.DEAD:
                return peer
        self._turn = [peer.name for peer in members.live()]
        self._core.rng.shuffle(self._turn)
        return members.get(self._turn.pop()) if self._turn else None
