"""What people and programs are told about forwarding."""

import logging

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.control.peer import Peer
from weavedns.control import metrics
from weavedns.dns.upstream import Server
from weavedns.errors import RecordError

FAST: Server = ("192.0.2.53", 53)
FAILING: Server = ("2001:db8::53", 5353)
UNUSED: Server = ("192.0.2.55", 53)


@pytest.fixture
def busy(peer: Peer) -> Peer:
    """A peer that has asked two of its three servers."""
    upstreams = peer.upstreams
    upstreams._rules = {b"\x04corp\x07example\0": (FAILING, UNUSED)}
    upstreams.replace([])
    upstreams.replace([FAST])
    for server in (FAST, FAILING):
        upstreams.asked(server, 1.0)
    upstreams.answered(FAST, 0.0123, 1.0)
    upstreams.failed(FAILING, 1.0, 2.0)
    return peer


def test_each_server_is_told_of_with_latency_health_and_counts(busy: Peer) -> None:
    lines = [line.strip() for line in busy.operations.status("upstream").splitlines()]
    assert lines[:3] == [
        "upstream: 192.0.2.53 port 53: ok, 12.3 ms, 1 asked, 1 answered, 0 failed",
        "for corp.example: 2001:db8::53 port 5353: failing, 1 asked, 0 answered, 1 failed",
        "for corp.example: 192.0.2.55 port 53: not asked yet",
    ]
    assert lines[3].startswith("cache: 0 answers, 0 KiB, 0 hits")
    assert lines[-1] == "in flight: 0"


def test_programs_are_told_the_same(busy: Peer) -> None:
    found = busy.operations.report()["upstream"]
    (row,) = found["servers"]
    assert row == {
        "server": "192.0.2.53 port 53",
        "state": "ok",
        "latency_ms": 12.3,
        "asked": 1,
        "answered": 1,
        "failed": 0,
        "edns": True,
    }
    assert [each["state"] for each in found["rules"]["corp.example"]] == ["failing", "not asked yet"]
    assert found["cache"] == {"entries": 0, "bytes": 0, "hits": 0, "stale": 0}


def test_without_a_server_it_says_what_follows_from_that(peer: Peer) -> None:
    peer.upstreams.replace([])
    assert "none: other domains do not resolve" in peer.operations.status("upstream")


def test_metrics_have_each_server_once(busy: Peer) -> None:
    text = metrics.render(busy.operations.report).decode()
    found = {family.name: family.samples for family in text_string_to_metric_families(text)}
    up = {sample.labels["server"]: sample.value for sample in found["weavedns_upstream_up"]}
    assert up == {"192.0.2.53 port 53": 1.0, "2001:db8::53 port 5353": 0.0, "192.0.2.55 port 53": 1.0}
    assert [sample.value for sample in found["weavedns_upstream_latency_seconds"]] == [0.0123]
    assert {sample.value for sample in found["weavedns_cache_answers"]} == {0.0}


def test_a_name_that_is_none_cannot_be_flushed(peer: Peer) -> None:
    assert peer.operations.flush("") == peer.operations.flush("example.org.") == 0
    with pytest.raises(RecordError, match="empty label"):
        peer.operations.flush("a..b")


def test_the_query_log_speaks_whatever_the_log_level_is(peer: Peer) -> None:
    logging.getLogger("weavedns.queries").setLevel(logging.CRITICAL)
    peer.operations.log_queries(on=True)
    assert logging.getLogger("weavedns.queries").isEnabledFor(logging.INFO)
    peer.operations.log_queries(on=False)
