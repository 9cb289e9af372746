from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weavedns.errors import PeerWireError
from weavedns.gossip.message import MAX_FIRST_FRAME_BYTES, MAX_FRAME_BYTES
from weavedns.gossip.seal import Header, Key, Keyring, Rejection
from weavedns.gossip.stream import RefusedError, Stream

ONE, TWO = Key.from_master(b"1" * 32), Key.from_master(b"2" * 32)


def ends(ring: Keyring, other: Keyring | None = None) -> tuple[Stream, Stream]:
    one = Stream(ring, Header("h1", 5, 9, 0), Random(1).randbytes, initiator=True)
    two = Stream(other if other is not None else ring, Header("h2", 6, 8, 0), Random(2).randbytes, initiator=False)
    return one, two


def shake(one: Stream, two: Stream) -> None:
    two.receive(one.take())
    one.receive(two.take())


@pytest.mark.parametrize("ring", [Keyring(), Keyring((ONE,))], ids=["plain", "sealed"])
def test_frames_arrive_in_order_both_ways(ring: Keyring) -> None:
    one, two = ends(ring)
    one.send(b"early")
    shake(one, two)
    one.send(b"late")
    two.send(b"back")
    assert two.receive(one.take()) == [b"early", b"late"]
    assert one.receive(two.take()) == [b"back"]
    assert one.peer == Header("h2", 6, 8, 0)
    assert two.peer == Header("h1", 5, 9, 0)
    assert one.authenticated
    assert two.authenticated


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 50), min_size=1))
def test_bytes_may_come_in_any_pieces(bodies: list[bytes], pieces: list[int]) -> None:
    one, two = ends(Keyring((ONE,)))
    shake(one, two)
    for body in bodies:
        one.send(body)
    data, got, turn = one.take(), list[bytes](), 0
    while data:
        size = pieces[turn % len(pieces)]
        turn += 1
        got += two.receive(data[:size])
        data = data[size:]
    assert got == bodies


def test_a_recording_cannot_be_opened_with_the_password_alone() -> None:
    one, two = ends(Keyring((ONE,)))
    hello = one.take()
    two.receive(hello)
    one.receive(two.take())
    one.send(b"secret")
    recorded = one.take()
    # Somebody who knows the password plays the recording to a new stream.
    late = Stream(Keyring((ONE,)), Header("h2", 6, 8, 0), Random(3).randbytes, initiator=False)
    late.receive(hello)
    with pytest.raises(RefusedError):
        late.receive(recorded)
    assert not late.authenticated


def test_a_frame_that_was_touched_ends_the_stream() -> None:
    one, two = ends(Keyring((ONE,)))
    shake(one, two)
    one.send(b"body")
    data = bytearray(one.take())
    data[-1] ^= 1
    with pytest.raises(RefusedError):
        two.receive(bytes(data))


@pytest.mark.parametrize(
    ("mine", "theirs", "why"),
    [
        (Keyring((ONE,)), Keyring(), Rejection.PLAINTEXT),
        (Keyring(), Keyring((ONE,)), Rejection.ENCRYPTED),
        (Keyring((ONE,)), Keyring((TWO,)), Rejection.UNKNOWN_KEY),
    ],
)
def test_another_password_is_refused_with_a_reason(mine: Keyring, theirs: Keyring, why: Rejection) -> None:
    one, two = ends(theirs, mine)
    with pytest.raises(RefusedError) as caught:
        two.receive(one.take())
    assert caught.value.why is why


def test_while_a_password_is_changed_old_and_new_understand_each_other() -> None:
    one, two = ends(Keyring((ONE,)), Keyring((TWO, ONE)))
    shake(one, two)
    two.send(b"hello")
    assert one.receive(two.take()) == [b"hello"]


