"""The messages that peers exchange, as typed values with their bounds. Never touches bytes, time or state.

On the wire each is a msgpack array that starts with its tag. `docs/protocol.md` is the full description.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from msgspec import Meta, Struct

MAX_NAME = 63
MAX_OWNERS = 2_048
MAX_DATAGRAM_BYTES = 1_400
MAX_FRAME_BYTES = 1 << 20
# Open and Refuse: many times what the settings of a cluster take.
MAX_FIRST_FRAME_BYTES = 1 << 13
MAX_REQUEST_BYTES = 1_000
# A holder is a container ID, or names a zone file by its path.
MAX_HOLDER = 4_128
MAX_FACT_KEY_BYTES = 255
MAX_TERMS = 8
MAX_TEXT = 255
MAX_ITEMS_A_PART = 1_000
NONCE_BYTES = 16

# `\Z`, as `$` would also match before a line's end.
PEER_NAME = r"\A[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\Z"
# What is counted up from what another peer says ends here; there is room above in 64 bits.
MAX_COUNT = 2**62
# A new incarnation is higher than any heard, by as many random bits as keep two lives apart.
JUMP_BITS = 20
MAX_INCARNATION = MAX_COUNT - (1 << JUMP_BITS)
MAX_REBUTTAL = 2**32 - 1

PeerName = Annotated[str, Meta(min_length=1, max_length=MAX_NAME, pattern=PEER_NAME)]
Host = Annotated[str, Meta(max_length=45)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
Hash64 = Annotated[int, Meta(ge=0)]
Counter = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Sequence32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Rebuttal = Annotated[int, Meta(ge=0, le=MAX_REBUTTAL)]
Term = Annotated[str, Meta(max_length=255)]
WireName = Annotated[bytes, Meta(min_length=1, max_length=255)]
Rdata = Annotated[bytes, Meta(max_length=65_023)]
RecordTypeCode = Annotated[int, Meta(ge=1, le=65_535)]
Holder = Annotated[str, Meta(max_length=MAX_HOLDER)]
FactCode = Annotated[int, Meta(ge=0, le=65_535)]
FactKey = Annotated[bytes, Meta(max_length=MAX_FACT_KEY_BYTES)]
Nonce = Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]


class State(IntEnum):
    """What is thought of a peer."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2


class Purpose(IntEnum):
    """What a stream is opened for."""

    JOIN = 0
    SYNC = 1
    PROBE = 2


class Reason(IntEnum):
    """Why a stream is refused."""

    BUSY = 0
    NAME_TAKEN = 1
    OTHER_CLUSTER = 2
    UNEXPECTED = 3


class Message(Struct, frozen=True, array_like=True):
    """What all messages share."""


# The items of a log, in changes and in snapshots.


class PutRecord(Message, frozen=True, tag=1, gc=False):
    """A record came, or its TTL or health changed."""

    holder: Holder
    name: WireName
    rtype: RecordTypeCode
    rdata: Rdata
    ttl_s: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    origin: Annotated[int, Meta(ge=0, le=255)]
    healthy: bool = True


class DropRecord(Message, frozen=True, tag=2, gc=False):
    """A record went."""

    holder: Holder
    name: WireName
    rtype: RecordTypeCode
    rdata: Rdata


class PutFact(Message, frozen=True, tag=3):
    """A fact came or changed."""

    kind: FactCode
    key: FactKey
    data: Rdata


class DropFact(Message, frozen=True, tag=4):
    """A fact went."""

    kind: FactCode
    key: FactKey


WireItem = PutRecord | DropRecord | PutFact | DropFact
Items = Annotated[list[WireItem], Meta(max_length=MAX_ITEMS_A_PART)]


# Finding out who is there.


class Ping(Message, frozen=True, tag=1):
    """Asks `target` for an Ack with the same sequence number."""

    seq: Sequence32
    target: PeerName
    digest: Hash64


class Ack(Message, frozen=True, tag=2):
    """The answer to a Ping, from the target or through a peer that was asked to try."""

    seq: Sequence32
    digest: Hash64
    target: PeerName


class Nack(Message, frozen=True, tag=3):
    """The peer that was asked to try got no answer either."""

    seq: Sequence32


class PingRequest(Message, frozen=True, tag=4):
    """Asks the receiver to ping somebody else."""

    seq: Sequence32
    target: PeerName
    host: Host
    port: Port


