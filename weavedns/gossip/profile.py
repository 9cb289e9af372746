"""The timings of the peer protocol, in sets that fit together. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log10


@dataclass(frozen=True, slots=True)
class Profile:
    """How often peers are probed, when they are believed dead, and how changes spread."""

    probe_every_s: float = 0.5
    # How long a peer has to answer directly, with three pings in that time, before others are asked to try.
    probe_timeout_s: float = 0.2
    direct_pings: int = 3
    indirect_peers: int = 3
    tcp_probe: bool = True
    # Also probe the peer that follows in the order of hashed names, so that each is probed at least this often.
    ring_probe: bool = True
    suspicion_multiplier: float = 3.0
    # Whoever is paused for 3 s and then answers must not have been declared dead.
    suspicion_floor_s: float = 2.75
    suspicion_max_multiplier: float = 2.0
    # About how many peers try a suspect at once when they hear of it.
    confirmers: int = 6
    max_health: int = 8
    # Changes: straight to everybody up to this many peers, then in rounds by whoever hears of them first.
    direct_up_to: int = 1_000
    eager: bool = True
    coalesce_s: float = 0.005
    # The second round comes sooner: it is most of what a loss costs.
    first_round_s: float = 0.025
    round_every_s: float = 0.05
    fanout: int = 3
    rounds_multiplier: int = 4
    # A round counts as one transmission, or (as memberlist has it) as one for each peer it went to.
    count_packets: bool = False
    # Hearing a change again twice takes the place of a round of one's own.
    duplicates_a_round: float = 2.0
    digest: bool = True
    mismatch_s: float = 1.0
    # Exchange everything with one random peer this often; 0: only on a mismatch.
    exchange_every_s: float = 0.0
    forget_after_s: float = 30 * 60.0
    remember_s: float = 24 * 3600.0
    reconnect_every_s: float = 5.0

    def rounds(self, peers: int) -> int:
        """How often a change is passed on by each peer, where there are `peers` others."""
        return self.rounds_multiplier * max(1, ceil(log10(peers + 2)))

    def suspicion_s(self, peers: int) -> tuple[float, float]:
        """The shortest and the longest time for a suspect to clear itself, among `peers` others."""
        shortest = self.suspicion_multiplier * max(1.0, log10(max(1, peers + 1))) * self.probe_every_s
        shortest = max(self.suspicion_floor_s, shortest)
        return shortest, shortest * self.suspicion_max_multiplier


FAST = Profile()
LAN = Profile(
    probe_every_s=1.0,
    probe_timeout_s=0.5,
    suspicion_multiplier=4.0,
    suspicion_max_multiplier=6.0,
    suspicion_floor_s=0.0,
)
# memberlist 0.5's DefaultLANConfig, to compare with on the same simulator.
MEMBERLIST = Profile(
    probe_every_s=1.0,
    probe_timeout_s=0.5,
    direct_pings=1,
    ring_probe=False,
    suspicion_multiplier=4.0,
    suspicion_max_multiplier=6.0,
    suspicion_floor_s=0.0,
    confirmers=0,
    direct_up_to=0,
    eager=False,
    round_every_s=0.2,
    count_packets=True,
    duplicates_a_round=0.0,
    digest=False,
    exchange_every_s=30.0,
)
