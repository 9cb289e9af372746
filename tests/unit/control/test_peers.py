from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import replace

from weavedns.cluster.cluster import Cluster
from weavedns.control import peers
from weavedns.errors import PeerError, RecordError, StoreError, UnknownRecordError
from weavedns.gossip.message import MAX_REQUEST_BYTES
from weavedns.records import rdata
from weavedns.records.catalog import Catalog
from weavedns.records.log import Snapshot
from weavedns.records.record import Origin, Record
from weavedns.registry import Registry

DB = b"\2db\5weave\5local\0"
DOMAIN = b"\5weave\5local\0"
NOBODY_HERE = cast("Registry", SimpleNamespace(has=lambda *_: False, check=lambda *_: None))


def added(owner: str, number: int, origin: Origin = Origin.ADDED) -> Record:
    return Record(owner, "added", DB, 1, bytes((192, 0, 2, number)), 1, origin)


def catalog(*records: Record) -> Catalog:
    """What h1 knows when these are the records."""
    made = Catalog("h1")
    for owner in sorted({record.owner for record in records} - {"h1"}):
        replica = made.staged(Snapshot(owner, 1, 1, ()))
        for record in records:
            if record.owner == owner:
                replica.put(record)
        assert made.adopt(replica) is not None
    for record in records:
        if record.owner == "h1":
            made.add(record)
    return made


def test_who_added_a_name_is_found_by_the_data_asked_for() -> None:
    known = catalog(added("h1", 1), added("h2", 2), added("h3", 3), added("h3", 4))
    assert peers.owners_of(known, DB, [], DOMAIN) == {"h2": {}, "h3": {}}
    assert peers.owners_of(known, DB, ["192.0.2.4"], DOMAIN) == {"h3": {"192.0.2.4": "192.0.2.4"}}
    assert peers.owners_of(known, DB, ["192.0.2.1"], DOMAIN) == {}


def test_what_others_did_not_add_by_hand_is_not_theirs_to_remove() -> None:
    known = catalog(added("h2", 2, Origin.ZONE), added("h3", 3, Origin.CONTAINER))
    assert peers.owners_of(known, DB, [], DOMAIN) == {}


def test_a_name_given_to_a_container_elsewhere_is_found_as_a_whole_and_not_by_its_address() -> None:
    given = Record("h2", "4f" * 32, DB, 1, bytes((10, 2, 0, 1)), 1, Origin.ADDED)
    assert peers.owners_of(catalog(given), DB, [], DOMAIN) == {"h2": {}}
    assert peers.owners_of(catalog(given), DB, ["10.2.0.1"], DOMAIN) == {}


def test_an_owner_that_is_gone_is_still_named() -> None:
    known = catalog(added("h2", 2))
    list(known.hide("h2"))
    assert peers.owners_of(known, DB, [], DOMAIN) == {"h2": {}}


def test_the_status_names_peers_and_refusals() -> None:
    h2 = {"peer": "h2", "address": "192.0.2.2", "port": 6783, "state": "suspect", "dns": "10.2.254.2", "records": 3}
    rows: list[dict[str, object]] = [
        {**h2, "over_limit": False},
        {"peer": None, "address": "192.0.2.9", "port": 1, "state": "refused", "why": "the peer at 192.0.2.9 says no"},
    ]
    first, second = peers.text(rows).splitlines()
    assert first.strip() == "peers: h2 at 192.0.2.2: suspect, DNS address 10.2.254.2, 3 records"
    assert second.strip() == "the peer at 192.0.2.9 says no"
    assert peers.text([]).strip() == "peers: none"
    assert "3 records, MORE ARE LEFT OUT (--max-peer-records)" in peers.text([{**h2, "over_limit": True}])


COUNTED: dict[str, Any] = {
    **dict.fromkeys(("datagrams_in", "datagrams_out", "bytes_in", "bytes_out", "malformed", "syncs", "pulls"), 7),
    **dict.fromkeys(("stream_bytes_in", "stream_bytes_out", "syncs_refused", "suspicions", "deaths", "returns"), 1),
    "datagrams_dropped": 0,
    "suspicions_cleared": 2,
    "refused": {"replayed": 5, "forged": 0, "unknown_key": 3},
    "health": 0,
    "keys": [17, 4],
}


def test_the_status_tells_what_gossip_counted_and_refused() -> None:
    told = dict(line.strip().split(": ", 1) for line in peers.gossip_text(COUNTED).splitlines())
    assert told["password"] == "sealed with key 17, key 4 is valid too"
    assert told["gossip in"] == "7 packets, 8 bytes"
    assert told["refused"] == "5 replayed, 3 unknown key, 7 malformed messages"
    assert told["suspicions"].startswith("1 raised here, 2 proved false; 1 peers believed gone")