class Alive(Message, frozen=True, tag=5):
    """A peer is there, at this address; said first by itself."""

    name: PeerName
    host: Host
    port: Port
    incarnation: Counter
    boot: Hash64
    rebuttal: Rebuttal


class Suspect(Message, frozen=True, tag=6):
    """A peer did not answer its accuser."""

    name: PeerName
    incarnation: Counter
    rebuttal: Rebuttal
    accuser: PeerName


class Dead(Message, frozen=True, tag=7):
    """A suspect did not clear itself in time."""

    name: PeerName
    incarnation: Counter
    rebuttal: Rebuttal
    accuser: PeerName


class Leave(Message, frozen=True, tag=8):
    """A peer left for good, or was forgotten: this incarnation of it will not be back."""

    name: PeerName
    incarnation: Counter


class NameTaken(Message, frozen=True, tag=9):
    """The sender has the receiver's name, and had it since `born`."""

    name: PeerName
    born: Counter
    boot: Hash64


# What each of them has registered.


class Changes(Message, frozen=True, tag=10):
    """An owner's changes after version `base`."""

    owner: PeerName
    incarnation: Counter
    base: Counter
    items: Items


class Pull(Message, frozen=True, tag=11):
    """Asks for what an owner changed after version `base`."""

    owner: PeerName
    incarnation: Counter
    base: Counter


class Advert(Message, frozen=True, tag=12):
    """The sender has this version of an owner, and it is too much for datagrams."""

    owner: PeerName
    incarnation: Counter
    version: Counter


class Whole(Message, frozen=True, tag=17):
    """All that an owner has, when that fits one datagram."""

    owner: PeerName
    incarnation: Counter
    version: Counter
    items: Items


# One peer asks another.


class Request(Message, frozen=True, tag=13):
    """A question to one peer; asked again until the reply comes."""

    number: Counter
    kind: Annotated[str, Meta(max_length=32)]
    body: Annotated[bytes, Meta(max_length=MAX_REQUEST_BYTES)]


class Reply(Message, frozen=True, tag=14):
    """The answer to a Request; when it `failed`, the body is a sentence."""

    number: Counter
    failed: bool
    body: Annotated[bytes, Meta(max_length=MAX_REQUEST_BYTES)]


# Proving that a boot id is not a recording.


class Challenge(Message, frozen=True, tag=15):
    """Asks the receiver to prove that it is there now."""

    nonce: Nonce


class ChallengeAnswer(Message, frozen=True, tag=16):
    """The proof."""

    nonce: Nonce


# Streams only.


class Open(Message, frozen=True, tag=32):
    """The first message each way on a stream: who it is, and how it sees the other."""

    purpose: Purpose
    cluster: Annotated[str, Meta(max_length=255)]
    peer: Alive
    seen_host: Host
    terms: Annotated[dict[Term, Term], Meta(max_length=MAX_TERMS)]


class Refuse(Message, frozen=True, tag=33):
    """The stream's purpose is refused; `text` is a sentence."""

    reason: Reason
    text: Annotated[str, Meta(max_length=MAX_TEXT)]


class Row(Message, frozen=True):
    """One peer as the sender sees it, with what the sender has of its records."""

    peer: Alive
    state: State
    record_incarnation: Counter
    record_version: Counter


class Vector(Message, frozen=True, tag=34):
    """Everybody the sender knows."""

    rows: Annotated[list[Row], Meta(max_length=MAX_OWNERS)]


class SnapshotStart(Message, frozen=True, tag=35):
    """All that an owner had at `version` follows in parts."""

    owner: PeerName
    incarnation: Counter
    version: Counter


class SnapshotPart(Message, frozen=True, tag=36):
    """Some of a snapshot's items."""

    items: Items


class SnapshotEnd(Message, frozen=True, tag=37):
    """The snapshot is complete with `count` items."""

    count: Counter


class Done(Message, frozen=True, tag=38):
    """The sender has nothing more to say."""


DatagramMessage = (
    Ping
    | Ack
    | Nack
    | PingRequest
    | Alive
    | Suspect
    | Dead
    | Leave
    | NameTaken
    | Changes
    | Whole
    | Pull
    | Advert
    | Request
    | Reply
    | Challenge
    | ChallengeAnswer
)
StreamMessage = (
    Open
    | Refuse
    | Vector
    | SnapshotStart
    | SnapshotPart
    | SnapshotEnd
    | Done
    | Alive
    | Suspect
    | Dead
    | Leave
    | Changes
)
Statement = Alive | Suspect | Dead | Leave
