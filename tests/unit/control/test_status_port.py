"""The status port: a page that shows and never runs what it is given, metrics, health, readiness."""

import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.control.peer import Peer
from tests.unit.control.test_peers import COUNTED
from weavedns.control import metrics, status_page
from weavedns.errors import ListenError
from weavedns.records import names
from weavedns.records.record import Origin, Record, RecordType


@pytest.fixture
async def page(peer: Peer) -> AsyncIterator[ClientSession]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with (
        status_page.serve(peer.operations, "127.0.0.1", port),
        ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        yield session


async def text_of(page: ClientSession, path: str, *, method: str = "GET") -> tuple[int, str]:
    async with page.request(method, path) as response:
        return response.status, await response.text()


async def test_health_is_always_well_and_readiness_waits_for_the_containers(peer: Peer, page: ClientSession) -> None:
    assert await text_of(page, "/health") == (200, "ok\n")
    assert await text_of(page, "/ready") == (200, "ready\n")
    peer.containers.settled.clear()
    assert await text_of(page, "/health") == (200, "ok\n")
    assert await text_of(page, "/ready") == (503, "looking at the containers\n")


async def test_the_page_shows_status_containers_and_records(page: ClientSession) -> None:
    status, text = await text_of(page, "/")
    assert status == 200
    for shown in ("weavedns on h1", "Docker engine: connected", "10.2.0.1/16", "redis.weave.local"):
        assert shown in text


async def test_the_page_never_runs_what_a_container_calls_itself(peer: Peer, page: ClientSession) -> None:
    peer.containers.engine_state = "<script>alert(1)</script>"
    peer.catalog.add(Record("h1", "x", names.parse(r"\<b\>.weave.local"), RecordType.TXT, b"\x03<i>", 1, Origin.ZONE))
    _, text = await text_of(page, "/")
    for tag in ("<script>", "<b>", "<i>"):
        assert tag not in text
    assert "&lt;script&gt;" in text
    assert "&lt;i&gt;" in text


async def test_the_page_stays_short_however_many_records_there_are(peer: Peer, page: ClientSession) -> None:
    await peer.registry.add("many", [f"10.{n >> 8}.{n & 255}.1" for n in range(3000)])
    _, text = await text_of(page, "/")
    assert "and 2501 more" in text
    assert text.count("<tr>") < 600


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_nothing_can_be_changed_there(peer: Peer, page: ClientSession, method: str) -> None:
    for path in ("/", "/v1/stop", "/v1/records", "/metrics"):
        assert (await text_of(page, path, method=method))[0] in {404, 405}
    assert peer.stops == []


async def test_metrics_are_what_prometheus_reads(peer: Peer, page: ClientSession) -> None:
    async with page.get("/metrics") as response:
        assert response.headers["Content-Type"] == metrics.CONTENT_TYPE
        text = await response.text()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["weavedns_records",] == len(peer.catalog) == 1
    assert found["weavedns_containers",] == 1
    assert found["weavedns_engine_up",] == 1
    assert found["weavedns_uptime_seconds",] >= 0
    for kind in peer.operations.report()["dns"]["queries"]:
        assert found["weavedns_dns_events_total", kind] == 0


H2 = {
    "peer": "h2", "address": "192.0.2.2", "port": 6783, "state": "suspect", "dns": None, "records": 3,
    "over_limit": True,
}  # fmt: skip
STRANGER = {"peer": None, "address": "192.0.2.9", "port": None, "state": "rejected", "why": "plaintext"}


def test_metrics_tell_of_peers_and_of_what_gossip_counts(peer: Peer) -> None:
    report = {**peer.operations.report(), "peers": [H2, STRANGER], "gossip": COUNTED}
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.render(lambda: report).decode())
        for sample in family.samples
    }
    assert [found["weavedns_peers", state] for state in ("connected", "suspect", "gone")] == [0, 1, 0]
    assert found["weavedns_peers_over_limit",] == 1
    assert found["weavedns_gossip_packets_total", "in"] == 7
    assert found["weavedns_gossip_bytes_total", "out", "tcp"] == 1
    assert found["weavedns_gossip_refused_total", "replayed"] == 5
    assert found["weavedns_gossip_refused_total", "forged"] == 0
    assert found["weavedns_gossip_events_total", "suspicions_cleared"] == 2


async def test_the_page_shows_the_other_peers(
    peer: Peer, page: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = {**peer.operations.report(), "peers": [H2, STRANGER], "gossip": COUNTED}
    assert "<h2>Peers</h2>" not in (await text_of(page, "/"))[1]
    monkeypatch.setattr(peer.operations, "report", lambda: report)
    _, text = await text_of(page, "/")
    assert "<h2>Peers</h2>" in text
    assert "<td>h2</td><td>192.0.2.2</td><td>suspect</td>" in text
    assert "5 replayed" in text
    assert "packets from 192.0.2.9 are refused: plaintext" in text


def test_an_engine_that_is_away_shows_in_the_metrics(peer: Peer) -> None:
    peer.containers.engine_state = "not there"
    assert b"weavedns_engine_up 0.0\n" in metrics.render(peer.operations.report)


async def test_a_taken_port_is_told_with_who_holds_it(peer: Peer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError) as raised:
            async with status_page.serve(peer.operations, "127.0.0.1", port):
                pass
    told = f"the status page cannot be served on 127.0.0.1 port {port}: it is taken by "
    assert str(raised.value).startswith(told)
    assert str(raised.value).endswith("; choose another with --http, or none with --no-http")


async def test_an_address_that_is_not_ours_is_told(peer: Peer) -> None:
    with pytest.raises(ListenError, match=r"cannot be served on 192\.0\.2\.1 port 6782: .*--no-http"):
        async with status_page.serve(peer.operations, "192.0.2.1", 6782):
            pass
