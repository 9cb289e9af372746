"""Who owns which stretch: whatever is lost, repeated, late or forgotten, never two peers at once."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from weavenet.errors import ForeignRingError, RingError
from weavenet.ipam import ring as rings
from weavenet.ipam.ring import Owner, Rank, Ring, Stretch, Update
from weavenet.ipam.wire import decode_ring, encode_ring

RANGE = IPv4Network("10.2.0.0/28")
BASE = int(RANGE.network_address)
A, B, C = Owner("a", "1"), Owner("b", "1"), Owner("c", "1")
ID = "a/1"


def founded(by: Owner = A, ring_id: str = ID) -> Ring:
    ring = Ring(RANGE, by)
    ring.seed(ring_id, [by])
    return ring


def run(first: int, last: int) -> tuple[int, int]:
    return BASE + first, BASE + last


def owners(ring: Ring) -> str:
    """One letter an address, '?' where nobody is known."""
    letters = ["?"] * 16
    for each in ring.update().stretches:
        for number in range(each.first, each.last + 1):
            letters[number - BASE] = each.owner.name
    return "".join(letters)


def test_the_founder_owns_everything() -> None:
    ring = founded()
    assert owners(ring) == "a" * 16
    assert ring.alone
    assert ring.complete
    assert ring.owned([run(0, 15)]) == [run(0, 15)]


def test_a_seed_splits_equally_in_the_order_of_names_and_so_it_does_what_is_apart() -> None:
    ring = Ring(RANGE, B)
    ring.seed(ID, [C, A, B], apart=[run(12, 14)])
    assert owners(ring) == "aaaabbbbccccabcc"


def test_a_seed_for_more_peers_than_addresses_leaves_some_without() -> None:
    ring = Ring(IPv4Network("10.2.0.0/30"), A)
    ring.seed(ID, [Owner(f"p{n}", "1") for n in range(9)])
    assert ring.complete


def test_a_second_seed_is_refused() -> None:
    with pytest.raises(RingError, match="by a"):
        founded().seed("b/1", [B])


def test_a_gift_is_the_receivers_for_whoever_hears_of_it() -> None:
    donor, receiver = founded(), Ring(RANGE, B)
    donor.give(B, [run(8, 15), run(2, 2)])
    assert owners(donor) == "aabaaaaabbbbbbbb"
    assert receiver.merge(donor.update()).changed
    assert receiver.owned([run(0, 15)]) == [run(2, 2), run(8, 15)]
    assert not donor.alone


@pytest.mark.parametrize("runs", [[run(7, 8)], [run(8, 15)], [run(0, 0), run(9, 9)], [run(3, 2)], [(BASE - 1, BASE)]])
def test_what_is_not_ones_own_cannot_be_given(runs: list[tuple[int, int]]) -> None:
    ring = founded()
    ring.give(B, [run(8, 15)])
    before = ring.update()
    with pytest.raises(RingError, match="not a's to give"):
        ring.give(C, runs)
    assert ring.update() == before


def test_what_was_given_and_given_back_is_ones_own_again() -> None:
    one, other = founded(), Ring(RANGE, B)
    old = one.update()
    one.give(B, [run(4, 7)])
    other.merge(one.update())
    other.give(A, [run(4, 7)])
    one.merge(other.update())
    assert owners(one) == "a" * 16
    assert not one.merge(old).changed


def test_a_part_tells_nothing_about_the_rest() -> None:
    donor, receiver = founded(), Ring(RANGE, B)
    donor.give(B, [run(8, 15)])
    receiver.merge(donor.own_update())
    assert owners(receiver) == "aaaaaaaa????????"
    assert not receiver.complete
    receiver.merge(donor.update())
    assert receiver.complete


def test_a_ring_that_others_founded_is_rejected_and_both_founders_are_named() -> None:
    ring, other = founded(), founded(B, "b/1")
    before = ring.update()
    with pytest.raises(ForeignRingError, match="by a and one by b"):
        ring.merge(other.update())
    assert ring.update() == before


def test_a_ring_of_another_range_is_rejected() -> None:
    other = Ring(IPv4Network("10.2.0.0/27"), A)
    other.seed(ID, [A])
    with pytest.raises(ForeignRingError, match="--range"):
        founded().merge(other.update())


def test_what_contradicts_is_left_out_and_told_and_the_rest_is_taken() -> None:
    ring, forgetful = founded(), founded()
    ring.give(B, [run(0, 3)])
    forgetful.give(C, [run(2, 7)])
    merged = ring.merge(forgetful.update())
    assert owners(ring) == "bbbbccccaaaaaaaa"
    assert merged.conflicts == ("10.2.0.2-10.2.0.3 is said to be c (1)'s and b (1)'s",)


def test_what_one_is_heard_to_have_given_away_is_lost_and_told() -> None:
    forgetful, knowing = founded(), founded()
    knowing.give(B, [run(8, 9)])
    merged = forgetful.merge(knowing.update())
    assert [str(each) for each in merged.lost] == ["10.2.0.8-10.2.0.9"]
    assert owners(forgetful) == "aaaaaaaabbaaaaaa"


def test_who_takes_over_owns_what_the_other_had_in_any_life() -> None:
    ring = founded()
    ring.give(B, [run(8, 9)])
    ring.give(Owner("b", "2"), [run(10, 11)])
    assert [str(each) for each in ring.take_over("b")] == ["10.2.0.8-10.2.0.9", "10.2.0.10-10.2.0.11"]
    assert owners(ring) == "a" * 16


def test_nothing_can_be_taken_over_from_nobody_or_from_oneself() -> None:
    for name in ("a", "nobody"):
        with pytest.raises(RingError, match=name):
            founded().take_over(name)


def test_a_takeover_beats_what_the_other_still_did_and_two_of_them_agree() -> None:
    old, one, other = founded(), Ring(RANGE, B), Ring(RANGE, C)
    one.merge(old.update())
    other.merge(old.update())
    one.take_over("a")
    other.take_over("a")
    for _ in range(3):
        old.give(B, [run(0, 3)])
        taken = Ring(RANGE, B)
        taken.merge(old.update())
        taken.give(A, [run(0, 3)])
        old.merge(taken.update())
    one.give(A, [run(15, 15)])
    for ring in (old, one, other):
        for heard in (old, one, other, old, one, other):
            assert not ring.merge(heard.update()).conflicts
    assert owners(old) == owners(one) == owners(other) == "c" * 16


def test_a_ring_that_is_shared_out_cannot_be_abandoned() -> None:
    ring = founded()
    ring.abandon()
    assert not ring
    assert ring.merge(founded(B, "b/1").update()).changed
    shared = founded()
    shared.give(B, [run(0, 0)])
    with pytest.raises(RingError):
        shared.abandon()


def test_the_number_of_stretches_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rings, "MAX_STRETCHES", 4)
    ring = founded()
    ring.give(B, [run(2, 2)])
    before = ring.update()
    with pytest.raises(RingError, match="more than 4"):
        ring.give(B, [run(5, 5)])
    assert ring.update() == before


def test_stretches_that_are_alike_are_kept_as_one() -> None:
    ring = founded()
    for n in range(16):
        ring.give(B, [run(n, n)])
    assert len(ring.update().stretches) == 1


OWNERS = st.sampled_from([A, B, C, Owner("a", "2")])


@st.composite
def updates(draw: st.DrawFn) -> Update:
    """Some of a history in which each rank of an address has one owner, as it has in all that peers do."""
    stretches = []
    for n in range(16):
        if draw(st.booleans()):
            rank = Rank(0, "", draw(st.integers(0, 2)))
            if draw(st.booleans()):
                rank = Rank(draw(st.integers(1, 2)), draw(st.sampled_from(["a/1", "b/1"])), rank.version)
            owner = [A, B, C][hash((n // 4, rank.takeovers, rank.taker == "a/1", rank.version)) % 3]
            stretches.append(Stretch(BASE + n, BASE + n, owner, rank))
    return Update(ID if stretches else "", tuple(stretches))


def merged(*heard: Update) -> Update:
    ring = Ring(RANGE, A)
    for each in heard:
        assert ring.merge(each).conflicts == ()
    return ring.update()


@given(updates(), updates(), updates())
def test_merging_is_commutative_associative_and_idempotent(one: Update, two: Update, three: Update) -> None:
    assert merged(one, two) == merged(two, one)
    assert merged(one, merged(two, three)) == merged(merged(one, two), three)
    assert merged(one, one) == merged(one)
    assert merged(merged(one, two), one) == merged(one, two)


@given(updates(), updates())
def test_a_merge_says_whether_anything_was_new(one: Update, two: Update) -> None:
    ring = Ring(RANGE, A)
    ring.merge(one)
    before = ring.update()
    assert ring.merge(two).changed == (ring.update() != before)


@given(updates())
def test_a_ring_survives_the_wire(update: Update) -> None:
    update = merged(update)
    assert decode_ring(encode_ring(update)) == update


class Peer:
    """A peer with what it knows, and its disk, which is written before anything is told."""

    def __init__(self, owner: Owner) -> None:
        self.ring = Ring(RANGE, owner)
        self.disk: bytes | None = None
        self.running = True

    def save(self) -> None:
        self.disk = encode_ring(self.ring.update())

    def may_own(self) -> set[int]:
        """Addresses that the peer owns, or would own after a crash at this moment."""
        after = Ring(RANGE, self.ring.me)
        if self.disk is not None:
            after.merge(decode_ring(self.disk))
        rings = [self.ring, after] if self.running else [after]
        runs = [each for ring in rings for each in ring.owned([run(0, 15)])]
        return {number for first, last in runs for number in range(first, last + 1)}


class Cluster(RuleBasedStateMachine):
    """Peers give, tell in any order with loss and repetition, crash, come back, lose their disk, or never return."""

    def __init__(self) -> None:
        super().__init__()
        self.peers: dict[str, Peer] = {}
        self.told: list[bytes] = []
        self.lives = 0

    @initialize(count=st.integers(2, 4), split=st.booleans())
    def start(self, count: int, split: bool) -> None:
        for name in "abcd"[:count]:
            self.peers[name] = Peer(Owner(name, "0"))
        first = self.peers["a"]
        first.ring.seed(ID, [each.ring.me for each in self.peers.values()] if split else [first.ring.me])
        first.save()

    def pick(self, data: st.DataObject, running: bool = True) -> Peer:
        return data.draw(st.sampled_from([each for each in self.peers.values() if each.running == running]))

    @precondition(lambda self: any(each.running for each in self.peers.values()))
    @rule(data=st.data(), first=st.integers(0, 15), size=st.integers(1, 8))
    def give(self, data: st.DataObject, first: int, size: int) -> None:
        donor = self.pick(data)
        owned = donor.ring.owned([run(first, min(first + size - 1, 15))])
        receiver = data.draw(st.sampled_from(sorted(self.peers)))
        if owned:
            donor.ring.give(self.peers[receiver].ring.me, owned[:2])
            donor.save()
            self.told.append(encode_ring(donor.ring.update()))

    @precondition(lambda self: any(each.running for each in self.peers.values()))
    @rule(data=st.data(), everything=st.booleans())
    def tell(self, data: st.DataObject, everything: bool) -> None:
        ring = self.pick(data).ring
        self.told.append(encode_ring(ring.update() if everything else ring.own_update()))

    @precondition(lambda self: self.told and any(each.running for each in self.peers.values()))
    @rule(data=st.data(), saved=st.booleans())
    def hear(self, data: st.DataObject, saved: bool) -> None:
        peer = self.pick(data)
        heard = peer.ring.merge(decode_ring(data.draw(st.sampled_from(self.told))))
        assert heard.conflicts == ()
        # What was heard need not be on disk, unless something else is done that must.
        if saved:
            peer.save()

    @precondition(lambda self: any(each.running for each in self.peers.values()))
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        self.pick(data).running = False

    @precondition(lambda self: any(not each.running for each in self.peers.values()))
    @rule(data=st.data(), disk_lost=st.booleans())
    def restart(self, data: st.DataObject, disk_lost: bool) -> None:
        peer = self.pick(data, running=False)
        owner = peer.ring.me
        if disk_lost:
            self.lives += 1
            owner, peer.disk = Owner(owner.name, str(self.lives)), None
        peer.ring = Ring(RANGE, owner)
        if peer.disk is not None:
            peer.ring.merge(decode_ring(peer.disk))
        peer.running = True

    @precondition(lambda self: len(self.peers) > 2 and any(not each.running for each in self.peers.values()))
    @rule(data=st.data())
    def take_over_from_one_that_never_returns(self, data: st.DataObject) -> None:
        gone = self.pick(data, running=False)
        running = [each for each in self.peers.values() if each.running]
        if not running or sum(not each.running for each in self.peers.values()) > 1:
            return  # all that it gave away must be known: the others are asked first
        heir = data.draw(st.sampled_from(running))
        for each in running:
            heir.ring.merge(each.ring.update())
        name = gone.ring.me.name
        if any(owner.name == name for owner, _ in heir.ring.owners([run(0, 15)])):
            heir.ring.take_over(name)
            heir.save()
        # Whatever it gave and nobody has heard of yet is still on its way, and must not come any more.
        del self.peers[name]
        self.told = [each for each in self.told if self.known_to_somebody(each)]

    def known_to_somebody(self, raw: bytes) -> bool:
        rings = [Ring(RANGE, A) for each in self.peers.values() if each.running]
        for ring, peer in zip(rings, (each for each in self.peers.values() if each.running), strict=True):
            ring.merge(peer.ring.update())
        return any(not ring.merge(decode_ring(raw)).changed for ring in rings)

    @invariant()
    def no_address_has_two_owners(self) -> None:
        owned = [number for peer in self.peers.values() for number in peer.may_own()]
        assert len(owned) == len(set(owned))

    @invariant()
    def what_is_heard_from_all_agrees(self) -> None:
        observer = Ring(RANGE, Owner("observer", "0"))
        for peer in self.peers.values():
            assert observer.merge(peer.ring.update()).conflicts == ()

    def teardown(self) -> None:
        for _ in range(2):
            for peer in self.peers.values():
                for other in self.peers.values():
                    peer.ring.merge(other.ring.update())
        assert len({peer.ring.update() for peer in self.peers.values()}) <= 1


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_an_address_names_its_peer_in_text() -> None:
    assert str(Stretch(int(IPv4Address("10.2.0.1")), int(IPv4Address("10.2.0.4")), A, Rank())) == "10.2.0.1-10.2.0.4"