def test_a_frame_over_the_bound_is_refused_before_it_is_read() -> None:
    one, two = ends(Keyring())
    shake(one, two)
    with pytest.raises(PeerWireError, match="announced"):
        one.receive((MAX_FIRST_FRAME_BYTES + 1).to_bytes(4, "big"))
    one.send(b"x" * MAX_FIRST_FRAME_BYTES)
    one.send(b"x" * MAX_FRAME_BYTES)
    assert [len(body) for body in two.receive(one.take())] == [MAX_FIRST_FRAME_BYTES, MAX_FRAME_BYTES]
    with pytest.raises(PeerWireError, match="announced"):
        two.receive((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(PeerWireError, match="too long"):
        one.send(b"x" * (MAX_FRAME_BYTES + 1))


@given(st.binary(max_size=200), st.booleans())
def test_a_stranger_can_do_nothing_but_be_refused(data: bytes, sealed: bool) -> None:
    _, two = ends(Keyring((ONE,)) if sealed else Keyring())
    try:
        frames = two.receive(data)
    except PeerWireError:
        return
    assert not sealed or not frames
    assert not sealed or not two.authenticated


@given(st.binary(max_size=120))
def test_a_stranger_who_knows_the_beginning_gets_no_further(data: bytes) -> None:
    _, two = ends(Keyring((ONE,)))
    try:
        assert not two.receive(b"WS\x01" + bytes((ONE.number, 2)) + b"h1" + bytes(16) + data)
    except PeerWireError:
        return
    assert not two.authenticated


@pytest.mark.parametrize(
    ("ring", "other", "here", "there"),
    [
        (Keyring((ONE,)), Keyring((TWO,)), Rejection.UNKNOWN_KEY, Rejection.UNKNOWN_KEY),
        (Keyring(), Keyring((ONE,)), Rejection.ENCRYPTED, Rejection.PLAINTEXT),
        (Keyring((ONE,)), Keyring(), Rejection.PLAINTEXT, Rejection.ENCRYPTED),
    ],
)
def test_both_sides_see_which_password_does_not_fit(
    ring: Keyring, other: Keyring, here: Rejection, there: Rejection
) -> None:
    one, two = ends(ring, other)
    with pytest.raises(RefusedError) as refused_there:
        two.receive(one.take())
    with pytest.raises(RefusedError) as refused_here:
        one.receive(two.take())
    assert (refused_here.value.why, refused_there.value.why) == (here, there)


@pytest.mark.parametrize("first", [True, False])
def test_keys_that_share_a_number_are_both_tried(first: bool) -> None:
    alike = Key(TWO.master, ONE.number)
    both = Keyring((ONE, alike) if first else (alike, ONE))
    for dialling, other in (
        (Keyring((alike,)), both),
        (both, Keyring(both.keys[:1])),
        (both, Keyring(both.keys[::-1])),
    ):
        one, two = ends(dialling, other)
        one.send(b"early")
        two.send(b"back")
        assert two.receive(one.take()) == []
        got = one.receive(two.take())
        assert two.receive(one.take()) == [b"early"]
        two.send(b"late")
        assert got + one.receive(two.take()) == [b"back", b"late"]


def test_who_dials_needs_a_key_that_the_other_has_as_its_first() -> None:
    one, two = ends(Keyring((TWO, ONE)), Keyring((ONE,)))
    with pytest.raises(RefusedError):
        two.receive(one.take())
    with pytest.raises(RefusedError) as refused:
        one.receive(two.take())
    assert refused.value.why is Rejection.UNKNOWN_KEY


def test_both_sides_see_that_the_other_is_of_another_version() -> None:
    one, two = ends(Keyring((ONE,)))
    hello = bytearray(one.take())
    hello[2] += 1
    with pytest.raises(RefusedError) as refused:
        two.receive(bytes(hello))
    assert refused.value.why is Rejection.OTHER_VERSION
    reply = bytearray(two.take())
    reply[2] += 1
    with pytest.raises(RefusedError) as refused:
        one.receive(bytes(reply))
    assert refused.value.why is Rejection.OTHER_VERSION
    assert not one.take()


def test_a_stranger_that_speaks_something_else_is_told_nothing() -> None:
    _, two = ends(Keyring((ONE,)))
    with pytest.raises(RefusedError):
        two.receive(b"GET / HTTP/1.0\r\n\r\n")
    assert not two.take()
