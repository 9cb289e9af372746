"""A container, as whoever asks for its attachment describes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Target:
    """A container as the engine describes it.

    `resolv_conf` is the file on the host that the container sees as /etc/resolv.conf; None, or `resolver` False: it
    is left alone. `search_own` is the container's own subdomain, "" when it has none.
    """

    container_id: str
    name: str
    pid: int
    resolv_conf: Path | None = None
    search_own: str = ""
    dns_search_given: bool = False
    resolver: bool = True