def test_the_status_of_a_quiet_cluster_without_a_password_says_so() -> None:
    quiet = {**COUNTED, "keys": [], "refused": {"replayed": 0}, "malformed": 0, "datagrams_dropped": 3}
    told = dict(line.strip().split(": ", 1) for line in peers.gossip_text(quiet).splitlines())
    assert told["password"] == "no password: nothing is encrypted"
    assert told["refused"] == "nothing"
    assert told["gossip out"] == "7 packets, 8 bytes, 3 dropped unsent"


def test_the_status_of_addresses_says_who_is_waited_for_and_what_is_wrong() -> None:
    shares = [
        {"peer": "h1", "addresses": 7, "connected": True, "here": True, "lost": False},
        {"peer": "h1", "addresses": 5, "connected": True, "here": True, "lost": True},
        {"peer": "h2", "addresses": 9, "connected": False, "here": False, "lost": False},
    ]
    report = {
        "shares": shares,
        "unowned": 6,
        "waits_for": [],
        "wants": "no free address is left",
        "troubles": ["10.2.0.1 is in use"],
    }
    text = peers.ipam_text(report)
    assert "h1 owns 7 (this host)\n" in text
    assert "h1 owned 5 before it lost its state directory: 'weavenet ipam takeover h1' inherits them" in text
    assert "nobody owns 6: the range was smaller" in text
    assert "h2 owns 9 (not connected)" in text
    assert "no free address is left\n" in text
    assert "TROUBLE: 10.2.0.1 is in use" in text
    waiting = peers.ipam_text({"shares": [], "unowned": 0, "waits_for": ["h3:6783"], "wants": "", "troubles": []})
    assert "waiting for h3:6783; 'weavenet ipam seed' does without" in waiting


@pytest.mark.parametrize("reply", [b"", b"-1", b"none", b"1_0", b"9" * 5000, "\u0663".encode()])
async def test_a_peer_that_removes_no_number_of_records_is_named(reply: bytes) -> None:
    async def ask(_peer: str, _kind: str, _body: bytes) -> bytes:
        return reply

    cluster = cast("Cluster", SimpleNamespace(is_live=lambda _: True, ask=ask))
    known = catalog(added("h2", 2))
    with pytest.raises(PeerError, match="peer h2 answered"):
        await peers.remove(cluster, known, NOBODY_HERE, DOMAIN, ("db.weave.local", ["192.0.2.2"]))


async def test_data_that_several_hosts_added_are_removed_from_each_however_they_are_spelled() -> None:
    asked: list[tuple[str, object]] = []
    removed: list[Sequence[str]] = []

    async def ask(peer: str, _kind: str, body: bytes) -> bytes:
        asked.append((peer, msgspec.msgpack.decode(body)))
        return b"1"

    async def remove(_name: str, data: Sequence[str]) -> int:
        removed.append(data)
        return len(data)

    target = replace(added("h2", 1), rtype=5, rdata=b"\3web" + DOMAIN)
    v6 = replace(added("h3", 1), rtype=28, rdata=bytes.fromhex("20010db8") + bytes(11) + b"\1")
    known = catalog(added("h1", 2), added("h2", 2), target, v6)
    cluster = cast("Cluster", SimpleNamespace(is_live=lambda _: True, ask=ask))
    here = cast(
        "Registry", SimpleNamespace(has=lambda _, text: text == "192.0.2.2", remove=remove, check=lambda *_: None)
    )
    given = ["192.0.2.2", "web", "2001:DB8:0::1"]
    assert await peers.remove(cluster, known, here, DOMAIN, ("db", given)) == 3
    assert removed == [["192.0.2.2"]]
    assert asked == [("h2", ["db", ["192.0.2.2", "web.weave.local."]]), ("h3", ["db", ["2001:db8::1"]])]


class Owners:
    """Other peers that remove what they are asked to, until `fails`; `removed` also has what went here, as h1."""

    def __init__(self, *here: str) -> None:
        self.here = list(here)
        self.fails: dict[str, int] = {}
        self.disk_full = False
        self.removed: list[tuple[str, list[str]]] = []
        self.longest = 0
        self.cluster = cast("Cluster", SimpleNamespace(is_live=lambda _: True, ask=self._ask))
        self.registry = cast("Registry", SimpleNamespace(has=self._has, check=self._check, remove=self._remove))

    async def _ask(self, peer: str, kind: str, body: bytes) -> bytes:
        assert kind == "remove"
        self.longest = max(self.longest, len(body))
        if len(body) > MAX_REQUEST_BYTES:
            raise PeerError(f"a request of {len(body)} bytes is too long")
        if peer in self.fails and not self.fails[peer]:
            raise PeerError(f"peer {peer} did not answer in time")
        if peer in self.fails:
            self.fails[peer] -= 1
        _, data = msgspec.msgpack.decode(body)
        self.removed.append((peer, data))
        return str(len(data) or 7).encode()

    def _has(self, _wire: bytes, text: str) -> bool:
        return text in self.here

    def _check(self, name: str, data: Sequence[str]) -> None:
        for text in data:
            raise UnknownRecordError(f"{name} has no added record with {text!r}")

    async def _remove(self, _name: str, data: Sequence[str]) -> int:
        if self.disk_full:
            raise StoreError("the disk is full")
        self.removed.append(("h1", list(data)))
        return len(data)


