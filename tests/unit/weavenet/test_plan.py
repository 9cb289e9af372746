"""Plans, carried out on a model of the kernel."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from weavenet import plan
from weavenet.plan import Desired, Observed, Step

ID = "ca88a6e0" * 8
DNS = IPv4Network("10.2.254.0/24")
PATH = Path("/resolv.conf")
ADDRESSES = [
    IPv4Interface(each) for each in ("10.2.0.1/16", "10.2.0.2/16", "10.2.7.1/24", "10.2.7.9/24", "10.2.45.3/24")
]


def perform(step: Step, state: Observed) -> Observed:
    """What the kernel would show after a step; asserts that the step is possible and does something."""
    after = _perform(step, state)
    assert after != state or isinstance(step, plan.Announcement)
    return after


def _perform(step: Step, state: Observed) -> Observed:  # noqa: C901, PLR0911, PLR0912 - a table of what each step does
    match step:
        case plan.Leftover(host_end):
            assert (state.host_end, state.inside) == (host_end, False)
            return replace(state, host_end="", alias="", enslaved=False, host_up=False)
        case plan.Pair(host_end, mac, mtu, present=True):
            assert not state.host_end
            return replace(state, host_end=host_end, inside=True, mac=mac, host_mtu=mtu, mtu=mtu)
        case plan.Pair():
            return Observed(other_routes=state.other_routes, resolver=state.resolver)
        case plan.Resolver(_, text, before):
            assert state.resolver == before
            return replace(state, resolver=text)
        case plan.Alias(host_end, alias, before):
            assert (state.host_end, state.alias) == (host_end, before)
            return replace(state, alias=alias)
    assert state.inside
    match step:
        case plan.HostMtu(_, mtu, mtu_before):
            assert state.host_mtu == mtu_before
            return replace(state, host_mtu=mtu)
        case plan.InsideMtu(mtu, mtu_before):
            assert state.mtu == mtu_before
            return replace(state, mtu=mtu)
        case plan.Enslaved(_, present):
            return replace(state, enslaved=present)
        case plan.HostUp(_, present):
            return replace(state, host_up=present)
        case plan.Tuned(present):
            return replace(state, tuned=present)
        case plan.InsideUp(present):
            return replace(state, inside_up=present)
        case plan.Address(interface, present):
            rest = tuple(each for each in state.addresses if each != interface)
            return replace(state, addresses=(*rest, interface) if present else rest)
        case plan.Route(destination, present):
            assert state.inside_up
            return replace(state, routes=state.routes | {destination} if present else state.routes - {destination})
        case plan.Announcement():
            assert state.inside_up
            assert state.host_up
            assert state.enslaved
            assert state.tuned
    return state


@st.composite
def observations(draw: st.DrawFn) -> Observed:
    others = draw(st.frozensets(st.sampled_from([plan.MULTICAST, IPv4Network("0.0.0.0/0")])))
    resolver = draw(st.none() | st.binary(max_size=3))
    if draw(st.booleans()):
        return Observed(
            host_end=draw(st.sampled_from(["", plan.host_end_of(ID)])), other_routes=others, resolver=resolver
        )
    up = draw(st.booleans())
    return Observed(
        host_end="vethwepl123",
        alias=draw(st.sampled_from(["", ID])),
        enslaved=draw(st.booleans()),
        host_up=draw(st.booleans()),
        host_mtu=draw(st.sampled_from([1450, 1500])),
        inside=True,
        mac="02:00:00:00:00:01",
        mtu=draw(st.sampled_from([1450, 1500])),
        tuned=draw(st.booleans()),
        inside_up=up,
        addresses=tuple(draw(st.lists(st.sampled_from(ADDRESSES), unique=True))),
        routes=draw(st.frozensets(st.sampled_from([plan.MULTICAST, DNS]))) if up else frozenset(),
        other_routes=others,
        resolver=resolver,
    )


@st.composite
def wishes(draw: st.DrawFn) -> Desired:
    return Desired(
        container_id=ID,
        addresses=tuple(draw(st.lists(st.sampled_from(ADDRESSES), min_size=1, unique=True))),
        mtu=1500,
        dns_subnet=DNS,
        resolver_path=draw(st.sampled_from([None, PATH])),
        resolver=draw(st.none() | st.binary(max_size=3)),
    )


def carry_out(steps: list[Step], state: Observed) -> Observed:
    for step in steps:
        state = perform(step, state)
    return state


@given(observations(), wishes())
def test_an_attached_container_has_all_it_should_and_keeps_what_it_had(observed: Observed, desired: Desired) -> None:
    after = carry_out(plan.attach(observed, desired), observed)
    assert after.inside
    assert after.alias == ID
    assert after.enslaved
    assert after.host_up
    assert after.inside_up
    assert after.tuned
    assert (after.host_mtu, after.mtu) == (1500, 1500)
    assert set(after.addresses) == {*observed.addresses, *desired.addresses}
    assert plan.MULTICAST in after.routes | after.other_routes
    assert DNS in after.routes or any(DNS.subnet_of(each.network) for each in after.addresses)
    if desired.resolver is not None and desired.resolver_path and observed.resolver is not None:
        assert after.resolver == desired.resolver
    else:
        assert after.resolver == observed.resolver


@given(observations(), wishes())
def test_attaching_again_does_nothing(observed: Observed, desired: Desired) -> None:
    after = carry_out(plan.attach(observed, desired), observed)
    assert plan.attach(after, desired) == []


@given(observations(), wishes(), st.data())
def test_undoing_any_part_of_a_plan_gives_the_start(
    observed: Observed, desired: Desired, data: st.DataObject
) -> None:
    steps = plan.attach(observed, desired)
    done = steps[: data.draw(st.integers(0, len(steps)))]
    state = carry_out(done, observed)
    for step in reversed(done):
        undo = plan.undo(step)
        state = perform(undo, state) if undo else state
    start = observed
    if any(isinstance(step, plan.Leftover) for step in done):
        start = replace(start, host_end="")
    assert replace(state, addresses=()) == replace(start, addresses=())
    assert set(state.addresses) == set(start.addresses)


@given(observations(), wishes(), st.data())
def test_a_detached_address_goes_and_the_others_stay_with_a_way_to_dns(
    observed: Observed, desired: Desired, data: st.DataObject
) -> None:
    state = carry_out(plan.attach(observed, desired), observed)
    leave = tuple(data.draw(st.lists(st.sampled_from(state.addresses), min_size=1, unique=True)))
    after = carry_out(plan.detach(state, leave, replace(desired, resolver=b"original")), state)
    assert set(after.addresses) == set(leave)
    assert DNS in after.routes or any(DNS.subnet_of(each.network) for each in leave)
    assert after.resolver == state.resolver


@given(observations(), wishes())
def test_a_container_without_an_address_left_has_no_interface_and_its_own_resolver(
    observed: Observed, desired: Desired
) -> None:
    desired = replace(desired, resolver_path=PATH)
    state = carry_out(plan.attach(observed, desired), observed)
    after = carry_out(plan.detach(state, (), replace(desired, resolver=b"original")), state)
    assert not after.inside
    assert not after.host_end
    assert after.resolver == (None if observed.resolver is None else b"original")


def test_the_host_end_has_a_name_that_the_kernel_takes() -> None:
    assert plan.host_end_of(ID) == "vethweca88a6e0c"
    assert len(plan.host_end_of(ID)) == 15


def test_a_containers_mac_is_its_own_and_stays() -> None:
    macs = {plan.mac_of(f"{n:064x}") for n in range(1000)}
    assert len(macs) == 1000
    assert {int(mac[:2], 16) & 3 for mac in macs} == {2}
    assert plan.mac_of(ID) == plan.mac_of(ID)
