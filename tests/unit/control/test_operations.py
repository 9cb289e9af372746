"""What commands come to: records, names, status, and the earlier name API."""

from dataclasses import replace
from pathlib import Path

import dns.zone
import pytest

from tests.unit.control.peer import REDIS_ID, Peer
from weavedns.errors import ConfigError, RecordError, UnknownContainerError, UnknownRecordError
from weavedns.records.log import Snapshot
from weavedns.records.record import Origin, Record
from weavedns.zones import ZoneStatus
from weavenet.errors import NotAttachedError


async def test_a_record_that_is_added_is_looked_up_listed_and_exported(peer: Peer) -> None:
    await peer.operations.add_records("db", ["192.0.2.10", "2001:db8::10"], rtype="", ttl_s=30)
    assert peer.operations.lookup("db", "A") == ["192.0.2.10"]
    assert peer.operations.lookup("DB.weave.local.", "aaaa") == ["2001:db8::10"]
    (first, second) = peer.rows("db")
    assert first == {
        **first,
        "name": "db.weave.local",
        "type": "A",
        "data": "192.0.2.10",
        "ttl": 30,
        "origin": "added",
        "holder": "added",
        "peer": "h1",
    }
    assert second["type"] == "AAAA"
    zone = dns.zone.from_text(peer.operations.export())
    assert ("db", "192.0.2.10") in {(str(name), data.to_text()) for name, _, data in zone.iterate_rdatas()}


async def test_what_another_host_calls_its_store_cannot_drive_a_terminal(peer: Peer) -> None:
    replica = peer.catalog.staged(Snapshot("h2", 1, 1, ()))
    replica.put(Record("h2", "zone:\x1b[2J\n", b"\2db" + peer.settings.domain, 1, bytes(4), 1, Origin.ZONE))
    assert peer.catalog.adopt(replica) is not None
    assert [row["holder"] for row in peer.rows("db")] == ["?[2J?"]


async def test_records_are_listed_by_name_with_each_names_own_below_it(peer: Peer) -> None:
    for name in ("b", "a.b", "c", "a"):
        await peer.operations.add_records(f"{name}.weave.local", ["192.0.2.1"], rtype="", ttl_s=None)
    listed = [row["name"].removesuffix(".weave.local") for row in peer.operations.records()]
    assert listed == ["a", "b", "a.b", "c", "redis"]


@pytest.mark.parametrize(
    ("name", "rtype", "found"),
    [
        ("redis", "A", ["10.2.0.1"]),
        ("redis.weave.local", "a", ["10.2.0.1"]),
        ("redis", "AAAA", []),
        ("nobody", "A", []),
        ("redis.example.com", "A", []),
        ("10.2.0.1", "A", ["redis.weave.local."]),
        ("10.2.0.1", "PTR", ["redis.weave.local."]),
        ("1.0.2.10.in-addr.arpa", "PTR", ["redis.weave.local."]),
        ("192.0.2.1", "A", []),
        ("2001:db8::1", "A", []),
        ("weave.local", "NS", ["weavedns.weave.local."]),
    ],
)
def test_a_lookup_tells_what_this_peer_answers(peer: Peer, name: str, rtype: str, found: list[str]) -> None:
    assert peer.operations.lookup(name, rtype) == found


@pytest.mark.parametrize(("name", "rtype"), [("", "A"), ("a..b", "A"), ("redis", ""), ("redis", "BLAH")])
def test_a_malformed_lookup_is_refused(peer: Peer, name: str, rtype: str) -> None:
    with pytest.raises(RecordError):
        peer.operations.lookup(name, rtype)


async def test_a_containers_row_has_every_name_that_is_answered_for_it(peer: Peer) -> None:
    await peer.operations.add_container_name("cache", "redis")
    assert await peer.operations.containers() == [
        {
            "container": REDIS_ID[:12],
            "name": "redis",
            "addresses": ["10.2.0.1/16"],
            "mac": "02:00:00:00:00:01",
            "names": ["redis.weave.local", "cache.weave.local"],
        }
    ]
    assert peer.operations.lookup("cache", "A") == ["10.2.0.1"]
    assert await peer.operations.remove_records("cache", []) == 1
    assert peer.operations.lookup("cache", "A") == []


async def test_a_name_cannot_be_given_to_a_container_without_an_address(peer: Peer) -> None:
    with pytest.raises(NotAttachedError):
        await peer.operations.add_container_name("cache", "stopped")
    with pytest.raises(UnknownContainerError):
        await peer.operations.add_container_name("cache", "nobody")
    assert peer.registry.names_of(REDIS_ID) == ()


async def test_empty_names_and_containers_are_refused_before_anything_is_asked(peer: Peer) -> None:
    operations = peer.operations
    for refused, told in (
        (operations.attach("", []), "no ContainerID is given"),
        (operations.detach("", []), "no ContainerID is given"),
        (operations.add_records("", ["192.0.2.1"], rtype="", ttl_s=None), "no name is given"),
        (operations.remove_records("", []), "no name is given"),
        (operations.add_container_name("", "redis"), "no name is given"),
        (operations.put_name("redis", "10.2.0.1", ""), "no fqdn is given"),
    ):
        with pytest.raises(RecordError, match=told):
            await refused
    assert peer.containers.asked == []


