from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weavedns.errors import PeerError
from weavedns.gossip.message import MAX_DATAGRAM_BYTES
from weavedns.gossip.seal import Header, Key, Keyring, Rejection, Sealer
from weavedns.gossip.session import HELD_PACKETS, MAX_PENDING, PENDING_S, WINDOW, Prove, Rates, Sessions, Window

ONE, TWO = Key.from_master(b"1" * 32), Key.from_master(b"2" * 32)
RING = Keyring((ONE,))
ADDR = ("10.0.0.1", 6783)


def sealer(*keys: Key, name: str = "h1", incarnation: int = 5, boot: int = 9) -> Sealer:
    return Sealer(Keyring(keys), name, incarnation, boot)


@given(st.binary(max_size=1200))
def test_what_is_sealed_can_be_opened(body: bytes) -> None:
    assert sealer(ONE, name="h2").open(sealer(ONE).seal(body)) == (Header("h1", 5, 9, 1), body)


def test_the_body_cannot_be_read_without_the_key() -> None:
    assert b"secret" not in sealer(ONE).seal(b"secret" * 10)


def test_no_two_packets_are_sealed_alike() -> None:
    one = sealer(ONE)
    assert one.seal(b"x") != one.seal(b"x")
    assert sealer(ONE, boot=1).seal(b"x")[-17:] != sealer(ONE, boot=2).seal(b"x")[-17:]


@given(st.integers(0, 70), st.integers(1, 255))
def test_a_packet_that_was_touched_anywhere_is_refused(at: int, by: int) -> None:
    data = bytearray(sealer(ONE).seal(b"body" * 8))
    data[at % len(data)] ^= by
    assert isinstance(sealer(ONE).open(bytes(data)), Rejection)


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(data: bytes) -> None:
    for prefix in (b"", b"WD", b"WD\x01", b"WD\x01" + bytes((ONE.number,))):
        assert isinstance(sealer(ONE).open(prefix + data), Rejection)


@given(st.binary(max_size=100))
def test_any_bytes_are_let_in_without_a_password_only_when_the_header_is_whole(data: bytes) -> None:
    opened = sealer().open(b"WD\x01\x00" + data)
    if not isinstance(opened, Rejection):
        assert 0 < len(opened[0].sender) <= 63


def test_plaintext_is_refused_when_there_is_a_password_and_the_other_way_round() -> None:
    assert sealer(ONE).open(sealer().seal(b"x")) is Rejection.PLAINTEXT
    assert sealer().open(sealer(ONE).seal(b"x")) is Rejection.ENCRYPTED


def test_another_password_is_told_from_damage() -> None:
    assert sealer(ONE).open(sealer(TWO).seal(b"x")) is Rejection.UNKNOWN_KEY


def test_with_two_keys_packets_of_both_are_opened_so_that_a_password_can_be_changed() -> None:
    old, both, new = sealer(ONE), sealer(TWO, ONE), sealer(TWO)
    assert not isinstance(both.open(old.seal(b"x")), Rejection)
    assert not isinstance(both.open(new.seal(b"x")), Rejection)
    assert not isinstance(new.open(both.seal(b"x")), Rejection)


def test_a_sender_that_changes_its_key_goes_on_counting_also_when_it_goes_back() -> None:
    one, other = sealer(ONE), sealer(ONE, TWO)
    counters = []
    for key in (ONE, TWO, ONE):
        one.rekey(Keyring((key,)))
        opened = other.open(one.seal(b"x"))
        assert not isinstance(opened, Rejection)
        counters.append(opened[0].counter)
    assert counters == [1, 2, 3]


def test_a_datagram_with_a_full_body_has_exactly_the_most_bytes() -> None:
    for one in (sealer(), sealer(ONE), sealer(ONE, name="x" * 63)):
        data = one.seal(b"x" * one.room_bytes)
        assert len(data) == MAX_DATAGRAM_BYTES
        assert not isinstance(one.open(data), Rejection)
        assert one.open(data + b"x") is Rejection.MALFORMED


def test_a_new_incarnation_has_a_new_key_and_goes_on_counting() -> None:
    one = sealer(ONE)
    one.seal(b"x")
    one.restart(6)
    assert sealer(ONE).open(one.seal(b"x")) == (Header("h1", 6, 9, 2), b"x")


def test_a_password_gives_the_same_key_in_the_same_cluster_only() -> None:
    assert Key.from_password("p", "weave") == Key.from_password("p", "weave")
    assert Key.from_password("p", "weave") != Key.from_password("p", "other")


def test_passwords_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(PeerError, match="choose another"):
        Keyring.from_passwords(("p", "p"), "weave")


# Replay windows.


@given(st.lists(st.integers(1, 3 * WINDOW)))
def test_a_counter_is_let_in_once(counters: list[int]) -> None:
    window, seen, top = Window(), set[int](), 0
    for counter in counters:
        accepted = window.accept(counter)
        assert accepted == (counter not in seen and counter > top - WINDOW)
        seen.add(counter)
        top = max(top, counter)


def test_a_jump_of_the_counter_is_no_burden() -> None:
    window = Window()
    assert window.accept(2**64 - 1)
    assert not window.accept(2**64 - 1)
    assert window.accept(2**64 - 2)
    assert not window.accept(1)


# Challenges.


def header(counter: int = 1, boot: int = 9) -> Header:
    return Header("h1", 5, boot, counter)


def sessions() -> Sessions:
    return Sessions(Random(1).randbytes)


def test_an_unknown_boot_has_to_prove_itself_and_its_packets_wait() -> None:
    known = sessions()
    verdict = known.check(header(1), b"one", ADDR, 0.0)
    assert isinstance(verdict, Prove)
    again = known.check(header(2), b"two", ADDR, 0.1)
    assert again == verdict
    held = known.answered(header(3), verdict.nonce, 0.2)
    assert [body for _, body, _ in held] == [b"one", b"two"]
    assert known.check(header(4), b"x", ADDR, 0.3) is None
    assert known.check(header(1), b"one", ADDR, 0.3) is Rejection.REPLAYED


def test_a_wrong_or_late_answer_proves_nothing() -> None:
    known = sessions()
    verdict = known.check(header(1), b"one", ADDR, 0.0)
    assert isinstance(verdict, Prove)
    assert not known.answered(header(2), b"x" * 16, 0.1)
    assert not known.answered(header(2, boot=8), verdict.nonce, 0.1)
    assert not known.answered(header(2), verdict.nonce, PENDING_S + 0.1)
    assert not known.knows(("h1", 9))


def test_what_waits_for_proof_is_bounded() -> None:
    known = sessions()
    for boot in range(3 * MAX_PENDING):
        for counter in range(1, 3 * HELD_PACKETS):
            known.check(header(counter, boot), b"x", ADDR, 0.0)
    assert len(known._pending) == MAX_PENDING
    assert all(len(each.held) <= HELD_PACKETS for each in known._pending.values())


def test_a_flood_from_one_source_leaves_others_their_share() -> None:
    rates = Rates(per_s=10.0, burst=5.0)
    assert [rates.allow("10.0.0.9", 0.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert rates.allow("10.0.0.8", 0.0)
    assert rates.allow("10.0.0.9", 0.1)
    assert not rates.allow("10.0.0.9", 0.1)
