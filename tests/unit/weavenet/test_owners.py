"""Several hosts give out addresses of one range, each of its own part, whatever the others hear of it."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from weavenet.endpoint import Default, Endpoint, Explicit, InSubnet
from weavenet.errors import AddressInUseError, EndpointError, NoAddressError, RingWireError
from weavenet.ipam import allocator as allocator_module
from weavenet.ipam.allocator import HOLD_S, Allocator, Wanted
from weavenet.ipam.asked import WAITS_S
from weavenet.ipam.gifts import to_give
from weavenet.ipam.ring import Owner, Ring
from weavenet.ipam.runs import free_runs
from weavenet.ipam.wire import SharedClaim, claim_key, decode_ring, encode_claim, encode_ring

RANGE = IPv4Network("10.2.0.0/26")
DNS = IPv4Network("10.2.0.48/28")
SUBNETS = [IPv4Network(each) for each in ("10.2.0.0/29", "10.2.0.32/29")]

EVERYTHING = (int(RANGE.network_address), int(RANGE.broadcast_address))

_T = TypeVar("_T")


class Host:
    """A host with its allocator and ring, what is on its disk, and what its kernel shows."""

    def __init__(self, name: str) -> None:
        self.me = Owner(name, "1")
        self.used: dict[str, set[IPv4Interface]] = {}
        self.dns: IPv4Address | None = None
        self.disk = b""
        self.start()

    def start(self) -> None:
        self.ring = Ring(RANGE, self.me)
        if self.disk:
            self.ring.merge(decode_ring(self.disk))
        self.allocator = Allocator(RANGE, DNS, RANGE, host=self.me.name, ring=self.ring)

    def save(self) -> bytes:
        self.disk = encode_ring(self.ring.update())
        return self.disk

    def addresses(self) -> list[IPv4Address]:
        own = [self.dns] if self.dns else []
        return own + [each.ip for used in self.used.values() for each in used]


class Hosts(RuleBasedStateMachine):
    """Containers come and go, gifts arrive or do not, claims are heard or not, daemons restart."""

    NAMES = st.sampled_from(["a", "b", "c"])
    HOLDERS = st.sampled_from(["x", "y", "z", "w"])
    GIFTS = st.lists(st.sampled_from([True, True, False]), min_size=1, max_size=4)

    def __init__(self) -> None:
        super().__init__()
        self.hosts = {name: Host(name) for name in "abc"}
        self.now = 0.0

    @initialize(split=st.booleans())
    def share_out(self, split: bool) -> None:
        first = self.hosts["a"]
        owners = [host.me for host in self.hosts.values()] if split else [first.me]
        first.ring.seed("a/1", owners, apart=first.allocator.space.dns_runs())
        for host in self.hosts.values():
            host.ring.merge(first.ring.update())
            host.save()

    @rule(name=NAMES, holder=HOLDERS, subnet=st.sampled_from([None, *SUBNETS]), gifts=GIFTS)
    def attach(self, name: str, holder: str, subnet: IPv4Network | None, gifts: list[bool]) -> None:
        host = self.hosts[name]
        endpoint: Endpoint = Default() if subnet is None else InSubnet(subnet)
        found = self.asking(host, lambda: host.allocator.request(name + holder, holder, endpoint, self.now), gifts)
        if found is not None:
            assert found.ip not in DNS
            host.used.setdefault(name + holder, set()).add(found)

    @rule(name=NAMES, holder=HOLDERS, number=st.integers(1, 12), gifts=GIFTS)
    def attach_by_number(self, name: str, holder: str, number: int, gifts: list[bool]) -> None:
        """Nobody attaches without the owner, which alone could lead to an address in use twice."""
        host, address = self.hosts[name], IPv4Address("10.2.0.0") + number
        for heard in gifts:
            try:
                found = host.allocator.request(name + holder, holder, Explicit(address), self.now)
            except (AddressInUseError, EndpointError):
                return
            if not isinstance(found, Wanted):
                host.used.setdefault(name + holder, set()).add(found)
                return
            assert found.address == address
            owner = self.hosts[found.owners[0]]
            owner.ring.merge(host.ring.of_address(int(address)))
            try:
                owner.allocator.give_by_number(host.me, address, self.now)
            except AddressInUseError:
                return
            told = owner.save()
            if heard:
                host.ring.merge(decode_ring(told))
                host.save()

    @rule(name=NAMES, gifts=GIFTS)
    def have_a_dns_address(self, name: str, gifts: list[bool]) -> None:
        host = self.hosts[name]
        carried = [host.dns] if host.dns else []
        found = self.asking(host, lambda: host.allocator.claim_dns(None, carried, self.now), gifts)
        if found is not None:
            assert host.dns in {None, found}
            host.dns = found

    def asking(self, host: Host, ask: Callable[[], _T | Wanted], gifts: list[bool]) -> _T | None:
        """What an allocator finds when those it names are asked; each answer arrives or does not."""
        for heard in gifts:
            try:
                found = ask()
            except NoAddressError:
                return None
            if not isinstance(found, Wanted):
                return found
            assert found.owners
            assert host.me.name not in found.owners
            self.give(found.owners[0], host.me.name, found.subnet, heard)
        return None

    @rule(name=NAMES, holder=HOLDERS, removed=st.booleans())
    def end(self, name: str, holder: str, removed: bool) -> None:
        host = self.hosts[name]
        host.used.pop(name + holder, None)
        if removed:
            host.allocator.removed(name + holder)
        else:
            host.allocator.died(name + holder, self.now)

    @rule(donor=NAMES, receiver=NAMES, subnet=st.sampled_from([*SUBNETS, RANGE, DNS]), heard=st.booleans())
    def give(self, donor: str, receiver: str, subnet: IPv4Network, heard: bool) -> None:
        if donor == receiver:
            return
        asker = self.hosts[receiver]
        self.hosts[donor].allocator.donate(asker.me, subnet, asker.ring.owned([EVERYTHING]), self.now)
        told = self.hosts[donor].save()
        if heard:
            self.hosts[receiver].ring.merge(decode_ring(told))
            self.hosts[receiver].save()

    @rule(speaker=NAMES, listener=NAMES)
    def tell_claims(self, speaker: str, listener: str) -> None:
        if speaker != listener:
            for key, value in self.hosts[speaker].allocator.news(self.now).items():
                self.hosts[listener].allocator.foreign.heard(speaker, key, value)

    @rule(name=NAMES)
    def restart(self, name: str) -> None:
        host = self.hosts[name]
        host.start()
        for holder, used in host.used.items():
            for interface in used:
                host.allocator.adopt(holder, holder, interface, self.now)
        if host.dns:
            host.allocator.claim_dns(None, [host.dns], self.now)

    @rule(seconds=st.sampled_from([1.0, HOLD_S]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def no_address_is_used_twice(self) -> None:
        addresses = [each for host in self.hosts.values() for each in host.addresses()]
        assert len(addresses) == len(set(addresses))


TestHosts = Hosts.TestCase
TestHosts.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)


def pair() -> tuple[Allocator, Allocator, Ring]:
    """Hosts a and b; a owns the lower half."""
    rings = [Ring(RANGE, Owner(name, "1")) for name in "ab"]
    rings[0].seed("a/1", [ring.me for ring in rings])
    rings[1].merge(rings[0].update())
    one, other = (Allocator(RANGE, DNS, RANGE, host=ring.me.name, ring=ring) for ring in rings)
    return one, other, rings[0]


def test_a_full_part_says_whom_to_ask() -> None:
    one, _, _ = pair()
    for n in range(31):
        one.obtain(f"c{n}", "c", Default(), 0.0)
    assert one.request("more", "c", Default(), 0.0) == Wanted(RANGE, ("b",))
    with pytest.raises(NoAddressError, match=r"host a owns no free address in 10\.2\.0\.0/26: ask b"):
        one.obtain("more", "c", Default(), 0.0)


OF_B = IPv4Address("10.2.0.40")


def test_an_address_asked_for_by_number_is_to_be_given_by_its_owner() -> None:
    one, other, ring = pair()
    assert one.request("c", "redis", Explicit(OF_B), 0.0) == Wanted(IPv4Network("10.2.0.40/32"), ("b",))
    other.give_by_number(ring.me, OF_B, 0.0)
    assert other._ring is not None
    ring.merge(other._ring.update())
    assert one.request("c", "redis", Explicit(OF_B), 0.0) == IPv4Interface("10.2.0.40/26")
    assert one.strays() == []


def test_an_address_waits_for_the_container_that_asked_for_it_by_number() -> None:
    one, other, ring = pair()
    one.request("c", "redis", Explicit(OF_B), 0.0)
    for n in range(31):
        one.obtain(f"c{n}", "c", Default(), 0.0)
    other.give_by_number(ring.me, OF_B, 0.0)
    assert other._ring is not None
    ring.merge(other._ring.update())
    assert isinstance(one.request("more", "c", Default(), 1.0), Wanted)
    told = r"10\.2\.0\.40 is asked for by container redis \(c\) on host a"
    with pytest.raises(AddressInUseError, match=told):
        one.request("more", "c", Explicit(OF_B), 1.0)
    with pytest.raises(AddressInUseError, match=told):
        one.give_by_number(Owner("c", "1"), OF_B, 1.0)
    one.donate(Owner("c", "1"), IPv4Network("10.2.0.40/30"), (), 1.0)
    assert ring.owned([(int(OF_B), int(OF_B))])
    one.removed("c")
    assert one.request("more", "c", Default(), 1.0) == IPv4Interface("10.2.0.40/26")


def test_an_address_that_nobody_came_for_is_free_after_a_while() -> None:
    one, other, ring = pair()
    one.request("c", "redis", Explicit(OF_B), 0.0)
    other.give_by_number(ring.me, OF_B, 0.0)
    assert other._ring is not None
    ring.merge(other._ring.update())
    assert one.request("d", "d", Explicit(OF_B), WAITS_S) == IPv4Interface("10.2.0.40/26")


def test_without_its_owner_an_address_is_claimed_and_known_as_a_stray() -> None:
    one, _, _ = pair()
    one.request("c", "redis", Explicit(OF_B), 0.0)
    one.asked.settle(int(OF_B))
    assert one.request("c", "redis", Explicit(OF_B), 0.0) == IPv4Interface("10.2.0.40/26")
    assert one.strays() == [(int(OF_B), "b")]
    # What the container had it has again, whoever is there.
    one.died("c", 20.0)
    assert one.request("c", "redis", Explicit(OF_B), 30.0) == IPv4Interface("10.2.0.40/26")


def test_an_owner_gives_by_number_what_nobody_but_the_asker_has() -> None:
    one, other, ring = pair()
    for speaker in ("a", "c"):
        other.foreign.heard(speaker, claim_key(OF_B), encode_claim(SharedClaim(26, speaker, speaker)))
    with pytest.raises(AddressInUseError, match="in use by container c "):
        other.give_by_number(ring.me, OF_B, 0.0)
    other.foreign.forget("c")
    other.obtain("d", "d", Explicit(OF_B + 1), 0.0)
    with pytest.raises(AddressInUseError, match=r"in use by container d \(d\) on host b"):
        other.give_by_number(ring.me, OF_B + 1, 0.0)
    other.give_by_number(ring.me, OF_B, 0.0)
    assert other._ring is not None
    assert other._ring.owned([(int(OF_B), int(OF_B))], ring.me)
    # What is not its own it leaves alone.
    one.give_by_number(Owner("b", "1"), OF_B, 0.0)


def test_a_ring_in_many_pieces_is_not_cut_for_a_single_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator_module, "MAX_PIECES_BY_NUMBER", 2)
    _, other, ring = pair()
    other.give_by_number(ring.me, OF_B, 0.0)
    assert other._ring is not None
    assert other._ring.owned([(int(OF_B), int(OF_B))])


def test_when_everybody_is_full_there_is_no_address() -> None:
    one, other, _ = pair()
    for n in range(31):
        one.obtain(f"c{n}", "c", Default(), 0.0)
    for n in range(16):
        other.obtain(f"d{n}", "d", Default(), 0.0)
    for key, value in other.news(0.0).items():
        one.foreign.heard("b", key, value)
    with pytest.raises(NoAddressError, match="no free address is left"):
        one.request("more", "c", Default(), 0.0)


def test_without_a_ring_nobody_is_to_be_asked_yet() -> None:
    ring = Ring(RANGE, Owner("a", "1"))
    allocator = Allocator(RANGE, DNS, RANGE, host="a", ring=ring)
    assert allocator.request("c", "c", Default(), 0.0) == Wanted(RANGE, ())
    with pytest.raises(NoAddressError, match="nobody knows yet"):
        allocator.obtain("c", "c", Default(), 0.0)


def test_who_knows_what_it_owns_and_still_asks_is_given_more_and_who_does_not_know_is_not() -> None:
    allocator, _, ring = pair()
    asker, subnet = Owner("b", "1"), SUBNETS[0]
    allocator.donate(asker, subnet, (), 0.0)
    given = ring.owned([EVERYTHING], asker)
    allocator.donate(asker, subnet, (), 0.0)
    assert ring.owned([EVERYTHING], asker) == given
    # It has heard that somebody uses what it was given, which the giver has not.
    allocator.donate(asker, subnet, given, 0.0)
    assert ring.owned([EVERYTHING], asker) != given


def test_nobody_is_given_addresses_that_it_could_not_choose() -> None:
    weave_range = IPv4Network("10.2.0.0/22")
    owner, other = Owner("a", "1"), Owner("b", "1")
    ring = Ring(weave_range, owner)
    ring.seed("a/1", [owner])
    allocator = Allocator(weave_range, IPv4Network("10.2.3.192/26"), weave_range, host="a", ring=ring)
    subnet = IPv4Network("10.2.0.0/23")
    for number in range(508):
        allocator.obtain(f"c{number}", "c", InSubnet(subnet), 0.0)
    allocator.removed("c253")
    allocator.removed("c300")
    # Left are 10.2.0.254 - 10.2.1.0 and 10.2.1.47: what is given has one to choose, and so has what is kept.
    everything = [(int(subnet.network_address), int(subnet.broadcast_address))]
    allocator.donate(other, subnet, (), 0.0)
    [(first, last)] = ring.owned(everything, other)
    assert str(IPv4Address(first)) == str(IPv4Address(last)) == "10.2.0.254"
    assert allocator.has_free(subnet, 0.0)
    for name in "cd":
        allocator.donate(Owner(name, "1"), subnet, (), 0.0)
    assert [len(ring.owned(everything, Owner(name, "1"))) for name in "cd"] == [1, 0]
    assert ring.owned([(int(IPv4Address("10.2.0.255")), int(IPv4Address("10.2.1.0")))])


def test_what_somebody_uses_elsewhere_is_not_given_out_even_by_its_owner() -> None:
    one, _, _ = pair()
    one.foreign.heard("b", claim_key(IPv4Address("10.2.0.1")), encode_claim(SharedClaim(26, "d", "d")))
    assert one.obtain("c", "c", Default(), 0.0) == IPv4Interface("10.2.0.2/26")


def test_what_the_kernel_shows_is_claimed_even_if_somebody_uses_it_elsewhere_and_that_is_a_conflict() -> None:
    one, _, _ = pair()
    used = IPv4Interface("10.2.0.1/26")
    one.foreign.heard("b", claim_key(used.ip), encode_claim(SharedClaim(26, "d" * 12, "web")))
    one.adopt("c" * 64, "redis", used, 0.0)
    assert one.in_use("c" * 64) == [used]
    (conflict,) = one.conflicts()
    assert str(conflict).startswith(
        "10.2.0.1 is in use by container redis (cccccccccccc) on host a "
        "and by container web (dddddddddddd) on host b: "
    )


def test_news_are_told_once_and_also_when_an_address_is_no_longer_kept() -> None:
    one, _, _ = pair()
    used = one.obtain("c", "redis", Default(), 0.0)
    key = claim_key(used.ip)
    assert one.news(0.0) == {key: encode_claim(SharedClaim(26, "c", "redis"))}
    assert one.news(0.0) == {}
    one.died("c", 1.0)
    assert one.news(1.0) == {key: encode_claim(SharedClaim(26, "c", "redis", kept=True))}
    assert one.news(HOLD_S) == {}
    assert one.news(1.0 + HOLD_S) == {key: None}
    one.removed("c")
    assert one.news(2.0 + HOLD_S) == {key: None}


def test_a_stopped_container_does_not_get_back_what_was_given_away_since() -> None:
    one, _, ring = pair()
    one.obtain("c", "c", Default(), 0.0)
    one.died("c", 0.0)
    number = int(IPv4Address("10.2.0.1"))
    ring.give(Owner("b", "1"), [(number, number)])
    assert one.obtain("c", "c", Default(), HOLD_S) == IPv4Interface("10.2.0.2/26")


def test_a_claim_of_another_host_on_what_a_stopped_container_had_counts() -> None:
    one, _, _ = pair()
    one.obtain("c", "c", Default(), 0.0)
    one.died("c", 0.0)
    one.foreign.heard("b", claim_key(IPv4Address("10.2.0.1")), encode_claim(SharedClaim(26, "d", "d")))
    assert one.obtain("c", "c", Default(), 1.0) == IPv4Interface("10.2.0.2/26")


def test_two_claims_on_one_address_are_both_kept_until_each_is_withdrawn() -> None:
    one, _, _ = pair()
    key = claim_key(IPv4Address("10.2.0.1"))
    for peer in ("b", "c"):
        one.foreign.heard(peer, key, encode_claim(SharedClaim(26, "d", "d")))
    one.foreign.heard("b", key, None)
    one.foreign.heard("b", key, None)
    assert int(IPv4Address("10.2.0.1")) in one.foreign
    assert one.foreign.forget("c") == [int(IPv4Address("10.2.0.1"))]
    assert list(one.foreign) == []


def test_names_of_other_hosts_containers_cannot_spoil_a_terminal() -> None:
    one, _, _ = pair()
    claim = SharedClaim(26, "d\x1b[2J", "we\x1b[31mb\n")
    one.foreign.heard("b", claim_key(IPv4Address("10.2.0.1")), encode_claim(claim))
    with pytest.raises(AddressInUseError) as caught:
        one._refuse_taken("c", IPv4Address("10.2.0.1"), 0.0)
    assert str(caught.value).isprintable()


def test_a_claim_outside_the_range_is_refused() -> None:
    one, _, _ = pair()
    with pytest.raises(RingWireError, match="not in the weave range"):
        one.foreign.heard("b", claim_key(IPv4Address("10.3.0.1")), encode_claim(SharedClaim(26, "d", "d")))


@pytest.mark.parametrize(
    ("taken", "free"),
    [
        ([], [(1, 20)]),
        ([1], [(2, 20)]),
        ([20], [(1, 19)]),
        ([5, 6, 9], [(1, 4), (7, 8), (10, 20)]),
        ([0, 21], [(1, 20)]),
    ],
)
def test_free_runs_lie_between_what_is_taken(taken: list[int], free: list[tuple[int, int]]) -> None:
    assert free_runs([(1, 10), (11, 20)], taken) == free


@pytest.mark.parametrize(
    ("free", "given", "lowest"),
    [
        ([], [], []),
        ([(7, 7)], [(7, 7)], [(7, 7)]),
        ([(6, 7)], [(7, 7)], [(6, 6)]),
        ([(1, 2), (10, 17)], [(14, 17)], [(1, 1), (14, 17)]),
        ([(1, 65022)], [(32768, 65022)], [(1, 1), (32768, 65022)]),
    ],
)
def test_half_of_the_largest_run_is_given(
    free: list[tuple[int, int]], given: list[tuple[int, int]], lowest: list[tuple[int, int]]
) -> None:
    assert to_give(free, lowest=False) == given
    assert to_give(free, lowest=True) == lowest
