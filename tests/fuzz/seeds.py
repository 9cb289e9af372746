"""Inputs to begin a search with: what honest peers say, cut as `pieces` of `tests.fuzz` cuts it."""

from __future__ import annotations

import msgspec

from tests.fuzz.victim import EVIL, OTHER, PLAIN, SEALED
from tests.sim.world import WALL_MS, record
from weavedns.gossip import codec
from weavedns.gossip.message import (
    Ack,
    Advert,
    Alive,
    Challenge,
    Changes,
    Dead,
    Done,
    DropRecord,
    Leave,
    Message,
    NameTaken,
    Ping,
    PingRequest,
    Pull,
    PutFact,
    PutRecord,
    Reply,
    Request,
    Row,
    SnapshotEnd,
    SnapshotPart,
    SnapshotStart,
    State,
    Suspect,
    Vector,
    Whole,
    WireItem,
)
from weavedns.gossip.seal import Header, Sealer
from weavedns.gossip.stream import Stream
from weavenet.ipam import wire
from weavenet.ipam.ring import Owner, Rank, Stretch, Update

_NAME = record("", "a").name
_MINE = WALL_MS + 3
_ALIVE = Alive("evil", *EVIL, _MINE, 9, 1)
_ITEMS: list[WireItem] = [
    PutRecord("c", _NAME, 1, b"1234", 1, 0),
    DropRecord("c", _NAME, 1, b"1234"),
    PutFact(3, b"ring", b"x"),
]
_DATAGRAMS: list[Message] = [
    Ping(1, "victim", 2), Ack(1, 2, "evil"), PingRequest(1, "owner", *OTHER), _ALIVE, Alive("new", *EVIL, 5, 5, 0),
    Suspect("victim", WALL_MS + 1, 0, "evil"), Dead("owner", WALL_MS + 2, 0, "evil"), Leave("evil", _MINE),
    NameTaken("victim", 1, 1), Changes("evil", _MINE, 1, _ITEMS), Changes("evil", _MINE, 5, _ITEMS),
    Whole("evil", _MINE, 9, _ITEMS[:1]), Pull("victim", WALL_MS + 1, 0), Advert("evil", _MINE, 9),
    Request(1, "ipam", b"x"), Reply(1, False, b"x"), Challenge(bytes(16)),
]  # fmt: skip
_FRAMES: list[Message] = [
    Vector([Row(_ALIVE, State.ALIVE, _MINE, 2), Row(Alive("owner", *OTHER, WALL_MS + 2, 9, 0), State.DEAD, 0, 0)]),
    SnapshotStart("evil", _MINE, 2), SnapshotPart(_ITEMS[:1]), SnapshotEnd(1),
    Changes("evil", _MINE, 2, _ITEMS), Done(),
]  # fmt: skip


def seeds(target: str) -> list[bytes]:
    """The first inputs for a target."""
    match target:
        case "datagrams":
            senders = [Sealer(keyring, "evil", _MINE, 9) for keyring in (PLAIN, SEALED)]
            return [_joined(*(sender.seal(_body(said)) for said in _DATAGRAMS)) for sender in senders]
        case "bodies":
            return [_joined(_body(said)) for said in _DATAGRAMS] + [_joined(*map(_body, _DATAGRAMS[:8]))]
        case "stream":
            hellos = [
                Stream(keyring, Header("evil", _MINE, 9, 0), bytes, initiator=True) for keyring in (PLAIN, SEALED)
            ]
            return [_joined(hello.take()) for hello in hellos]
        case "frames":
            return [_joined(*map(codec.encode, _FRAMES))]
    return [bytes((first,)) + _joined(said) for said in _about_addresses() for first in (0, 1)]


def _about_addresses() -> list[bytes]:
    first = 0x0A020000
    stretches = (
        Stretch(first, first + 99, Owner("evil", "1"), Rank()),
        Stretch(first + 100, first + 255, Owner("b", "1"), Rank(1, "evil/1", 2)),
    )
    ring = wire.encode_ring(Update("evil/1", stretches))
    raw = msgspec.Raw(ring)
    return [
        ring, wire.encode(wire.AskRing(raw, "1")), wire.encode(wire.AskSpace(raw, "1", first, 24)),
        wire.encode(wire.AskSeed(("evil", "victim"), "1")), wire.encode(wire.RingIs(raw)),
        wire.encode(wire.NoRing(("evil",), "", (), "1")),
        b"a\x0a\x02\x00\x01" + wire.encode_claim(wire.SharedClaim(24, "c", "n")),
        msgspec.msgpack.encode((1, 0, 1, b"x")), msgspec.msgpack.encode(("name", ["10.0.0.1"])),
    ]  # fmt: skip


def _body(message: Message) -> bytes:
    return codec.join([codec.encode(message)])


def _joined(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)
