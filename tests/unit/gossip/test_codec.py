from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sim.world import record
from weavedns.errors import PeerWireError
from weavedns.gossip import codec
from weavedns.gossip.message import (
    MAX_ITEMS_A_PART,
    Ack,
    Alive,
    Changes,
    Dead,
    DropFact,
    DropRecord,
    Leave,
    Message,
    Ping,
    PutFact,
    PutRecord,
    Row,
    State,
    Suspect,
    Vector,
    Whole,
    WireItem,
)
from weavedns.records.log import Delta, Entry, Fact
from weavedns.records.record import Origin, Record

NAME = b"\x05redis\x05weave\x05local\x00"

names = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)
counters = st.integers(0, 2**62)
hashes = st.integers(0, 2**64 - 1)
alive = st.builds(
    Alive, names, st.just("10.0.0.1"), st.integers(1, 65535), counters, hashes, st.integers(0, 2**32 - 1)
)
items: st.SearchStrategy[WireItem] = st.one_of(
    st.builds(
        PutRecord,
        names,
        st.just(NAME),
        st.just(1),
        st.binary(min_size=4, max_size=4),
        st.integers(0, 9),
        st.integers(0, 3),
    ),
    st.builds(DropRecord, names, st.just(NAME), st.just(16), st.binary(max_size=30)),
    st.builds(PutFact, st.integers(0, 65535), st.binary(max_size=20), st.binary(max_size=50)),
    st.builds(DropFact, st.integers(0, 65535), st.binary(max_size=20)),
)
messages = st.one_of(
    st.builds(Ping, st.integers(0, 2**32 - 1), names, hashes),
    st.builds(Ack, st.integers(0, 2**32 - 1), hashes, names),
    alive,
    st.builds(Suspect, names, counters, st.integers(0, 2**32 - 1), names),
    st.builds(Dead, names, counters, st.integers(0, 2**32 - 1), names),
    st.builds(Leave, names, counters),
    st.builds(Changes, names, counters, counters, st.lists(items, max_size=5)),
    st.builds(Whole, names, counters, counters, st.lists(items, max_size=5)),
)


@given(st.lists(messages, max_size=20))
def test_a_datagram_says_what_was_put_into_it(said: list[Message]) -> None:
    assert codec.decode_datagram(codec.join([codec.encode(each) for each in said])) == said


@given(st.lists(st.builds(Row, alive, st.sampled_from(State), counters, counters), max_size=5))
def test_a_vector_says_what_was_put_into_it(rows: list[Row]) -> None:
    assert codec.decode_stream(codec.encode(Vector(rows))) == Vector(rows)


@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_malformed(body: bytes) -> None:
    for decode in (codec.decode_datagram, codec.decode_stream):
        try:
            decode(body)
        except PeerWireError:
            continue


@given(st.lists(messages, min_size=1, max_size=4), st.data())
def test_a_damaged_datagram_is_messages_or_malformed(said: list[Message], data: st.DataObject) -> None:
    body = bytearray(codec.join([codec.encode(each) for each in said]))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = codec.decode_datagram(bytes(body))
    except PeerWireError:
        return
    for each in decoded:
        if isinstance(each, Changes):
            try:
                codec.delta(each)
            except PeerWireError:
                continue


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x90\x00", id="more than a list"),
        pytest.param(codec.encode(Ping(1, "a", 1)), id="no list"),
        pytest.param(b"\x91\x94\x01\xff\xa1a\x00", id="negative number"),
        pytest.param(b"\x91\x94\x01\x01\xa0\x00", id="empty name"),
        pytest.param(b"\x91" + codec.encode(Leave("x" * 64, 1)), id="long name"),
        pytest.param(b"\x91" + codec.encode(Leave("a b", 1)), id="name with a blank"),
        pytest.param(b"\x91" + codec.encode(Leave("a\n", 1)), id="name with a line's end"),
        pytest.param(b"\x91" + codec.encode(Leave("a", 2**62 + 1)), id="number too large to be counted up"),
        pytest.param(b"\x91\x92\x63\x01", id="unknown message"),
        pytest.param(b"\x91" * 5000, id="nested"),
        pytest.param(codec.join([codec.encode(Leave("a", 1))] * 257), id="too many messages"),
        pytest.param(
            b"\x91" + codec.encode(Changes("a", 1, 1, [DropFact(1, b"")] * (MAX_ITEMS_A_PART + 1))),
            id="too many items",
        ),
        pytest.param(b"\x91" + codec.encode(Changes("a", 1, 1, [DropFact(1, b"x" * 256)])), id="long key"),
    ],
)
def test_what_is_out_of_bounds_is_malformed(body: bytes) -> None:
    with pytest.raises(PeerWireError):
        codec.decode_datagram(body)


