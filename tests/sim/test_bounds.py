"""The bounds of docs/protocol.md, each at its edge, on whole nodes."""

from __future__ import annotations

from random import Random

import pytest

from tests.sim.test_spreading import cluster
from tests.sim.world import PORT, WALL_MS, Host, World, agree, record
from weavedns.errors import PeerWireError
from weavedns.gossip import codec
from weavedns.gossip.core import Config
from weavedns.gossip.events import OwnerOverLimit
from weavedns.gossip.inbound import MAX_COMPLAINTS
from weavedns.gossip.links import MAX_DIALS, MAX_SYNCS, UNAUTHENTICATED_S, Close
from weavedns.gossip.lobby import MAX_WAITING, MAX_WAITING_A_SOURCE
from weavedns.gossip.message import (
    MAX_DATAGRAM_BYTES,
    MAX_FIRST_FRAME_BYTES,
    MAX_FRAME_BYTES,
    MAX_OWNERS,
    Alive,
    Changes,
    Open,
    Purpose,
    PutRecord,
    Reason,
    Refuse,
    Row,
    Suspect,
    Vector,
)
from weavedns.gossip.node import Node
from weavedns.gossip.seal import TAG_BYTES, Header, Key, Keyring, Sealer, terms_digest
from weavedns.gossip.session import BURST_PACKETS, PACKETS_PER_S
from weavedns.gossip.stream import LENGTH_BYTES, Stream
from weavedns.records.catalog import MAX_RECORDS, Catalog
from weavedns.records.log import Snapshot

STRANGER = ("10.9.9.9", PORT)
SEALED = Keyring((Key.from_master(b"1" * 32),))


def node(keyring: Keyring | None = None) -> Node:
    config = Config("victim", "10.0.0.1", PORT, keyring=keyring or Keyring())
    fresh = Node(config, Catalog("victim"), Random(1), wall_ms=WALL_MS)
    fresh.start(0.0)
    return fresh


def alive(number: int) -> Alive:
    return Alive(f"peer{number}", "10.1.0.1", 1 + number, WALL_MS, number, 0)


def dialled(victim: Node, number: int, keyring: Keyring | None = None) -> tuple[int, Stream]:
    """A stream to it of a peer of its own, with the handshake and Open said."""
    link = victim.stream_accepted(("10.1.0.1", 1 + number), 0.0)
    assert link is not None
    header = Header(f"peer{number}", WALL_MS, number, 0)
    stream = Stream(keyring or Keyring(), header, Random(number).randbytes, initiator=True)
    stream.send(codec.encode(Open(Purpose.SYNC, "weave", alive(number), "10.0.0.1", {})))
    for _ in range(2):
        victim.stream_received(link, stream.take(), 0.0)
        stream.receive(victim.stream_data(link, 0.0))
    return link, stream


