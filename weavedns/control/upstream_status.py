"""How forwarding does: a report for programs, and as text for people. Changes nothing."""

from __future__ import annotations

from typing import Any

from weavedns.dns.server import DnsServer
from weavedns.dns.upstream import Server, Upstreams
from weavedns.records import names


def report(upstreams: Upstreams, dns: DnsServer) -> dict[str, Any]:
    """The servers with latency and health, the rules, the cache and what is in flight."""
    stats = dns.stats
    return {
        "servers": [_row(upstreams, server) for server in upstreams.servers],
        "rules": {
            names.render(suffix): [_row(upstreams, server) for server in servers]
            for suffix, servers in upstreams.rules.items()
        },
        "cache": {
            "entries": len(dns.cache),
            "bytes": dns.cache.size_bytes,
            "hits": stats.cached,
            "stale": stats.stale,
        },
        "in_flight": dns.in_flight,
        "forwarded": stats.forwarded,
        "coalesced": stats.coalesced,
        "over_limit": stats.over_limit,
        "unanswered": stats.upstream_failures,
        "loops": stats.loops,
    }


def text(found: dict[str, Any]) -> str:
    """The same in lines, in the manner of all of `weavedns status`."""
    lines = [("upstream", _told(row)) for row in found["servers"]]
    if not lines:
        lines = [("upstream", "none: other domains do not resolve")]
    lines += [("for " + suffix, _told(row)) for suffix, rows in found["rules"].items() for row in rows]
    cache = found["cache"]
    size = f"{cache['entries']} answers, {cache['bytes'] // 1024} KiB"
    lines.append(("cache", f"{size}, {cache['hits']} hits, {cache['stale']} given stale"))
    asked = f"{found['forwarded']} asked, {found['coalesced']} shared, {found['unanswered']} unanswered"
    lines.append(("questions", f"{asked}, {found['over_limit']} too many, {found['loops']} our own"))
    lines.append(("in flight", str(found["in_flight"])))
    return "".join(f"{label:>14}: {value}\n" for label, value in lines)


def _row(upstreams: Upstreams, server: Server) -> dict[str, Any]:
    health = upstreams.health(server)
    latency_s = health.latency_s
    return {
        "server": f"{server[0]} port {server[1]}",
        "state": "failing" if health.fails else "not asked yet" if not health.asked else "ok",
        "latency_ms": None if latency_s is None else round(latency_s * 1000, 1),
        "asked": health.asked,
        "answered": health.answered,
        "failed": health.failed,
        "edns": not health.plain,
    }


def _told(row: dict[str, Any]) -> str:
    latency = "" if row["latency_ms"] is None else f", {row['latency_ms']} ms"
    counts = f", {row['asked']} asked, {row['answered']} answered, {row['failed']} failed" if row["asked"] else ""
    return f"{row['server']}: {row['state']}{latency}{counts}{'' if row['edns'] else ', no EDNS'}"
