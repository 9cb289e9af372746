"""The daemon's counters in Prometheus form. Reads the report; keeps nothing of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


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


def render(report: Callable[[], dict[str, Any]]) -> bytes:
    """One scrape as text."""
    registry = CollectorRegistry()
    registry.register(ReportCollector(report))
    return generate_latest(registry)
