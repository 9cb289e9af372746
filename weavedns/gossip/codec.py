"""Messages to bytes and back, and log items to messages and back. Never seals, sends or keeps anything."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import ip_address

import msgspec

from weavedns.errors import PeerWireError
from weavedns.gossip.message import (
    MAX_COUNT,
    MAX_ITEMS_A_PART,
    Changes,
    DatagramMessage,
    DropFact,
    DropRecord,
    Message,
    PutFact,
    PutRecord,
    StreamMessage,
    WireItem,
)
from weavedns.records.log import Delta, Entry, Fact, Item
from weavedns.records.record import Origin, Record
from weavedns.records.validate import is_name, is_rdata

MAX_MESSAGES_A_DATAGRAM = 256
# How many bytes of items go into one frame of a stream: decoding it must not keep queries waiting. One item alone may
# be larger.
PART_BYTES = 1024
_SMALL_ARRAY = 15
_ORIGINS = tuple(Origin)
_CODES = {origin: code for code, origin in enumerate(Origin)}
_encode = msgspec.msgpack.Encoder().encode
_decode_datagram = msgspec.msgpack.Decoder(list[DatagramMessage]).decode
_decode_stream = msgspec.msgpack.Decoder(StreamMessage).decode


def encode(message: Message) -> bytes:
    """The bytes of one message."""
    return _encode(message)


def join(parts: Sequence[bytes]) -> bytes:
    """A datagram's body from messages that are encoded already."""
    count = len(parts)
    header = bytes((0x90 | count,)) if count <= _SMALL_ARRAY else b"\xdc" + count.to_bytes(2, "big")
    return header + b"".join(parts)


def pack(parts: Iterable[bytes], room_bytes: int) -> Iterator[list[bytes]]:
    """Spread encoded messages over as few bodies of at most `room_bytes` as their order allows."""
    batch: list[bytes] = []
    size = 3
    for part in parts:
        if batch and (size + len(part) > room_bytes or len(batch) >= MAX_MESSAGES_A_DATAGRAM):
            yield batch
            batch, size = [], 3
        batch.append(part)
        size += len(part)
    if batch:
        yield batch


def decode_datagram(body: bytes) -> list[DatagramMessage]:
    """The messages of a datagram; raises PeerWireError when any of it is malformed or out of bounds."""
    try:
        messages = _decode_datagram(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise PeerWireError(f"a datagram is malformed: {exc}") from exc
    if len(messages) > MAX_MESSAGES_A_DATAGRAM:
        raise PeerWireError(f"a datagram has {len(messages)} messages; at most {MAX_MESSAGES_A_DATAGRAM} are let in")
    return messages


def decode_stream(body: bytes) -> StreamMessage:
    """The message of a stream's frame; raises PeerWireError."""
    try:
        message: StreamMessage = _decode_stream(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise PeerWireError(f"a frame is malformed: {exc}") from exc
    return message


def wire_item(entry: Entry) -> WireItem:
    """A log entry as it travels; the owner is said once for all of them."""
    item = entry.item
    if isinstance(item, Fact):
        return PutFact(item.kind, item.key, item.data) if entry.added else DropFact(item.kind, item.key)
    if entry.added:
        origin = _CODES[item.origin]
        return PutRecord(item.holder, item.name, item.rtype, item.rdata, item.ttl_s, origin, item.healthy)
    return DropRecord(item.holder, item.name, item.rtype, item.rdata)


def entry(owner: str, item: WireItem) -> Entry:
    """What a wire item says about the owner's records; raises PeerWireError for a bad name or bad data."""
    match item:
        case PutRecord(holder, name, rtype, rdata, ttl_s, origin, healthy):
            _check(name, rtype, rdata)
            known = _ORIGINS[origin] if origin < len(_ORIGINS) else Origin.ADDED
            record = Record(owner, sys.intern(holder), name, rtype, rdata, ttl_s, known, healthy)
            return Entry(record, added=True)
        case DropRecord(holder, name, rtype, rdata):
            return Entry(Record(owner, holder, name, rtype, rdata, 0, Origin.ADDED), added=False)
        case PutFact(kind, key, data):
            return Entry(Fact(owner, kind, key, data), added=True)
        case DropFact(kind, key):
            return Entry(Fact(owner, kind, key, b""), added=False)


def delta(changes: Changes) -> Delta:
    """The delta that came as a message; raises PeerWireError."""
    owner = sys.intern(changes.owner)
    if changes.base + len(changes.items) > MAX_COUNT:
        raise PeerWireError(f"changes of {owner} count up to more than {MAX_COUNT}")
    return Delta(owner, changes.incarnation, changes.base, tuple(entry(owner, item) for item in changes.items))


def changes(part: Delta, room_bytes: int, *, full_bytes: int | None = None) -> Iterator[tuple[Delta, bytes | None]]:
    """Cut a delta into encoded messages of at most `room_bytes`; None where one entry alone is larger.

    With `full_bytes` a message of several entries is no larger than that.
    """
    full_bytes = full_bytes or room_bytes
    overhead = len(_encode(Changes(part.owner, part.incarnation, part.last, []))) + 4
    start, size = 0, overhead
    items: list[WireItem] = []
    for at, each in enumerate(part.entries):
        item = wire_item(each)
        item_bytes = len(_encode(item))
        if items and (size + item_bytes > full_bytes or len(items) >= MAX_ITEMS_A_PART):
            yield _message(part, start, at, items)
            start, size, items = at, overhead, []
        items.append(item)
        size += item_bytes
        if size > room_bytes:
            yield _cut(part, start, at + 1), None
            start, size, items = at + 1, overhead, []
    if items:
        yield _message(part, start, len(part.entries), items)


def parts(items: Iterable[Item]) -> Iterator[list[WireItem]]:
    """Cut a snapshot's items into lists of which each fits a frame."""
    batch: list[WireItem] = []
    size = 0
    for item in items:
        wire = wire_item(Entry(item, added=True))
        # A bound without encoding it twice.
        if isinstance(wire, PutRecord):
            item_bytes = len(wire.name) + len(wire.rdata) + 4 * len(wire.holder) + 32
        else:
            item_bytes = 65_535
        if batch and (size + item_bytes > PART_BYTES or len(batch) >= MAX_ITEMS_A_PART):
            yield batch
            batch, size = [], 0
        batch.append(wire)
        size += item_bytes
    if batch:
        yield batch


@lru_cache(maxsize=4096)
def is_host(text: str) -> bool:
    """Whether a peer's address is one that can be sent to."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    # A zone, as in fe80::1%eth0, may be any text, and means nothing on another host.
    return not (address.is_unspecified or address.is_multicast or "%" in text)


def _check(name: bytes, rtype: int, rdata: bytes) -> None:
    if not is_name(name):
        raise PeerWireError(f"{name[:40]!r} is no name in wire form and lower case")
    if not is_rdata(rtype, rdata):
        raise PeerWireError(f"{rdata[:40]!r} is no data of type {rtype}")


def _cut(part: Delta, start: int, end: int) -> Delta:
    return Delta(part.owner, part.incarnation, part.base + start, part.entries[start:end])


def _message(part: Delta, start: int, end: int, items: list[WireItem]) -> tuple[Delta, bytes]:
    cut = _cut(part, start, end)
    return cut, _encode(Changes(cut.owner, cut.incarnation, cut.base, items))
