from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weavedns.errors import PeerError
from weavedns.gossip.message import MAX_DATAGRAM_BYTES
from weavedns.gossip.seal import Header, Key, Keyring, Rejection, Sealer, terms_digest
from weavedns.gossip.session import MAX_SENDERS, WINDOW, Rates, Sessions, Window

ONE, TWO = Key.from_master(b"1" * 32), Key.from_master(b"2" * 32)
RING = Keyring((ONE,))
TERMS = terms_digest("weave", {})


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
    for prefix in (b"", b"WD", b"WD\x01", b"WD\x01" + bytes((ONE.number, 1)) + TERMS):
        assert isinstance(sealer(ONE).open(prefix + data), Rejection)


@given(st.binary(max_size=100))
def test_any_bytes_are_let_in_without_a_password_only_when_the_header_is_whole(data: bytes) -> None:
    opened = sealer().open(b"WD\x01\x00" + data[:1] + TERMS + data[1:])
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


def test_keys_that_share_a_number_are_both_tried() -> None:
    alike = Key(TWO.master, ONE.number)
    for keys in ((ONE, alike), (alike, ONE)):
        assert not isinstance(sealer(*keys).open(sealer(ONE).seal(b"x")), Rejection)
        assert not isinstance(sealer(*keys).open(sealer(alike).seal(b"x")), Rejection)
    assert sealer(ONE).open(sealer(alike).seal(b"x")) is Rejection.FORGED


@pytest.mark.parametrize("name", [b"", b"-a", b"a b", b"a\n", b"\xe4", b"a" * 64, b"a\x00"])
def test_a_sender_needs_a_peers_name(name: bytes) -> None:
    data = b"WD\x01\x00" + bytes((len(name),)) + TERMS + name + bytes(24) + b"\x90"
    assert sealer().open(data) is Rejection.MALFORMED


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


def test_two_passwords_have_to_differ() -> None:
    with pytest.raises(PeerError, match="are the same"):
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


@given(st.integers(1, 3 * WINDOW), st.lists(st.integers(1, 6 * WINDOW)))
def test_a_window_lets_nothing_in_that_is_older_than_its_beginning(start: int, counters: list[int]) -> None:
    window, seen, top = Window(start), set[int](), start
    for counter in counters:
        assert window.accept(counter) == (counter not in seen and counter > start and counter > top - WINDOW)
        seen.add(counter)
        top = max(top, counter)


# Challenges.

WHO = ("h1", 9)


def test_an_unknown_boot_has_to_prove_itself_and_nothing_older_than_its_proof_is_let_in() -> None:
    known = Sessions(bytes(32))
    assert known.accept(WHO, 7) is None
    assert known.prove(WHO, 8, known.challenge(WHO, 0.0), 0.2)
    assert [known.accept(WHO, counter) for counter in (7, 8, 9, 9, 10)] == [False, False, True, False, True]
    assert known.accept(("h1", 10), 1) is None


@pytest.mark.parametrize(("asked", "answered", "good"), [(0.0, 4.9, True), (4.9, 5.1, True), (0.0, 10.1, False)])
def test_an_answer_is_good_for_seconds(asked: float, answered: float, good: bool) -> None:
    known = Sessions(bytes(32))
    assert known.prove(WHO, 1, known.challenge(WHO, asked), answered) is good


def test_a_wrong_answer_proves_nothing() -> None:
    known = Sessions(bytes(32))
    nonce = known.challenge(WHO, 0.0)
    assert not known.prove(WHO, 1, b"x" * 16, 0.1)
    assert not known.prove(("h1", 8), 1, nonce, 0.1)
    assert not known.prove(("h2", 9), 1, nonce, 0.1)
    assert not Sessions(b"1" * 32).prove(WHO, 1, nonce, 0.1)
    assert known.accept(WHO, 2) is None


def test_the_boots_that_are_remembered_are_bounded_and_the_one_not_heard_for_longest_goes() -> None:
    known = Sessions(bytes(32))
    for boot in range(MAX_SENDERS + 1):
        assert known.prove(("h1", boot), 1, known.challenge(("h1", boot), 0.0), 0.0)
        known.accept(("h1", 0), boot + 2)
    assert len(known._windows) == MAX_SENDERS
    assert known.accept(("h1", 0), MAX_SENDERS + 3)
    assert known.accept(("h1", 1), 2) is None


def test_a_flood_from_one_source_leaves_others_their_share() -> None:
    rates = Rates(per_s=10.0, burst=5.0)
    assert [rates.allow("10.0.0.9", 0.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert rates.allow("10.0.0.8", 0.0)
    assert rates.allow("10.0.0.9", 0.1)
    assert not rates.allow("10.0.0.9", 0.1)
