"""Questions and answers of any length over requests that are short: cut, sent one after the other, joined again.

Knows nothing of what is asked. Every table here is bounded; what a peer does not fetch is dropped for newer things.
"""

from __future__ import annotations

import itertools
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from weavedns.errors import PeerError, PeerWireError

KIND = "ipam"
PART_BYTES = 900
MAX_PARTS = (1 << 20) // PART_BYTES
MAX_UNDER_WAY = 64

_Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Count = Annotated[int, Meta(ge=1, le=MAX_PARTS)]
_Index = Annotated[int, Meta(ge=0, lt=MAX_PARTS)]
_Data = Annotated[bytes, Meta(max_length=PART_BYTES)]

Ask = Callable[[str, str, bytes], Awaitable[bytes]]
Answer = Callable[[str, bytes], Awaitable[bytes]]


class Put(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """A part of a question; the reply to the one that completes it is the beginning of the answer."""

    number: _Number
    index: _Index
    count: _Count
    data: _Data


class Get(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """Asks for a further part of the answer."""

    number: _Number
    index: _Index


class Got(msgspec.Struct, array_like=True, frozen=True):
    """A part of an answer, and how many there are."""

    count: _Count
    data: _Data


@dataclass(slots=True)
class _Coming:
    """A question of which parts have come."""

    count: int
    parts: dict[int, bytes] = field(default_factory=dict)


_T = TypeVar("_T")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Put | Get).decode
_decode_got = msgspec.msgpack.Decoder(Got).decode


class Parcels:
    """Both ends: `ask` sends a question with `request`, and what comes in goes to `answer`."""

    def __init__(self, request: Ask, answer: Answer) -> None:
        self._request = request
        self._answer = answer
        # A restarted asker must not go on with what an earlier one left.
        self._numbers = itertools.count(secrets.randbits(62))
        self._coming: OrderedDict[tuple[str, int], _Coming] = OrderedDict()
        self._answers: OrderedDict[tuple[str, int], list[bytes]] = OrderedDict()

    async def ask(self, peer: str, question: bytes) -> bytes:
        """The peer's answer; raises PeerError."""
        number = next(self._numbers)
        parts = _cut(question)
        raw = b""
        for index, part in enumerate(parts):
            raw = await self._request(peer, KIND, _encode(Put(number, index, len(parts), part)))
        got = self._got(peer, raw)
        whole = [got.data]
        for index in range(1, got.count):
            more = await self._request(peer, KIND, _encode(Get(number, index)))
            whole.append(self._got(peer, more).data)
        return b"".join(whole)

    async def came(self, peer: str, body: bytes) -> bytes:
        """Take a part in, or hand one out; raises PeerError when it is malformed or nobody knows of it."""
        try:
            part = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise PeerWireError(f"a part of a question is malformed: {exc}") from exc
        key = (peer, part.number)
        if isinstance(part, Get):
            return self._further(key, part.index)
        coming = self._coming.setdefault(key, _Coming(part.count))
        coming.parts[part.index] = part.data
        if len(coming.parts) < coming.count:
            _bound(self._coming)
            return b""
        del self._coming[key]
        # In another order than they were sent they may have come, and in greater numbers than was said.
        question = b"".join(coming.parts[index] for index in sorted(coming.parts))
        parts = _cut(await self._answer(peer, question))
        if len(parts) > 1:
            self._answers[key] = parts
            _bound(self._answers)
        return _encode(Got(len(parts), parts[0]))

    def _further(self, key: tuple[str, int], index: int) -> bytes:
        parts = self._answers.get(key, [])
        if not 0 < index < len(parts):
            raise PeerError("nothing of that answer is left; ask again")
        if index == len(parts) - 1:
            del self._answers[key]
        return _encode(Got(len(parts), parts[index]))

    @staticmethod
    def _got(peer: str, raw: bytes) -> Got:
        try:
            return _decode_got(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise PeerWireError(f"the answer of {peer} is malformed: {exc}") from exc


def _cut(whole: bytes) -> list[bytes]:
    if len(whole) > MAX_PARTS * PART_BYTES:
        raise PeerError(f"{len(whole)} bytes are too many for one question or answer")
    return [whole[at : at + PART_BYTES] for at in range(0, len(whole), PART_BYTES)] or [b""]


def _bound(table: OrderedDict[tuple[str, int], _T]) -> None:
    while len(table) > MAX_UNDER_WAY:
        table.popitem(last=False)