async def test_the_earlier_name_api_names_containers_and_addresses(peer: Peer) -> None:
    operations = peer.operations
    await operations.put_name("redis", "10.2.0.1", "kv.weave.local.")
    await operations.put_name("weave:extern", "192.0.2.40", "old.weave.local")
    await operations.put_name("weave:extern", "192.0.2.41", "old.weave.local")
    assert operations.addresses_of("kv.weave.local") == ["10.2.0.1"]
    assert sorted(operations.addresses_of("old.weave.local")) == ["192.0.2.40", "192.0.2.41"]
    await operations.delete_name("weave:extern", "192.0.2.40", None)
    assert operations.addresses_of("old.weave.local") == ["192.0.2.41"]
    await operations.delete_name("redis", "10.2.0.1", "other.weave.local")
    assert operations.addresses_of("kv.weave.local") == ["10.2.0.1"]
    await operations.delete_name("redis", None, None)
    assert operations.addresses_of("kv.weave.local") == []
    assert operations.addresses_of("redis.weave.local") == ["10.2.0.1"]
    await operations.delete_name("weave:extern", None, None)
    assert operations.addresses_of("old.weave.local") == []


async def test_the_earlier_name_api_refuses_what_is_not_so(peer: Peer) -> None:
    operations = peer.operations
    for refused, kind in (
        (operations.put_name("redis", "10.2.0.9", "kv.weave.local"), RecordError),
        (operations.put_name("redis", "nonsense", "kv.weave.local"), RecordError),
        (operations.put_name("nobody", "10.2.0.1", "kv.weave.local"), UnknownContainerError),
        (operations.put_name("redis", "10.2.0.1", "kv.example.com"), RecordError),
        (operations.delete_name("redis", "10.2.0.9", None), UnknownRecordError),
        (operations.delete_name("nobody", None, None), UnknownContainerError),
    ):
        with pytest.raises(kind):
            await refused
    assert [row["name"] for row in operations.records()] == ["redis.weave.local"]


async def test_the_names_of_a_stopped_container_can_be_taken_back(peer: Peer) -> None:
    await peer.registry.add_container_name("extra", await peer.containers.identify("stopped"))
    await peer.operations.delete_name("stopped", None, None)
    assert peer.registry.names_of(await peer.containers.identify("stopped")) == ()


def test_status_tells_everything_or_one_section(peer: Peer) -> None:
    peer.zones = [
        ZoneStatus(Path("/z/good.zone"), 3, None, 1.0),
        ZoneStatus(Path("/z/bad.zone"), 2, "/z/bad.zone:7: it is wrong", 1.0),
    ]
    whole = peer.operations.status()
    for line in (
        "peer h1, up 0 s",
        "Docker engine: connected",
        "domain: weave.local",
        "DNS address: 10.2.254.1",
        "records: 1 (version 1)",
        "queries: none yet",
        "upstream: 192.0.2.53 port 53",
        "containers: 1 attached",
        "zone files: /z/good.zone: 3 records; /z/bad.zone: /z/bad.zone:7: it is wrong",
    ):
        assert line in whole
    assert peer.operations.status("containers") == "    containers: 1 attached\n"
    with pytest.raises(ConfigError, match="there is no section 'weather'; choose one of dns, upstream, containers"):
        peer.operations.status("weather")


def test_a_peer_is_ready_when_it_has_looked_at_its_containers(peer: Peer) -> None:
    assert peer.operations.not_ready() == ""
    peer.containers.settled.clear()
    assert peer.operations.not_ready() == "looking at the containers"


def test_a_peer_without_an_address_yet_says_that_it_has_not_asked_the_engine(bare_peer: Peer) -> None:
    operations = bare_peer.operations
    operations.go_on_with(replace(operations._parts, waits_for=lambda: "waiting for h1"))
    assert "Docker engine: not asked yet" in operations.status()


async def test_without_the_network_part_records_work_and_containers_are_refused(bare_peer: Peer) -> None:
    operations = bare_peer.operations
    await operations.add_records("db", ["192.0.2.10"], rtype="", ttl_s=None)
    assert operations.lookup("db", "A") == ["192.0.2.10"]
    assert operations.not_ready() == ""
    assert "not used (--no-network)" in operations.status()
    assert "DNS address: none" in operations.status()
    for refused in (
        operations.attach("redis", []),
        operations.detach("redis", []),
        operations.containers(),
        operations.add_container_name("x", "redis"),
        operations.put_name("redis", "10.2.0.1", "x"),
        operations.delete_name("redis", None, None),
    ):
        with pytest.raises(ConfigError, match="--no-network"):
            await refused


async def test_stop_is_passed_on_with_how(peer: Peer) -> None:
    await peer.operations.stop(clean=True)
    await peer.operations.stop(clean=False)
    assert peer.stops == [True, False]
