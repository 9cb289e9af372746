"""Counters of what the server did. Nothing but numbers that grow."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class DnsStats:
    """What happened since the start."""

    queries: int = 0
    answered: int = 0  # from our own records, negative answers included
    nxdomain: int = 0
    forwarded: int = 0  # questions that upstreams were asked
    cached: int = 0  # answered with what an upstream has said before
    stale: int = 0  # answered with what had expired, as no upstream answered
    coalesced: int = 0  # joined an equal question on its way
    over_limit: int = 0  # not forwarded, as too many were waiting
    loops: int = 0  # our own questions that came back to us
    refused: int = 0
    servfail: int = 0
    malformed: int = 0
    not_implemented: int = 0
    dropped: int = 0  # runts and replies, which get no answer
    truncated: int = 0
    unsent: int = 0  # replies that the kernel would not take
    tcp_connections: int = 0
    tcp_refused: int = 0
    upstream_failures: int = 0

    def as_dict(self) -> dict[str, int]:
        """The counters by name."""
        return asdict(self)