@pytest.mark.parametrize("keyring", [Keyring(), SEALED], ids=["plain", "sealed"])
def test_no_datagram_is_larger_than_fourteen_hundred_bytes_and_none_that_is_larger_is_read(keyring: Keyring) -> None:
    world = World(1, keyring=keyring)
    sizes: list[int] = []
    world.on_datagram = lambda _host, data, _addr: sizes.append(len(data))
    hosts = cluster(world, 3)
    world.run_until(lambda: agree(hosts), 10.0, 0.05)
    for size in range(1, 400, 7):
        world.put(hosts[0], *(record("h0", f"r{size}-{number}", number) for number in range(size // 10 + 1)))
        world.run(0.003)
    world.run_until(lambda: agree(hosts), 10.0, 0.05)
    assert MAX_DATAGRAM_BYTES - 100 < max(sizes) <= MAX_DATAGRAM_BYTES == 1400
    victim = node(keyring)
    data = Sealer(keyring, "evil", 1, 1).seal(b"x" * Sealer(keyring, "evil", 1, 1).room_bytes)
    victim.receive(data + b"x", STRANGER, 0.0)
    victim.receive(data, STRANGER, 0.0)
    assert victim.stats.rejected == {"malformed": 1, "challenged": 1}


def test_a_frame_of_a_mebibyte_is_read_and_one_that_announces_more_ends_the_stream() -> None:
    victim = node()
    link, _ = dialled(victim, 1)
    assert MAX_FRAME_BYTES == 2**20
    largest = MAX_FRAME_BYTES.to_bytes(LENGTH_BYTES, "big")
    victim.stream_actions()
    victim.stream_received(link, largest + bytes(MAX_FRAME_BYTES - 1), 0.0)
    assert Close(link) not in victim.stream_actions()
    other, _ = dialled(victim, 2)
    victim.stream_received(other, (MAX_FRAME_BYTES + 1).to_bytes(LENGTH_BYTES, "big"), 0.0)
    assert Close(other) in victim.stream_actions()
    assert victim.stats.malformed == 1


@pytest.mark.parametrize(("size", "good"), [(255, True), (256, False)])
def test_a_records_name_has_at_most_255_bytes(size: int, good: bool) -> None:
    name = b"".join(b"\x3f" + b"a" * 63 for _ in range(3)) + bytes((size - 194,)) + b"a" * (size - 194) + b"\0"
    assert len(name) == size
    body = codec.join([codec.encode(Changes("p0", 1, 0, [PutRecord("c", name, 1, b"1234", 1, 0)]))])
    if good:
        codec.decode_datagram(body)
    else:
        with pytest.raises(PeerWireError):
            codec.decode_datagram(body)


def test_twenty_thousand_records_of_an_owner_are_kept_and_more_are_told_of() -> None:
    world = World(2)
    one, two = cluster(world, 2)
    world.run_until(lambda: agree([one, two]), 10.0, 0.05)
    fresh = [record("h0", f"r{number}", number) for number in range(20_000)]
    world.put(one, *fresh)
    world.run_until(lambda: len(two.catalog) == MAX_RECORDS == 20_000, 10.0, 0.05)
    assert not two.happened(OwnerOverLimit)
    world.put(one, record("h0", "one-more"))
    world.run(5.0)
    assert len(two.catalog) == 20_000
    assert len(two.happened(OwnerOverLimit)) == 1


def test_two_thousand_and_forty_eight_owners_are_known_and_no_more_whoever_speaks_of_them() -> None:
    victim = node()
    for number in range(MAX_OWNERS + 50):
        victim._standing.on_statement(alive(number), 0.0)
        replica = victim._core.catalog.staged(Snapshot(f"peer{number}", WALL_MS, 1, ()))
        victim._spread.adopt(replica, 0.0)
    assert MAX_OWNERS == 2048
    assert len(victim.peers()) + 1 == len(victim._core.catalog.owners()) == MAX_OWNERS
    # What it says of all of them is still one frame that others take.
    link, stream = dialled(victim, 0)
    frames: list[bytes] = []
    while data := victim.stream_data(link, 0.0):
        frames += stream.receive(data)
    vectors = [said for said in map(codec.decode_stream, frames) if isinstance(said, Vector)]
    assert all(len(vector.rows) == MAX_OWNERS for vector in vectors)


def test_a_vector_of_more_owners_is_refused() -> None:
    rows = [Row(alive(number), 0, 0, 0) for number in range(MAX_OWNERS + 1)]  # type: ignore[arg-type]
    codec.decode_stream(codec.encode(Vector(rows[:-1])))
    with pytest.raises(PeerWireError):
        codec.decode_stream(codec.encode(Vector(rows)))


def test_eight_exchanges_are_under_way_and_the_ninth_is_told_to_come_again() -> None:
    victim = node()
    talks = [dialled(victim, number) for number in range(MAX_SYNCS)]
    assert victim._links.syncs == MAX_SYNCS == 8
    link, stream = dialled(victim, MAX_SYNCS)
    assert victim.stats.syncs_refused == 1
    assert victim._links.syncs == MAX_SYNCS
    # Whoever is done makes room.
    victim.stream_closed(talks[0][0], 0.0)
    dialled(victim, MAX_SYNCS + 1)
    assert victim._links.syncs == MAX_SYNCS
    del link, stream


def test_the_one_that_is_told_to_come_again_hears_why() -> None:
    victim = node()
    for number in range(MAX_SYNCS):
        dialled(victim, number)
    link = victim.stream_accepted(STRANGER, 0.0)
    assert link is not None
    stream = Stream(Keyring(), Header("peer99", WALL_MS, 99, 0), Random(9).randbytes, initiator=True)
    stream.send(codec.encode(Open(Purpose.SYNC, "weave", alive(99), "10.0.0.1", {})))
    frames: list[bytes] = []
    for _ in range(3):
        victim.stream_received(link, stream.take(), 0.0)
        frames += stream.receive(victim.stream_data(link, 0.0))
    refusal = codec.decode_stream(frames[0])
    assert isinstance(refusal, Refuse)
    assert refusal.reason is Reason.BUSY


def test_a_flood_of_one_source_is_dropped_before_it_is_decrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    victim = node(SEALED)
    opened = 0
    open_ = victim._core.sealer.open

    def counting(data: bytes) -> object:
        nonlocal opened
        opened += 1
        return open_(data)

    monkeypatch.setattr(victim._core.sealer, "open", counting)
    data = b"WD\x01" + bytes((SEALED.keys[0].number, 4)) + terms_digest("weave", {}) + b"evil" + bytes(60)
    for _ in range(10_000):
        victim.receive(data, STRANGER, 0.0)
    assert opened == BURST_PACKETS == 4_000
    assert victim.stats.rejected == {"forged": 4_000, "too_many": 6_000}
    victim.receive(data, ("10.9.9.8", PORT), 0.0)
    assert opened == 4_001
    for _ in range(10_000):
        victim.receive(data, STRANGER, 1.0)
    assert opened == 4_001 + PACKETS_PER_S == 6_001


@pytest.mark.parametrize("keyring", [Keyring(), SEALED], ids=["plain", "sealed"])
def test_who_has_not_shown_in_five_seconds_that_it_belongs_here_is_closed(keyring: Keyring) -> None:
    victim = node(keyring)
    link = victim.stream_accepted(STRANGER, 0.0)
    assert link is not None
    hello = Stream(keyring, Header("evil", 1, 1, 0), Random(1).randbytes, initiator=True).take()
    now = 0.0
    # However it goes on talking.
    for piece in hello[:-1]:
        now += 0.1
        victim.stream_received(link, bytes((piece,)), min(now, UNAUTHENTICATED_S - 0.01))
    while (due := victim.get_timer()) is not None and due < UNAUTHENTICATED_S:
        victim.handle_timer(due)
        assert Close(link) not in victim.stream_actions()
    victim.handle_timer(UNAUTHENTICATED_S)
    assert UNAUTHENTICATED_S == 5.0
    assert Close(link) in victim.stream_actions()


def test_who_knows_no_password_is_closed_in_five_seconds_even_after_a_whole_hello() -> None:
    victim = node(SEALED)
    link = victim.stream_accepted(STRANGER, 0.0)
    assert link is not None
    hello = Stream(SEALED, Header("evil", 1, 1, 0), Random(1).randbytes, initiator=True).take()
    victim.stream_received(link, hello, 4.9)
    assert victim.stream_data(link, 4.9)
    victim.handle_timer(5.0)
    assert Close(link) in victim.stream_actions()


def test_connections_are_bounded() -> None:
    victim = node()
    sources = [(f"10.9.{number}.1", PORT) for number in range(MAX_WAITING)]
    assert all(victim.stream_accepted(source, 0.0) is not None for source in sources)
    assert victim.stream_accepted(STRANGER, 0.0) is None
    dials = [victim._links.dial(Purpose.PROBE, STRANGER, 0.0) for _ in range(MAX_DIALS)]
    assert None not in dials
    assert victim._links.dial(Purpose.PROBE, STRANGER, 0.0) is None
    assert (MAX_WAITING, MAX_WAITING_A_SOURCE, MAX_DIALS) == (64, 8, 256)


@pytest.mark.parametrize("keyring", [Keyring(), SEALED], ids=["plain", "sealed"])
def test_the_first_frame_of_anybody_is_short(keyring: Keyring) -> None:
    victim = node(keyring)
    for size, good in ((MAX_FIRST_FRAME_BYTES, True), (MAX_FIRST_FRAME_BYTES + 1, False)):
        link = victim.stream_accepted(STRANGER, 0.0)
        assert link is not None
        hello = Stream(keyring, Header("evil", 1, 1, 0), Random(1).randbytes, initiator=True).take()
        victim.stream_received(link, hello + size.to_bytes(LENGTH_BYTES, "big"), 0.0)
        assert (Close(link) not in victim.stream_actions()) is good
    assert MAX_FIRST_FRAME_BYTES == 8192


def test_all_that_a_cluster_can_have_set_fits_the_first_frame() -> None:
    largest = {f"--{'x' * number}": "d" * 255 for number in range(6)}
    said = Open(Purpose.JOIN, "\U0001f40b" * 255, alive(1), "10.0.0.1", largest)
    assert len(codec.encode(said)) + TAG_BYTES <= MAX_FIRST_FRAME_BYTES


def test_complaints_about_strangers_are_bounded_and_made_once_a_minute() -> None:
    victim = node(SEALED)
    data = Sealer(Keyring(), "evil", 1, 1).seal(b"\x90")
    for number in range(3 * MAX_COMPLAINTS):
        victim.receive(data, (f"10.3.{number >> 8}.{number & 255}", PORT), 0.0)
    assert len(victim._inbound._complaints) <= MAX_COMPLAINTS
    host: Host = World(1, keyring=SEALED).add("h0")
    for at in (0.0, 1.0, 59.0, 60.0):
        host.node.receive(data, STRANGER, at)
    told = 0
    while host.node.next_event() is not None:
        told += 1
    assert told == 2


# What is counted up from what others say.


def test_nobody_can_make_a_peer_count_beyond_what_others_take() -> None:
    world = World(3)
    one, two = cluster(world, 2)
    world.run_until(lambda: agree([one, two]), 10.0, 0.05)
    for said in (
        Suspect("h0", one.node.incarnation, 2**32 - 1, "h1"),
        Suspect("h0", 2**62, 0, "h1"),
        Alive("h0", *one.addr, 2**62, 7, 0),
    ):
        one.node._standing.on_statement(said, world.now)
        world.pump(one)
        world.run(1.0)
    world.put(one, record("h0", "redis"))
    world.run_until(lambda: agree([one, two]), 10.0, 0.05)
    assert two.node.stats.malformed == 0


def test_changes_that_count_beyond_the_largest_version_are_malformed() -> None:
    item = PutRecord("c", record("", "a").name, 1, b"1234", 1, 0)
    codec.delta(Changes("h0", 1, 2**62 - 1, [item]))
    with pytest.raises(PeerWireError):
        codec.delta(Changes("h0", 1, 2**62, [item]))