def texts(owner: str, length: int, count: int) -> list[Record]:
    """TXT records of one string each, so many characters long."""
    made = []
    for number in range(count):
        raw = str(number).encode() + b"t" * (length - 1)
        strings = [raw[at : at + 255] for at in range(0, length, 255)]
        made.append(replace(added(owner, 1), rtype=16, rdata=b"".join(bytes((len(s),)) + s for s in strings)))
    return made


async def remove(owners: Owners, known: Catalog, data: Sequence[str], name: str = "db") -> int:
    return await peers.remove(owners.cluster, known, owners.registry, DOMAIN, (name, list(data)))


def spelled(records: Sequence[Record]) -> list[str]:
    return [rdata.render(record.rtype, record.rdata) for record in records]


async def test_long_data_are_asked_for_in_several_requests_that_each_fit() -> None:
    long = texts("h2", 250, 8)
    owners = Owners()
    assert await remove(owners, catalog(*long), spelled(long)) == 8
    assert len(owners.removed) > 1
    assert sorted(text for _, part in owners.removed for text in part) == sorted(spelled(long))
    assert owners.longest <= MAX_REQUEST_BYTES


async def test_one_value_is_removed_up_to_what_a_request_takes_and_no_longer() -> None:
    def body(length: int) -> int:
        return len(msgspec.msgpack.encode(("db", spelled(texts("h2", length, 1)))))

    fits = max(length for length in range(900, 1000) if body(length) <= MAX_REQUEST_BYTES)
    owners = Owners()
    longest = texts("h2", fits, 1)
    assert await remove(owners, catalog(*longest), spelled(longest)) == 1
    assert owners.longest == body(fits) > MAX_REQUEST_BYTES - 4
    longer = texts("h3", fits + 4, 1)
    known = catalog(added("h1", 1), added("h2", 2), *longer)
    owners = Owners("192.0.2.1")
    with pytest.raises(RecordError, match=r"too long to be asked of h3: remove it there, .*'weavedns remove db'"):
        await remove(owners, known, ["192.0.2.1", "192.0.2.2", *spelled(longer)])
    assert owners.removed == []
    # As a whole it goes from here, too.
    assert await remove(owners, known, []) == 14
    assert [owner for owner, _ in owners.removed] == ["h2", "h3", "h1"]


async def test_what_is_here_goes_last_and_stays_when_another_host_fails() -> None:
    known = catalog(added("h1", 1), added("h2", 2), added("h3", 3))
    data = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    owners = Owners("192.0.2.1")
    owners.fails = {"h3": 0}
    with pytest.raises(PeerError) as told:
        await remove(owners, known, data)
    assert str(told.value) == "peer h3 did not answer in time; removed already: 1 on h2 (192.0.2.2)"
    assert owners.removed == [("h2", ["192.0.2.2"])]
    owners = Owners("192.0.2.1")
    owners.fails = {"h2": 0}
    with pytest.raises(PeerError, match=r"^peer h2 did not answer in time$"):
        await remove(owners, known, data)
    assert owners.removed == []
    owners = Owners("192.0.2.1")
    owners.disk_full = True
    with pytest.raises(StoreError, match=r"^the disk is full; removed already: 7 on h2, 7 on h3$"):
        await remove(owners, known, [])


async def test_what_one_host_removed_before_it_failed_is_told_in_short() -> None:
    long = texts("h2", 240, 30)
    owners = Owners()
    owners.fails = {"h2": 4}
    with pytest.raises(PeerError) as told:
        await remove(owners, catalog(*long), spelled(long))
    assert "did not answer in time; removed already: 16 on h2 (" in str(told.value)
    assert ", 8 more)" in str(told.value)
    assert len(str(told.value)) < 600


async def test_nothing_is_removed_when_some_data_are_nobodys() -> None:
    owners = Owners("192.0.2.1")
    known = catalog(added("h1", 1), added("h2", 2))
    with pytest.raises(UnknownRecordError, match=r"no added record with '192\.0\.2\.9'"):
        await remove(owners, known, ["192.0.2.1", "192.0.2.2", "192.0.2.9"])
    assert owners.removed == []
