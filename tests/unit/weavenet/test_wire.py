"""What peers tell each other about addresses: read back as written, and refused when it is not well formed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weavenet.errors import RingWireError
from weavenet.ipam import wire
from weavenet.ipam.ring import MAX_STRETCHES, Owner, Rank, Stretch, Update

DECODERS: list[Callable[[bytes], Any]] = [
    wire.decode_ring,
    wire.decode_claim,
    wire.decode_question,
    wire.decode_answer,
    wire.number_of,
]
RAW = msgspec.Raw(wire.encode_ring(Update("", ())))


@given(st.binary(max_size=200), st.sampled_from(DECODERS))
def test_any_bytes_are_read_or_refused(raw: bytes, decode: Callable[[bytes], Any]) -> None:
    with contextlib.suppress(RingWireError):
        decode(raw)


@given(st.data(), st.sampled_from(DECODERS))
def test_a_message_with_some_bytes_changed_is_read_or_refused(
    data: st.DataObject, decode: Callable[[bytes], Any]
) -> None:
    stretches = (Stretch(1, 5, Owner("a", "1"), Rank()), Stretch(7, 9, Owner("b", "2"), Rank(1, "a/1", 3)))
    ring = wire.encode_ring(Update("a/1", stretches))
    message = data.draw(
        st.sampled_from(
            [
                ring,
                wire.encode(wire.AskSpace(msgspec.Raw(ring), "1", 10, 24)),
                wire.encode(wire.NoRing(("a", "b"), "a", ("host3:6783",), "1")),
                wire.encode_claim(wire.SharedClaim(16, "ca88a6e", "redis")),
            ]
        )
    )
    changed = bytearray(message)
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, len(message) - 1), st.integers(0, 255)), max_size=3)):
        changed[at] = byte
    with contextlib.suppress(RingWireError):
        decode(bytes(changed[: data.draw(st.integers(0, len(changed)))]))


@pytest.mark.parametrize(
    "message",
    [
        wire.AskRing(RAW, "1"),
        wire.AskSpace(RAW, "1", 167903232, 16),
        wire.AskSeed(("a", "b"), "1"),
        wire.AskAddress(RAW, "1", 167903239),
    ],
)
def test_a_question_is_read_back_as_it_was_written(message: wire.Question) -> None:
    assert wire.encode(wire.decode_question(wire.encode(message))) == wire.encode(message)


@pytest.mark.parametrize(
    "message",
    [
        wire.RingIs(RAW),
        wire.NoRing(("a",), "", (), "1"),
        wire.Refused("no"),
        wire.Used("10.2.0.7 is in use"),
        wire.NoRing((), "b", ("c",), "1"),
    ],
)
def test_an_answer_is_read_back_as_it_was_written(message: wire.Answer) -> None:
    assert wire.encode(wire.decode_answer(wire.encode(message))) == wire.encode(message)


def ring_of(*stretches: tuple[Any, ...], ring_id: str = "a/1", owners: tuple[Any, ...] = (("a", "1"),)) -> bytes:
    return msgspec.msgpack.encode((ring_id, owners, stretches))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (ring_of((1, 5, 0, 0), (5, 6, 0, 0)), "not in order"),
        (ring_of((6, 5, 0, 0)), "not in order"),
        (ring_of((7, 8, 0, 0), (1, 2, 0, 0)), "not in order"),
        (ring_of((1, 2, 1, 0)), "without an owner"),
        (ring_of((1, 2, 0, 0, 1, "")), "by nobody"),
        (ring_of((1, 2, 0, 0, 0, "b/1")), "by nobody"),
        (ring_of((1, 2, 0, 0), ring_id=""), "of no ring"),
        (ring_of((1, 2**32, 0, 0)), "malformed message"),
        (ring_of((1, 2, 0, 2**31)), "malformed message"),
        (ring_of((1, 2, 0, -1)), "malformed message"),
        (ring_of(owners=(("", "1"),)), "malformed message"),
        (ring_of(owners=(("a\nb", "1"),)), "malformed message"),
        (ring_of(owners=(("a\n", "1"),)), "malformed message"),
        (ring_of(owners=(("a" * 256, "1"),)), "malformed message"),
        (ring_of(*((n, n, 0, 0) for n in range(MAX_STRETCHES + 1))), "malformed message"),
        (b"\x93" * 100_000, "malformed message"),
        (bytes(wire.MAX_BYTES + 1), "more than"),
    ],
)
def test_a_ring_out_of_bounds_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(RingWireError, match=why):
        wire.decode_ring(raw)


def test_the_largest_ring_of_peers_with_usual_names_fits_into_a_message() -> None:
    owners = [Owner(f"host-{n:04}.some.example.com", f"{n:016x}") for n in range(2048)]
    stretches = tuple(Stretch(n * 8, n * 8 + 7, owners[n % 2048], Rank(version=n)) for n in range(MAX_STRETCHES))
    raw = wire.encode_ring(Update("host-0000.some.example.com/0123456789abcdef", stretches))
    assert len(wire.encode(wire.RingIs(msgspec.Raw(raw)))) < 300_000
    assert wire.decode_ring(raw).stretches == stretches


def test_a_subnet_with_bits_beyond_its_prefix_is_refused() -> None:
    with pytest.raises(RingWireError):
        wire.subnet_of(wire.AskSpace(RAW, "1", 1, 16))
