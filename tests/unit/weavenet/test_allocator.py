"""Which addresses are given out, to whom, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from weavenet.endpoint import Default, Explicit, InSubnet, Off, parse
from weavenet.errors import AddressInUseError, EndpointError, NoAddressError
from weavenet.ipam.allocator import HOLD_S, Allocator

RANGE = IPv4Network("10.2.0.0/16")
DNS = IPv4Network("10.2.254.0/24")
REDIS = "ca88a6e0" * 8
WEB = "beef1234" * 8


def make(default: str = "10.2.0.0/16", *, weave_range: str = "10.2.0.0/16", dns: str = "10.2.254.0/24") -> Allocator:
    return Allocator(IPv4Network(weave_range), IPv4Network(dns), IPv4Network(default), host="h1")


def obtain(allocator: Allocator, holder: str, spelled: str, now: float = 0.0) -> str:
    return str(allocator.obtain(holder, holder[:4], parse(spelled), now))


def test_the_default_is_the_lowest_free_address_with_the_prefix_of_the_range() -> None:
    allocator = make()
    assert [obtain(allocator, f"c{n}", "") for n in range(3)] == ["10.2.0.1/16", "10.2.0.2/16", "10.2.0.3/16"]


def test_the_default_comes_from_the_default_subnet_with_its_prefix() -> None:
    assert obtain(make("10.2.9.0/24"), WEB, "") == "10.2.9.1/24"


def test_an_address_without_a_prefix_takes_that_of_the_range() -> None:
    assert obtain(make("10.2.9.0/24"), WEB, "10.2.45.3") == "10.2.45.3/16"


def test_a_free_gap_is_filled_first() -> None:
    allocator = make()
    for n in range(5):
        obtain(allocator, f"c{n}", "")
    allocator.removed("c1")
    assert obtain(allocator, "new", "") == "10.2.0.2/16"


def test_a_container_asking_again_gets_what_it_has() -> None:
    allocator = make()
    first = obtain(allocator, WEB, "net:10.2.67.0/24")
    assert obtain(allocator, WEB, "net:10.2.67.0/24") == first
    assert obtain(allocator, WEB, first) == first
    assert len(list(allocator)) == 1


def test_a_container_has_an_address_in_each_subnet_it_asks_for() -> None:
    allocator = make()
    assert [obtain(allocator, WEB, each) for each in ("", "net:10.2.67.0/24", "10.2.45.3/24")] == [
        "10.2.0.1/16",
        "10.2.67.1/24",
        "10.2.45.3/24",
    ]


def test_addresses_that_end_in_0_or_255_are_never_chosen_but_had_by_number() -> None:
    allocator = make()
    chosen = {obtain(allocator, f"c{n}", "net:10.2.8.0/22") for n in range(1016)}
    assert not {each.split("/")[0].split(".")[3] for each in chosen} & {"0", "255"}
    with pytest.raises(NoAddressError, match=r"no free address is left in 10\.2\.8\.0/22"):
        obtain(allocator, "one", "net:10.2.8.0/22")
    assert obtain(allocator, "one", "10.2.9.0/22") == "10.2.9.0/22"


def test_reserved_first_and_last_addresses_are_never_chosen() -> None:
    allocator = make("10.9.0.0/29", weave_range="10.9.0.0/29", dns="10.9.0.4/30")
    assert [obtain(allocator, f"c{n}", "") for n in range(3)] == ["10.9.0.1/29", "10.9.0.2/29", "10.9.0.3/29"]
    with pytest.raises(NoAddressError, match=r"10\.9\.0\.0/29"):
        obtain(allocator, "c3", "")


@pytest.mark.parametrize(
    ("spelled", "told"),
    [
        ("10.3.0.1/24", "10.2.0.0/16"),
        ("10.2.0.1/8", "10.2.0.0/16"),
        ("net:10.3.0.0/24", "10.2.0.0/16"),
        ("net:10.0.0.0/8", "10.2.0.0/16"),
        ("10.2.254.7/16", "reserved for DNS"),
        ("10.2.254.7/24", "reserved for DNS"),
        ("net:10.2.254.0/24", "reserved for DNS"),
        ("net:10.2.254.128/26", "reserved for DNS"),
        ("10.2.45.255/24", "last"),
        ("10.2.0.0", "first"),
        ("10.2.255.255", "last"),
        ("none", "no address"),
    ],
)
def test_an_address_that_no_container_may_have_is_refused_with_the_reason(spelled: str, told: str) -> None:
    allocator = make()
    with pytest.raises(EndpointError) as caught:
        obtain(allocator, WEB, spelled)
    assert told in str(caught.value)
    assert not list(allocator)


def test_an_address_in_use_is_refused_naming_its_container_and_host() -> None:
    allocator = make()
    allocator.obtain(REDIS, "redis", parse("10.2.45.3/24"), 0.0)
    with pytest.raises(AddressInUseError) as caught:
        obtain(allocator, WEB, "10.2.45.3/24")
    assert str(caught.value) == "10.2.45.3 is in use by container redis (ca88a6e0ca88) on host h1"


def test_an_address_is_not_had_with_two_prefixes() -> None:
    allocator = make()
    obtain(allocator, WEB, "10.2.45.3/24")
    with pytest.raises(EndpointError, match=r"already has 10\.2\.45\.3/24"):
        obtain(allocator, WEB, "10.2.45.3/16")


def test_a_dead_containers_address_is_kept_for_it_alone_for_half_a_minute() -> None:
    allocator = make()
    obtain(allocator, REDIS, "", 100.0)
    allocator.died(REDIS, 200.0)
    assert obtain(allocator, WEB, "", 200.0 + HOLD_S - 0.01) == "10.2.0.2/16"
    with pytest.raises(AddressInUseError, match="is kept for container"):
        obtain(allocator, WEB, "10.2.0.1/16", 200.0 + HOLD_S - 0.01)
    assert obtain(allocator, WEB, "10.2.0.1/16", 200.0 + HOLD_S) == "10.2.0.1/16"


def test_a_restarted_container_gets_its_address_again_even_late_when_it_is_still_free() -> None:
    allocator = make()
    obtain(allocator, "first", "")
    obtain(allocator, REDIS, "")
    allocator.removed("first")
    allocator.died(REDIS, 0.0)
    assert obtain(allocator, REDIS, "", 1000.0) == "10.2.0.2/16"


def test_a_restarted_container_whose_address_went_to_another_gets_the_next() -> None:
    allocator = make()
    obtain(allocator, REDIS, "")
    allocator.died(REDIS, 0.0)
    obtain(allocator, WEB, "", HOLD_S)
    assert obtain(allocator, REDIS, "", HOLD_S) == "10.2.0.2/16"
    assert allocator.in_use(REDIS) == [IPv4Interface("10.2.0.2/16")]


def test_a_second_death_does_not_prolong_the_first() -> None:
    allocator = make()
    obtain(allocator, REDIS, "")
    allocator.died(REDIS, 0.0)
    allocator.died(REDIS, HOLD_S - 1)
    assert obtain(allocator, WEB, "", HOLD_S) == "10.2.0.1/16"


def test_a_removed_containers_address_is_free_at_once() -> None:
    allocator = make()
    obtain(allocator, REDIS, "")
    allocator.died(REDIS, 0.0)
    allocator.removed(REDIS)
    assert obtain(allocator, WEB, "", 0.0) == "10.2.0.1/16"


def test_what_the_kernel_shows_in_use_is_never_given_out() -> None:
    allocator = make()
    allocator.adopt(REDIS, "redis", IPv4Interface("10.2.0.1/16"), 0.0)
    assert obtain(allocator, WEB, "") == "10.2.0.2/16"
    with pytest.raises(AddressInUseError, match="container redis"):
        allocator.adopt(WEB, "web", IPv4Interface("10.2.0.1/16"), 0.0)


def test_reinstating_takes_back_what_was_obtained_since() -> None:
    allocator = make()
    obtain(allocator, REDIS, "")
    allocator.died(REDIS, 5.0)
    before = allocator.claims_of(REDIS)
    obtain(allocator, REDIS, "", 6.0)
    obtain(allocator, REDIS, "net:10.2.7.0/24", 6.0)
    allocator.reinstate(REDIS, before)
    assert allocator.claims_of(REDIS) == before
    assert [claim.held_until for claim in allocator] == [5.0 + HOLD_S]


@pytest.mark.parametrize(
    ("weave_range", "dns", "default"),
    [
        ("10.2.0.0/16", "10.3.254.0/24", "10.2.0.0/16"),
        ("10.2.0.0/16", "10.2.254.0/24", "10.4.0.0/24"),
        ("10.2.0.0/16", "10.2.254.0/24", "10.2.254.0/25"),
        ("10.2.0.0/16", "10.2.254.0/31", "10.2.0.0/16"),
    ],
)
def test_subnets_that_do_not_fit_into_the_range_are_refused(weave_range: str, dns: str, default: str) -> None:
    with pytest.raises(EndpointError):
        make(default, weave_range=weave_range, dns=dns)


class Addresses(RuleBasedStateMachine):
    """Random asking, dying and leaving, against a model that only knows who uses what, and until when it is kept."""

    HOLDERS = st.sampled_from(["a", "b", "c", "d", "e"])
    SUBNETS = st.sampled_from([IPv4Network(each) for each in ("10.2.0.0/27", "10.2.0.0/29", "10.2.0.8/29")])

    def __init__(self) -> None:
        super().__init__()
        self.weave_range = IPv4Network("10.2.0.0/27")
        self.dns = IPv4Network("10.2.0.16/30")
        self.allocator = Allocator(self.weave_range, self.dns, self.weave_range, host="h1")
        self.now = 0.0
        self.used: dict[IPv4Address, tuple[str, IPv4Network]] = {}
        self.kept: dict[IPv4Address, tuple[str, float]] = {}

    def free_for(self, holder: str, address: IPv4Address) -> bool:
        keeper, until = self.kept.get(address, (holder, 0.0))
        return address not in self.used and (keeper == holder or until <= self.now)

    def candidates(self, subnet: IPv4Network) -> list[IPv4Address]:
        return [each for each in subnet.hosts() if each not in self.dns]

    def attempt(self, work: Callable[[], IPv4Interface], holder: str) -> IPv4Interface | None:
        before = list(self.allocator)
        try:
            interface = work()
        except (EndpointError, AddressInUseError, NoAddressError):
            assert list(self.allocator) == before
            return None
        self.used[interface.ip] = holder, interface.network
        self.kept.pop(interface.ip, None)
        return interface

    @rule(holder=HOLDERS, subnet=SUBNETS, default=st.booleans())
    def ask_for_any(self, holder: str, subnet: IPv4Network, default: bool) -> None:
        endpoint = Default() if default else InSubnet(subnet)
        subnet = self.weave_range if default else subnet
        own = [each for each, use in self.used.items() if use == (holder, subnet)]
        free = [each for each in self.candidates(subnet) if self.free_for(holder, each)]
        others = [each for each in free if self.kept.get(each, ("", 0.0))[0] != holder]
        given = self.attempt(lambda: self.allocator.obtain(holder, holder, endpoint, self.now), holder)
        if own:
            assert given is not None
            assert given.ip in own
        elif given is None:
            assert not [each for each in free if each not in self.kept or self.kept[each][1] <= self.now]
        else:
            assert given.network == subnet
            assert given.ip in free
            assert given.ip not in others or given.ip == min(others)

    @rule(holder=HOLDERS, number=st.integers(0, 40), prefix_len=st.sampled_from([27, 29]))
    def ask_for_one(self, holder: str, number: int, prefix_len: int) -> None:
        address = IPv4Address("10.2.0.0") + number
        allowed = (
            address in self.candidates(self.weave_range)
            and address in IPv4Interface((address, prefix_len)).network.hosts()
        )
        free = self.free_for(holder, address) or self.used.get(address) == (
            holder,
            IPv4Interface((address, prefix_len)).network,
        )
        given = self.attempt(
            lambda: self.allocator.obtain(holder, holder, Explicit(address, prefix_len), self.now), holder
        )
        assert (given is not None) == (allowed and free)

    @rule(holder=HOLDERS)
    def ask_for_none(self, holder: str) -> None:
        assert self.attempt(lambda: self.allocator.obtain(holder, holder, Off(), self.now), holder) is None

    @rule(holder=HOLDERS)
    def die(self, holder: str) -> None:
        self.allocator.died(holder, self.now)
        for address, (user, _) in list(self.used.items()):
            if user == holder:
                del self.used[address]
                self.kept[address] = holder, self.now + HOLD_S

    @rule(holder=HOLDERS)
    def be_removed(self, holder: str) -> None:
        self.allocator.removed(holder)
        self.used = {address: use for address, use in self.used.items() if use[0] != holder}
        self.kept = {address: keep for address, keep in self.kept.items() if keep[0] != holder}

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def detach_one(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(sorted(self.used)))
        self.allocator.release(self.used[address][0], address)
        del self.used[address]

    @rule(seconds=st.sampled_from([0.5, HOLD_S - 1, HOLD_S]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def everybody_uses_what_they_were_given_and_nobody_else_does(self) -> None:
        in_use = [claim for claim in self.allocator if claim.held_until is None]
        assert {claim.interface.ip: (claim.holder, claim.interface.network) for claim in in_use} == self.used
        assert len({claim.interface.ip for claim in self.allocator}) == len(list(self.allocator))


TestAddresses = Addresses.TestCase
TestAddresses.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
