from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weavedns.cluster.parcels import KIND, MAX_UNDER_WAY, PART_BYTES, Get, Parcels, Put
from weavedns.errors import PeerError, PeerWireError
from weavedns.gossip.message import MAX_REQUEST_BYTES

encode = msgspec.msgpack.encode


class Pair:
    """Two peers with nothing but short requests between them; the other one answers with `answer`."""

    def __init__(self, answer: bytes = b"") -> None:
        self.answer = answer
        self.asked: list[tuple[str, bytes]] = []
        self.longest = 0
        self.other = Parcels(self.request, self.reply)
        self.one = Parcels(self.request, self.reply)

    async def request(self, peer: str, kind: str, body: bytes) -> bytes:
        assert (peer, kind) == ("other", KIND)
        reply = await self.other.came("one", body)
        self.longest = max(self.longest, len(body), len(reply))
        return reply

    async def reply(self, peer: str, question: bytes) -> bytes:
        self.asked.append((peer, question))
        return self.answer


SIZES = st.sampled_from([0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 5 * PART_BYTES, 40_000])


@given(SIZES, SIZES)
async def test_questions_and_answers_of_any_length_arrive_whole_in_short_requests(asked: int, answered: int) -> None:
    pair = Pair(bytes(each % 251 for each in range(answered)))
    question = bytes(each % 241 for each in range(asked))
    assert await pair.one.ask("other", question) == pair.answer
    assert pair.asked == [("one", question)]
    assert pair.longest <= MAX_REQUEST_BYTES


async def test_what_is_too_long_is_refused_before_it_is_sent() -> None:
    with pytest.raises(PeerError, match="too many"):
        await Pair().one.ask("other", bytes(2 << 20))


@pytest.mark.parametrize("body", [b"", b"\xc0", b"\x93\x03\x00\x00", encode(Put(1, 0, 2, bytes(PART_BYTES + 1)))])
async def test_malformed_parts_are_refused(body: bytes) -> None:
    with pytest.raises(PeerWireError):
        await Pair().other.came("one", body)


async def test_a_part_of_an_answer_that_nobody_asked_for_is_not_there() -> None:
    with pytest.raises(PeerError, match="nothing of that answer is left"):
        await Pair().other.came("one", encode(Get(7, 1)))


async def test_questions_that_never_become_whole_are_dropped_for_newer_ones() -> None:
    pair = Pair(b"done")
    for number in range(MAX_UNDER_WAY + 1):
        assert await pair.other.came("one", encode(Put(number, 0, 2, b"a"))) == b""
    assert await pair.other.came("one", encode(Put(0, 1, 2, b"b"))) == b""
    assert b"done" in await pair.other.came("one", encode(Put(MAX_UNDER_WAY, 1, 2, b"b")))
    assert pair.asked == [("one", b"ab")]
