"""What peers tell each other about addresses, as bytes: rings, claims, questions and answers. Decides nothing.

Bodies are msgpack arrays of typed structs (msgspec). Whatever is malformed, out of bounds or not in order raises
RingWireError and nothing else.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from weavenet.endpoint import LONGEST_PREFIX
from weavenet.errors import RingWireError
from weavenet.ipam.ring import MAX_RANK, MAX_STRETCHES, Owner, Rank, Stretch, Update
from weavenet.ipam.seeding import MAX_MEMBERS

MAX_NAME_BYTES = 255
MAX_LIFE_BYTES = 64
# A full ring of peers with names of usual length; gossip carries up to 1 MiB in one piece.
MAX_BYTES = 1 << 20
MAX_CLAIM_BYTES = 1024

# Names are shown to people: no control characters, no blanks.
_Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_BYTES, pattern=r"\A[!-~]+\Z")]
_Life = Annotated[str, Meta(min_length=1, max_length=MAX_LIFE_BYTES)]
_Taker = Annotated[str, Meta(max_length=MAX_NAME_BYTES + 1 + MAX_LIFE_BYTES)]
_Number = Annotated[int, Meta(ge=0, lt=2**32)]
_Version = Annotated[int, Meta(ge=0, le=MAX_RANK)]
_Index = Annotated[int, Meta(ge=0, lt=MAX_STRETCHES)]
_Prefix = Annotated[int, Meta(ge=0, le=LONGEST_PREFIX)]
_Members = Annotated[tuple[_Name, ...], Meta(max_length=MAX_MEMBERS)]
# Whoever shows what another peer says leaves out what would end a line or drive a terminal.
MAX_TEXT = 4 * MAX_NAME_BYTES
_Text = Annotated[str, Meta(max_length=MAX_TEXT)]


class _Stretch(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    first: _Number
    last: _Number
    owner: _Index
    version: _Version
    takeovers: _Version = 0
    taker: _Taker = ""


class _Ring(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    ring_id: Annotated[str, Meta(max_length=MAX_NAME_BYTES + 1 + MAX_LIFE_BYTES)]
    owners: Annotated[tuple[tuple[_Name, _Life], ...], Meta(max_length=MAX_STRETCHES)]
    stretches: Annotated[tuple[_Stretch, ...], Meta(max_length=MAX_STRETCHES)]


class SharedClaim(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """That a container, or with an empty `holder` the DNS server, of some peer has an address.

    `kept`: it has stopped, and the address is kept for it.
    """

    prefix_len: _Prefix
    holder: Annotated[str, Meta(max_length=64)]
    name: Annotated[str, Meta(max_length=MAX_NAME_BYTES)]
    kept: bool = False


class AskRing(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, tag="ring?"):
    """What do you know of the ring? Here is what I know, if anything."""

    ring: msgspec.Raw
    life: _Life


class AskSpace(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, tag="space?"):
    """Give me addresses of this subnet, of which I have none left; here is what I know of the ring."""

    ring: msgspec.Raw
    life: _Life
    address: _Number
    prefix_len: _Prefix


class AskAddress(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, tag="address?"):
    """Give me this one address, which somebody here asked for by number; here is what I know of whose it is."""

    ring: msgspec.Raw
    life: _Life
    address: _Number


class AskSeed(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, tag="seed?"):
    """May I make a ring of these members?"""

    members: _Members
    life: _Life


class RingIs(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, tag="ring"):
    """All that I know of the ring, after what was asked."""

    ring: msgspec.Raw


class NoRing(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, tag="seed"):
    """I have no ring. The members I know, to whom I leave the making of it ("" to nobody), and for whom I wait."""

    members: _Members
    promised_to: Annotated[str, Meta(max_length=MAX_NAME_BYTES)]
    waits_for: Annotated[tuple[_Text, ...], Meta(max_length=MAX_MEMBERS)]
    life: _Life


class Used(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, tag="used"):
    """Not that address: somebody has it, as this says."""

    reason: _Text


class Refused(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, tag="no"):
    """No, because of this."""

    reason: _Text


Question = AskRing | AskSpace | AskAddress | AskSeed
Answer = RingIs | NoRing | Used | Refused

_encoder = msgspec.msgpack.Encoder()


def encode_ring(update: Update) -> bytes:
    """A ring, or a part of it, as bytes."""
    owners = sorted({each.owner for each in update.stretches})
    index = {owner: n for n, owner in enumerate(owners)}
    stretches = tuple(
        _Stretch(each.first, each.last, index[each.owner], each.rank.version, each.rank.takeovers, each.rank.taker)
        for each in update.stretches
    )
    return _encoder.encode(_Ring(update.ring_id, tuple((each.name, each.life) for each in owners), stretches))


def decode_ring(raw: bytes | msgspec.Raw) -> Update:
    """The ring in bytes that a peer sent or a file holds; raises RingWireError."""
    ring: _Ring = _decode(raw, _Ring, MAX_BYTES)
    owners = [Owner(*each) for each in ring.owners]
    stretches: list[Stretch] = []
    for each in ring.stretches:
        if not (stretches[-1].last if stretches else -1) < each.first <= each.last:
            raise RingWireError("malformed ring: its stretches are not in order")
        if each.owner >= len(owners):
            raise RingWireError("malformed ring: a stretch without an owner")
        if bool(each.takeovers) != bool(each.taker):
            raise RingWireError("malformed ring: a takeover by nobody")
        rank = Rank(each.takeovers, each.taker, each.version)
        stretches.append(Stretch(each.first, each.last, owners[each.owner], rank))
    if stretches and not ring.ring_id:
        raise RingWireError("malformed ring: stretches of no ring")
    return Update(ring.ring_id, tuple(stretches))


def encode_claim(claim: SharedClaim) -> bytes:
    """A claim as bytes."""
    return _encoder.encode(claim)


def decode_claim(raw: bytes) -> SharedClaim:
    """The claim that a peer published; raises RingWireError."""
    claim: SharedClaim = _decode(raw, SharedClaim, MAX_CLAIM_BYTES)
    return claim


def claim_key(address: IPv4Address) -> bytes:
    """Under which key a claim on an address is published."""
    return b"a" + address.packed


def number_of(key: bytes) -> int:
    """The address that a key speaks of, as a number; raises RingWireError."""
    if len(key) != len(b"a") + 4 or key[:1] != b"a":
        raise RingWireError("malformed claim: its key is no address")
    return int.from_bytes(key[1:], "big")


def encode(message: Question | Answer) -> bytes:
    """A question or an answer as bytes."""
    return _encoder.encode(message)


def decode_question(raw: bytes) -> Question:
    """The question that a peer asks; raises RingWireError."""
    question: Question = _decode(raw, Question, MAX_BYTES)
    return question


def decode_answer(raw: bytes) -> Answer:
    """The answer that a peer gave; raises RingWireError."""
    answer: Answer = _decode(raw, Answer, MAX_BYTES)
    return answer


def subnet_of(question: AskSpace) -> IPv4Network:
    """The subnet of which addresses are asked for; raises RingWireError."""
    try:
        return IPv4Network((question.address, question.prefix_len))
    except ValueError as exc:
        raise RingWireError(f"malformed question: {exc}") from exc


def _decode(raw: bytes | msgspec.Raw, what: Any, max_bytes: int) -> Any:
    if len(memoryview(raw)) > max_bytes:
        raise RingWireError(f"malformed message: more than {max_bytes} bytes")
    try:
        return msgspec.msgpack.decode(raw, type=what)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as exc:
        raise RingWireError(f"malformed message: {exc}") from exc
