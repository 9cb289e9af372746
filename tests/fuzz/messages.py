"""Any message, made from the bounds that the messages' own types state: at the bounds, within, and now and then out.

So a new message or field is tried without being told of here.
"""

from __future__ import annotations

from typing import Any

import msgspec.inspect
from hypothesis import strategies as st

from tests.sim.world import record
from weavedns.gossip.message import PEER_NAME, DatagramMessage, StreamMessage

# What a node under test knows, so that what is said of somebody is often of somebody there.
NAMES = ("victim", "owner", "evil", "nobody")
INCARNATIONS = (1_700_000_000_001, 1_700_000_000_002, 1_700_000_000_003)
_WIRE_NAMES = tuple(record("", name).name for name in ("a", "b"))
_INTERESTING_BYTES = (*_WIRE_NAMES, b"", b"1234", bytes(16), b"ring", b"a\x0a\x02\x00\x01", b"x" * 255)


def of_type(kind: msgspec.inspect.Type) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - one for each kind of type
    """Values of a type as they stand on the wire."""
    match kind:
        case msgspec.inspect.UnionType(types):
            return st.one_of(*map(of_type, types))
        case msgspec.inspect.StructType():
            fields = [of_type(field.type) for field in kind.fields]
            tag = [] if kind.tag is None else [kind.tag]
            return st.tuples(*fields).map(lambda values: [*tag, *values])
        case msgspec.inspect.ListType():
            return st.lists(of_type(kind.item_type), max_size=4)
        case msgspec.inspect.DictType():
            return st.dictionaries(of_type(kind.key_type), of_type(kind.value_type), max_size=10)
        case msgspec.inspect.EnumType():
            return st.integers(0, len(kind.cls))
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.IntType():
            return _numbers(kind)
        case msgspec.inspect.BytesType():
            some = st.sampled_from(_INTERESTING_BYTES)
            return st.one_of(some, st.binary(max_size=20), _too_much(kind.max_length).map(bytes))
        case msgspec.inspect.StrType():
            return _texts(kind)
    raise AssertionError(f"no values of {kind} can be made up")


def _numbers(kind: msgspec.inspect.IntType) -> st.SearchStrategy[int]:
    most = kind.le if kind.le is not None else 2**64 - 1
    edges = [kind.ge or 0, most, most - 1, min(most + 1, 2**64 - 1), *INCARNATIONS]
    return st.one_of(st.sampled_from(edges), st.integers(0, 5), st.integers(0, most))


def _texts(kind: msgspec.inspect.StrType) -> st.SearchStrategy[str]:
    if kind.pattern == PEER_NAME:
        return st.one_of(st.sampled_from(NAMES), st.sampled_from(["evil\n", "-", "x" * 63, "x" * 64]))
    hosts = ["10.0.0.1", "10.0.0.9", "::1", "fe80::1%eth0", "255.255.255.255", "0.0.0.0", "host", "weave"]
    return st.one_of(st.sampled_from(hosts), st.text(max_size=8), _too_much(kind.max_length).map("x".__mul__))


def _too_much(bound: int | None) -> st.SearchStrategy[int]:
    return st.sampled_from([0, 1] if bound is None or bound > 5000 else [bound, bound + 1])


def _of(union: Any) -> st.SearchStrategy[Any]:
    return of_type(msgspec.inspect.type_info(union))


datagram_messages = _of(DatagramMessage)
stream_messages = _of(StreamMessage)
_anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.binary(max_size=5), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=10,
)


@st.composite
def damaged(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """A body of which some bytes are others, missing or too many."""
    body = bytearray(draw(bodies))
    for _ in range(draw(st.integers(0, 3))):
        if body:
            body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    return bytes(body[: draw(st.integers(0, len(body)))]) + draw(st.binary(max_size=3))


_encode = msgspec.msgpack.encode
_datagrams = st.lists(datagram_messages, min_size=1, max_size=4).map(_encode)
_frames = stream_messages.map(_encode)
datagram_bodies = st.one_of(
    _datagrams, _datagrams, damaged(_datagrams), _anything.map(_encode), st.binary(max_size=60)
)
frame_bodies = st.one_of(_frames, _frames, damaged(_frames), _anything.map(_encode), st.binary(max_size=60))
