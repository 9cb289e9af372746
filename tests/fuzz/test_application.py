"""The same for what peers send beside gossip: addresses, questions in parts, removals."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.application import RING_KEY, Daemon, ring_update
from tests.fuzz.messages import damaged, of_type
from tests.fuzz.rounds import rounds
from weavedns.cluster.parcels import Get, Got, Put
from weavenet.ipam import wire

_encode = msgspec.msgpack.encode
_FIRST = 0x0A020000
_number = st.one_of(st.sampled_from([_FIRST, _FIRST + 127, _FIRST + 128, _FIRST + 255, 0, 2**32 - 1, 2**31 - 1]),
                    st.integers(0, 9), st.integers(_FIRST, _FIRST + 255))  # fmt: skip
_word = st.one_of(st.sampled_from(["", "evil", "victim", "evil/1", "1", "a\nb", "x" * 255]), st.text(max_size=5))
_stretch = st.tuples(_number, _number, st.integers(0, 2), _number, st.integers(0, 1), _word)
_owner = st.tuples(_word, _word)
_ring = st.one_of(
    st.builds(ring_update, st.lists(_stretch, max_size=4), _word, st.lists(_owner, max_size=3)),
    st.builds(ring_update, st.lists(st.tuples(_number, _number, st.just(0), st.integers(0, 3)), max_size=4)),
)
_raw = st.one_of(_ring, _ring, damaged(_ring))
_question = st.one_of(
    st.tuples(_raw, _word).map(lambda each: _encode(["ring?", msgspec.Raw(each[0]), each[1]])),
    st.tuples(_raw, _word, _number, st.integers(0, 33)).map(
        lambda each: _encode(["space?", msgspec.Raw(each[0]), *each[1:]])
    ),
    st.tuples(_raw, _word, _number).map(lambda each: _encode(["address?", msgspec.Raw(each[0]), *each[1:]])),
    st.tuples(st.lists(_word, max_size=3), _word).map(lambda each: _encode(["seed?", *each])),
)
_answer = st.one_of(
    _raw.map(lambda raw: _encode(["ring", msgspec.Raw(raw)])),
    st.tuples(st.lists(_word, max_size=3), _word, st.lists(_word, max_size=2), _word).map(
        lambda each: _encode(["seed", *each])
    ),
    st.tuples(st.sampled_from(["no", "used"]), _word).map(_encode),
)
_part = of_type(msgspec.inspect.type_info(Put | Get)).map(_encode)
_got = of_type(msgspec.inspect.type_info(Got)).map(_encode)
_claim = of_type(msgspec.inspect.type_info(wire.SharedClaim)).map(_encode)
_key = st.one_of(
    st.just(RING_KEY), _number.map(lambda number: b"a" + number.to_bytes(4, "big")), st.binary(max_size=6)
)


@rounds(100)
@given(st.lists(st.one_of(_question, damaged(_question)), min_size=1, max_size=4), st.booleans())
async def test_questions_about_addresses(questions: list[bytes], ring: bool) -> None:
    daemon = await Daemon.start(ring=ring)
    for question in questions:
        await daemon.questioned(question)


@rounds(100)
@given(st.lists(st.one_of(_answer, damaged(_answer)), min_size=1, max_size=4), st.booleans())
async def test_answers_about_addresses(answers: list[bytes], ring: bool) -> None:
    daemon = await Daemon.start(ring=ring)
    for answer in answers:
        await daemon.replied(answer)


@rounds(100)
@given(
    st.lists(st.tuples(_key, st.one_of(_raw, _claim, damaged(_claim), st.binary(max_size=30))), max_size=4),
    st.booleans(),
)
async def test_facts_about_addresses(facts: list[tuple[bytes, bytes]], ring: bool) -> None:
    daemon = await Daemon.start(ring=ring)
    for key, value in facts:
        await daemon.told(key, value)


@rounds(100)
@given(st.lists(st.one_of(_part, damaged(_part), st.binary(max_size=20)), max_size=8))
async def test_parts_of_questions(parts: list[bytes]) -> None:
    daemon = await Daemon.start(ring=True)
    for part in parts:
        await daemon.asked(part)


@rounds(100)
@given(st.one_of(_got, damaged(_got), st.binary(max_size=20)))
async def test_parts_of_answers(part: bytes) -> None:
    await (await Daemon.start(ring=True)).answered(part)


_removal = st.tuples(_word, st.lists(_word, max_size=3)).map(_encode)


@rounds(100)
@given(st.one_of(_removal, damaged(_removal), st.binary(max_size=20)), st.one_of(_word.map(str.encode), st.binary()))
async def test_removals(request: bytes, reply: bytes) -> None:
    daemon = await Daemon.start(ring=False)
    await daemon.asked_to_remove(request)
    await daemon.told_how_many(reply)
