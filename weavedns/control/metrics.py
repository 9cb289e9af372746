"""The daemon's counters in Prometheus form. Reads the report; keeps nothing of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


_PEER_STATES = ("connected", "suspect", "gone")
_GOSSIP_EVENTS = (
    "malformed", "datagrams_dropped", "syncs", "syncs_refused", "pulls",
    "suspicions", "suspicions_cleared", "deaths", "returns",
)  # fmt: skip


class ReportCollector(Collector):
    """Turns a report into metric families each time it is scraped."""

    def __init__(self, report: Callable[[], dict[str, Any]]) -> None:
        self._report = report

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Yield the families of one scrape."""
        report = self._report()
        queries = CounterMetricFamily("weavedns_dns_events", "DNS messages by what became of them", labels=["kind"])
        for kind, count in report["dns"]["queries"].items():
            queries.add_metric([kind], count)
        yield queries
        yield from _upstreams(report["upstream"])
        if "gossip" in report:
            yield from _peers(report["peers"], report["gossip"])
        yield GaugeMetricFamily("weavedns_records", "Records in the catalog", value=report["dns"]["records"])
        yield GaugeMetricFamily("weavedns_containers", "Attached containers", value=len(report["containers"]))
        yield GaugeMetricFamily(
            "weavedns_engine_up", "Whether the Docker engine answers", value=float(report["engine"] == "connected")
        )
        yield GaugeMetricFamily("weavedns_uptime_seconds", "Seconds since the launch", value=report["uptime_s"])


def _upstreams(found: dict[str, Any]) -> Iterator[GaugeMetricFamily]:
    up = GaugeMetricFamily("weavedns_upstream_up", "Whether an upstream server answers", labels=["server"])
    latency = GaugeMetricFamily("weavedns_upstream_latency_seconds", "Its usual latency", labels=["server"])
    rows = [*found["servers"], *(row for several in found["rules"].values() for row in several)]
    for server, row in {row["server"]: row for row in rows}.items():
        up.add_metric([server], float(row["state"] != "failing"))
        if row["latency_ms"] is not None:
            latency.add_metric([server], row["latency_ms"] / 1000)
    yield up
    yield latency
    yield GaugeMetricFamily("weavedns_cache_answers", "Forwarded answers kept", value=found["cache"]["entries"])
    yield GaugeMetricFamily("weavedns_cache_bytes", "Memory they take", value=found["cache"]["bytes"])
    yield GaugeMetricFamily("weavedns_forwards_in_flight", "Questions being asked", value=found["in_flight"])


def _peers(rows: list[dict[str, Any]], gossip: dict[str, Any]) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
    known = [row for row in rows if row["peer"] is not None]
    states = GaugeMetricFamily("weavedns_peers", "Other peers by state", labels=["state"])
    for state in _PEER_STATES:
        states.add_metric([state], sum(row["state"] == state for row in known))
    yield states
    over = sum(row["over_limit"] for row in known)
    yield GaugeMetricFamily("weavedns_peers_over_limit", "Peers of which not all records are kept here", value=over)
    packets = CounterMetricFamily("weavedns_gossip_packets", "Gossip datagrams", labels=["direction"])
    size = CounterMetricFamily("weavedns_gossip_bytes", "Gossip bytes", labels=["direction", "transport"])
    for direction in ("in", "out"):
        packets.add_metric([direction], gossip[f"datagrams_{direction}"])
        size.add_metric([direction, "udp"], gossip[f"bytes_{direction}"])
        size.add_metric([direction, "tcp"], gossip[f"stream_bytes_{direction}"])
    yield packets
    yield size
    refused = CounterMetricFamily("weavedns_gossip_refused", "Packets and streams not let in", labels=["reason"])
    for reason, count in gossip["refused"].items():
        refused.add_metric([reason], count)
    yield refused
    events = CounterMetricFamily("weavedns_gossip_events", "What happened between peers", labels=["kind"])
    for kind in _GOSSIP_EVENTS:
        events.add_metric([kind], gossip[kind])
    yield events
    yield GaugeMetricFamily(
        "weavedns_gossip_health", "0: well; more: this peer is slow itself", value=gossip["health"]
    )


def render(report: Callable[[], dict[str, Any]]) -> bytes:
    """One scrape as text."""
    registry = CollectorRegistry()
    registry.register(ReportCollector(report))
    return generate_latest(registry)
