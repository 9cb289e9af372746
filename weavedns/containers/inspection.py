"""The fields of a container's inspection that matter here, each of the type it should have. Holds no rule about them.

An inspection comes from engines of many versions: every field may be absent, null or of another type, and none of
that raises.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)


class Inspection:
    """An inspection (``GET /containers/ID/json``), read defensively."""

    def __init__(self, inspection: Any) -> None:
        config = dig(inspection, "Config")
        host_config = dig(inspection, "HostConfig")
        state = dig(inspection, "State")
        self.id = text(dig(inspection, "Id"))
        self.name = text(dig(inspection, "Name")).lstrip("/")
        pid = dig(state, "Pid")
        self.pid = pid if isinstance(pid, int) and pid > 0 else 0
        # An engine that waits to start a container again calls it running, without a process.
        self.running = dig(state, "Running") is True and dig(state, "Restarting") is not True and self.pid > 0
        self.started_ns = _instant(text(dig(state, "StartedAt")))
        self.labels = strings(dig(config, "Labels"))
        self.environment = [entry for entry in items(dig(config, "Env")) if isinstance(entry, str)]
        self.network_disabled = dig(config, "NetworkDisabled") is True
        self.network_mode = text(dig(host_config, "NetworkMode"))
        self.dns_search_given = bool(items(dig(host_config, "DnsSearch")))
        self.resolv_conf = text(dig(inspection, "ResolvConfPath"))
        self.health = text(dig(dig(state, "Health"), "Status"))
        networks = dig(dig(inspection, "NetworkSettings"), "Networks")
        self.networks: dict[str, Any] = networks if isinstance(networks, dict) else {}
        self.hostname = _join_host(text(dig(config, "Hostname")), text(dig(config, "Domainname")))

    def variable(self, name: str) -> str | None:
        """The value of an environment variable, the last one given, or None."""
        prefix = name + "="
        values = [entry[len(prefix) :] for entry in self.environment if entry.startswith(prefix)]
        return values[-1] if values else None


def dig(value: Any, key: str) -> Any:
    """What an object has under a key; None when it is no object, or has no such key."""
    return value.get(key) if isinstance(value, dict) else None


def text(value: Any) -> str:
    """A string as it is, "" for anything else."""
    return value if isinstance(value, str) else ""


def items(value: Any) -> list[Any]:
    """A list as it is, an empty one for anything else."""
    return value if isinstance(value, list) else []


def strings(value: Any) -> dict[str, str]:
    """The entries of an object that are strings."""
    if not isinstance(value, dict):
        return {}
    return {key: each for key, each in value.items() if isinstance(key, str) and isinstance(each, str)}


def _instant(moment: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time, which engines give with up to nine decimals; 0 for none."""
    match = _INSTANT.fullmatch(moment)
    if match is None:
        return 0
    try:
        whole_s = datetime.fromisoformat(match[1] + match[3]).timestamp()
    except (ValueError, OverflowError):
        return 0
    return max(0, int(whole_s) * 10**9 + int((match[2] or "0").ljust(9, "0")))


def _join_host(hostname: str, domainname: str) -> str:
    """The full host name. Old engines split it at the first dot, new ones leave it whole in the first part."""
    host, suffix = hostname.strip().strip("."), domainname.strip().strip(".")
    if not host or not suffix or host.lower().endswith("." + suffix.lower()):
        return host
    return f"{host}.{suffix}"