@pytest.mark.parametrize(
    ("name", "rtype", "rdata"),
    [
        (b"\x05redis", 1, b"1234"),
        (b"\x05Redis\x00", 1, b"1234"),
        (b"\x40" + b"a" * 64 + b"\x00", 1, b"1234"),
        (b"\xc0\x0c", 1, b"1234"),
        (b"\x00\x00", 1, b"1234"),
        (NAME, 1, b"123"),
        (NAME, 28, b"1234"),
        (NAME, 5, b"\x03foo"),
        (NAME, 33, b"\x00\x00\x00"),
        (NAME, 15, b"\x00\x0a\x03foo"),
        (NAME, 16, b"\x05abc"),
        (NAME, 16, b""),
    ],
)
def test_a_record_with_a_bad_name_or_bad_data_is_refused(name: bytes, rtype: int, rdata: bytes) -> None:
    with pytest.raises(PeerWireError):
        codec.entry("h1", PutRecord("c", name, rtype, rdata, 1, 0))


def test_a_record_survives_the_journey_with_ttl_origin_and_health() -> None:
    sent = Record("h1", "c1", NAME, 1, b"1234", 60, Origin.ADDED, healthy=False)
    entry = codec.entry("h1", codec.wire_item(Entry(sent, added=True)))
    came = entry.item
    assert isinstance(came, Record)
    assert (came, came.ttl_s, came.origin, came.healthy, entry.added) == (sent, 60, Origin.ADDED, False, True)


@given(st.lists(st.integers(0, 400), max_size=60), st.integers(300, 1300))
def test_a_delta_is_cut_without_a_hole_into_messages_that_fit(sizes: list[int], room: int) -> None:
    entries = tuple(Entry(Fact("h1", 1, bytes((at,)), b"x" * size), added=True) for at, size in enumerate(sizes))
    whole = Delta("h1", 5, 10, entries)
    at = 10
    for part, message in codec.changes(whole, room):
        assert part.base == at
        at = part.last
        if message is None:
            assert len(part.entries) == 1
        else:
            assert len(message) <= room
            assert codec.delta(codec.decode_datagram(b"\x91" + message)[0]) == part  # type: ignore[arg-type]
    assert at == whole.last


@given(st.lists(st.integers(0, 500), max_size=80))
def test_packing_keeps_the_order_and_the_room(sizes: Sequence[int]) -> None:
    parts = [bytes((at % 256,)) * size for at, size in enumerate(sizes)]
    batches = list(codec.pack(parts, 600))
    assert [part for batch in batches for part in batch] == parts
    assert all(len(codec.join(batch)) <= 600 for batch in batches)


def test_the_parts_of_a_snapshot_fit_a_frame() -> None:
    items = [Record("h1", "c1", NAME, 16, b"\xff" + b"x" * 255, 1, Origin.ADDED)] * 3000
    parts = list(codec.parts(items))
    assert sum(map(len, parts)) == 3000
    assert all(len(part) <= MAX_ITEMS_A_PART for part in parts)
    assert len(parts) > 3


@pytest.mark.parametrize(
    ("text", "good"),
    [("10.0.0.1", True), ("fe80::1", True), ("", False), ("host", False), ("0.0.0.0", False), ("224.0.0.1", False)],
)
def test_only_an_address_can_be_sent_to(text: str, good: bool) -> None:
    assert codec.is_host(text) is good


def test_records_made_for_tests_are_sound() -> None:
    codec.entry("h1", codec.wire_item(Entry(record("h1", "a.b"), added=True)))
