"""Containers on the weave bridge: attached, reached, detached, and left as they were when something fails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface
from typing import Any

import pytest

from tests.linux.boxes import ORIGINAL, Box, Host, addresses_of, open_descriptors
from weavenet import plan, veth
from weavenet.bridge import Port
from weavenet.endpoint import parse
from weavenet.errors import (
    AddressInUseError,
    ContainerGoneError,
    EndpointError,
    NetworkError,
    NotAttachedError,
    ResolverMovedError,
)
from weavenet.ipam.claims import Claim

pytestmark = pytest.mark.linux
Boxes = Callable[..., Any]


@dataclass(frozen=True)
class Picture:
    """All that an attach may change."""

    host_links: tuple[str, ...]
    inside_links: tuple[tuple[str, bool], ...]
    addresses: frozenset[IPv4Interface]
    routes: frozenset[str]
    claims: tuple[Claim, ...]
    resolv_conf: bytes


def picture(host: Host, box: Box) -> Picture:
    return Picture(
        host_links=tuple(
            f"{link.name} {link.alias} {link.master} {link.up}" for link in host.with_netlink(lambda n: n.links())
        ),
        inside_links=tuple((link.name, link.up) for link in box.with_netlink(lambda n: n.links())),
        addresses=frozenset(addresses_of(box)),
        routes=frozenset(box.run("ip", "route", "show", "table", "main").splitlines()),
        claims=tuple(host.allocator.claims_of(box.id)),
        resolv_conf=box.resolv_conf.read_bytes(),
    )


async def test_two_containers_reach_each_other_and_the_dns_address(host: Host, boxes: Boxes) -> None:
    redis, app = boxes("redis"), boxes("app")
    assert await host.attach(redis) == ["10.2.0.1/16"]
    assert await host.attach(app) == ["10.2.0.2/16"]
    assert app.reaches("10.2.0.1")
    assert redis.reaches("10.2.0.2")
    assert redis.reaches("10.2.254.1")
    assert host.reaches("10.2.0.1")


async def test_containers_reach_each_other_under_a_forward_policy_of_drop(host: Host, boxes: Boxes) -> None:
    host.run("iptables", "-w", "-P", "FORWARD", "DROP")
    redis, app = boxes("redis"), boxes("app")
    await host.attach(redis)
    await host.attach(app)
    assert app.reaches("10.2.0.1")


async def test_the_dns_address_is_reached_under_an_input_policy_of_drop_and_no_other_port_is(
    host: Host, boxes: Boxes
) -> None:
    host.run("iptables", "-w", "-P", "INPUT", "DROP")
    host.run("ip", "address", "add", "10.2.0.77/16", "dev", "weave")
    box = boxes("redis")
    await host.attach(box)
    assert box.reaches("10.2.254.1")
    assert not box.reaches("10.2.0.77", 0.3)


async def test_a_container_is_reachable_when_the_attach_returns(host: Host, boxes: Boxes) -> None:
    app = boxes("app")
    await host.attach(app)
    for n in range(5):
        other = boxes(f"c{n}")
        (address,) = await host.attach(other)
        assert app.reaches(address.partition("/")[0], 0.09)  # the very first request is answered


async def test_the_interface_carries_what_lets_it_be_found_again(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    await host.attach(box)
    assert await host.network.ports() == [Port("vethwe" + box.id[:9], box.id)]


async def test_every_interface_has_the_mtu_of_the_network(bare_host: Host, boxes: Boxes) -> None:
    await bare_host.start(mtu=1350)
    box = boxes("redis")
    await bare_host.attach(box)
    mtus = {link.name: link.mtu for link in bare_host.with_netlink(lambda n: n.links()) if link.name != "lo"}
    assert mtus == {"weave": 1350, "vethwe" + box.id[:9]: 1350}
    assert [link.mtu for link in box.with_netlink(lambda n: n.links()) if link.name == "ethwe"] == [1350]
    await bare_host.stop()


async def test_a_container_in_a_small_subnet_reaches_the_dns_address(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    assert await host.attach(box, "10.2.45.3/24") == ["10.2.45.3/24"]
    assert box.reaches("10.2.254.1")
    assert "10.2.254.0/24 dev ethwe" in box.run("ip", "route")


async def test_multicast_goes_over_the_weave_network_unless_it_goes_elsewhere(host: Host, boxes: Boxes) -> None:
    plain, special = boxes("plain"), boxes("special")
    special.run("ip", "route", "add", "224.0.0.0/4", "dev", "lo")
    await host.attach(plain)
    await host.attach(special)
    assert "224.0.0.0/4 dev ethwe" in plain.run("ip", "route")
    assert "224.0.0.0/4 dev lo" in special.run("ip", "route")


async def test_a_containers_default_route_stays(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    dockers_bridge(host, box)
    await host.attach(box)
    assert "default via 172.30.0.1 dev eth0" in box.run("ip", "route")


async def test_containers_of_different_subnets_do_not_reach_each_other(host: Host, boxes: Boxes) -> None:
    one, other, neighbour = boxes("one"), boxes("other"), boxes("neighbour")
    dockers_bridge(host, one, other)
    await host.attach(one, "10.2.45.3/24")
    await host.attach(other, "10.2.67.3/24")
    await host.attach(neighbour, "10.2.45.4/24")
    assert one.reaches("10.2.45.4")
    assert not one.reaches("10.2.67.3", 0.5)
    # Nor when one makes itself a route by way of the host.
    one.run("ip", "route", "add", "10.2.67.0/24", "via", "10.2.254.1", "dev", "ethwe")
    assert not one.reaches("10.2.67.3", 0.5)


async def test_containers_of_dockers_own_bridges_do_not_reach_the_weave_network(host: Host, boxes: Boxes) -> None:
    redis, stranger = boxes("redis"), boxes("stranger")
    dockers_bridge(host, stranger)
    await host.attach(redis)
    assert stranger.reaches("172.30.0.1")
    assert not stranger.reaches("10.2.0.1", 0.5)
    redis.run("ip", "route", "add", "172.30.0.0/24", "via", "10.2.254.1")
    assert not redis.reaches("172.30.0.2", 0.5)
    # Nor does a datagram arrive that needs no answer.
    assert not stranger.delivers(redis, "10.2.0.1", 0.5)
    assert not redis.delivers(stranger, "172.30.0.2", 0.5)
    # They would without our rules, so it is the rules that do it.
    host.run("iptables", "-w", "-F", "WEAVEDNS-FORWARD")
    assert stranger.reaches("10.2.0.1")
    assert stranger.delivers(redis, "10.2.0.1")
    assert redis.delivers(stranger, "172.30.0.2")


async def test_an_address_that_changes_hands_is_reached_at_once(host: Host, boxes: Boxes) -> None:
    app, old, new = boxes("app"), boxes("old"), boxes("new")
    await host.attach(app)
    await host.attach(old, "10.2.7.7/16")
    assert app.reaches("10.2.7.7")
    await host.detach(old)
    # The neighbour's memory is good for an hour: only an announcement can correct it.
    app.run("ip", "neighbour", "change", "10.2.7.7", "dev", "ethwe", "nud", "reachable")
    await host.attach(new, "10.2.7.7/16")
    assert plan.mac_of(new.id) in app.run("ip", "neighbour", "show", "10.2.7.7")
    assert app.reaches("10.2.7.7", 0.09)


async def test_a_second_address_that_changes_hands_is_reached_at_once(host: Host, boxes: Boxes) -> None:
    app, old, new = boxes("app"), boxes("old"), boxes("new")
    for box in (app, old, new):
        await host.attach(box)
    await host.attach(old, "10.2.7.7/16")
    assert app.reaches("10.2.7.7")
    await host.detach(old, "10.2.7.7")
    await host.attach(new, "10.2.7.7/16")
    assert app.reaches("10.2.7.7", 0.09)


async def test_attaching_again_changes_nothing(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    first = await host.attach(box)
    before = picture(host, box)
    assert await host.attach(box) == first
    assert picture(host, box) == before


async def test_addresses_are_returned_as_asked_for_and_added_to_those_there_are(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    await host.attach(box)
    assert await host.attach(box, "net:10.2.67.0/24", "10.2.45.3/24", "") == [
        "10.2.67.1/24",
        "10.2.45.3/24",
        "10.2.0.1/16",
    ]
    assert set(map(str, addresses_of(box))) == {"10.2.0.1/16", "10.2.67.1/24", "10.2.45.3/24"}
    seen = await host.attacher.observe(box.target)
    assert set(seen.addresses) == set(addresses_of(box))
    assert seen.mac == plan.mac_of(box.id)


async def test_detaching_one_address_leaves_the_others_of_its_subnet(host: Host, boxes: Boxes) -> None:
    box, app = boxes("redis"), boxes("app")
    await host.attach(app)
    await host.attach(box, "10.2.0.5", "10.2.0.6", "10.2.0.7")
    assert await host.detach(box, "10.2.0.5") == ["10.2.0.5/16"]
    assert set(map(str, addresses_of(box))) == {"10.2.0.6/16", "10.2.0.7/16"}
    assert app.reaches("10.2.0.7")
    assert box.reaches("10.2.254.1")
    assert await host.attach(boxes("new"), "10.2.0.5") == ["10.2.0.5/16"]


async def test_detaching_the_address_that_covered_dns_leaves_a_way_there(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    await host.attach(box, "10.2.0.5", "10.2.45.3/24")
    await host.detach(box, "10.2.0.5")
    assert box.reaches("10.2.254.1")


@pytest.mark.parametrize("spelled", [[], ["10.2.0.1"], [""], ["net:default"], ["net:10.2.0.0/16"]])
async def test_detaching_the_last_address_leaves_the_container_as_it_was(
    host: Host, boxes: Boxes, spelled: list[str]
) -> None:
    box = boxes("redis")
    before = picture(host, box)
    await host.attach(box)
    assert await host.detach(box, *spelled) == ["10.2.0.1/16"]
    assert picture(host, box) == before
    assert (await host.attacher.observe(box.target)).addresses == ()


@pytest.mark.parametrize("spelled", [[], ["10.2.9.9"]])
async def test_detaching_what_is_not_attached_is_refused(host: Host, boxes: Boxes, spelled: list[str]) -> None:
    with pytest.raises(NotAttachedError, match="redis"):
        await host.detach(boxes("redis"), *spelled)


async def test_detaching_an_address_it_does_not_have_names_those_it_has(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    await host.attach(box)
    before = picture(host, box)
    with pytest.raises(NotAttachedError, match=r"10\.2\.0\.1/16"):
        await host.detach(box, "10.2.0.1", "10.2.0.9")
    assert picture(host, box) == before


async def test_an_address_in_use_is_refused_and_nothing_changes(host: Host, boxes: Boxes) -> None:
    redis, app = boxes("redis"), boxes("app")
    await host.attach(redis, "10.2.45.3/24")
    before = picture(host, app)
    with pytest.raises(AddressInUseError, match=r"10\.2\.45\.3 is in use by container redis .* on host h1"):
        await host.attach(app, "", "10.2.45.3/24")
    with pytest.raises(EndpointError):
        await host.attach(app, "", "10.3.0.1/24")
    assert picture(host, app) == before


async def test_a_restarted_container_has_its_address_and_mac_again(host: Host, boxes: Boxes) -> None:
    first = boxes("redis")
    await host.attach(boxes("other"))
    await host.attach(first)
    first.end()
    host.attacher.died(first.id, 0.0)
    second = boxes("redis")
    second.id = first.id
    assert await host.attach(second) == ["10.2.0.2/16"]
    assert (await host.attacher.observe(second.target)).mac == plan.mac_of(first.id)


async def test_a_removed_containers_address_goes_to_the_next_at_once(host: Host, boxes: Boxes) -> None:
    first = boxes("redis")
    await host.attach(first)
    first.end()
    host.attacher.died(first.id, 0.0)
    host.attacher.removed(first.id)
    assert await host.attach(boxes("app")) == ["10.2.0.1/16"]


async def test_a_container_restarts_while_its_former_namespace_lingers(host: Host, boxes: Boxes) -> None:
    first, second = boxes("redis"), boxes("redis")
    await host.attach(first)
    second.id = first.id
    first.end()  # the namespace stays, for the test still holds it
    assert await host.attach(second) == ["10.2.0.1/16"]
    assert second.reaches("10.2.254.1")


async def test_resolv_conf_asks_us_first_in_the_same_file(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    inode = box.resolv_conf.stat().st_ino
    await host.attacher.attach(replace(box.target, search_own="web.weave.local"), [parse("")])
    lines = box.resolv_conf.read_text().splitlines()
    assert "nameserver 10.2.254.1" in lines
    assert "search web.weave.local weave.local example.com" in lines
    assert "nameserver 192.0.2.53" not in lines
    await host.detach(box)
    assert box.resolv_conf.read_bytes() == ORIGINAL
    assert box.resolv_conf.stat().st_ino == inode


async def test_a_container_that_wants_no_resolver_keeps_its_own(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    await host.attacher.attach(replace(box.target, resolver=False), [parse("")])
    assert box.resolv_conf.read_bytes() == ORIGINAL


async def test_a_resolv_conf_that_somebody_changed_is_left_alone_with_one_warning(
    host: Host, boxes: Boxes, caplog: pytest.LogCaptureFixture
) -> None:
    box = boxes("redis")
    await host.attach(box)
    changed = box.resolv_conf.read_bytes() + b"nameserver 9.9.9.9\n"
    box.resolv_conf.write_bytes(changed)
    for _ in range(2):
        await host.attacher.adopt(box.target)
    await host.detach(box)
    assert box.resolv_conf.read_bytes() == changed
    warnings = [record.getMessage() for record in caplog.records if "changed by somebody" in record.getMessage()]
    assert len(warnings) == 1
    assert str(box.resolv_conf) in warnings[0]


@pytest.mark.parametrize("how", ["missing", "link"])
async def test_a_resolv_conf_that_cannot_be_read_is_told_and_the_container_attached(
    host: Host, boxes: Boxes, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    box = boxes("redis")
    precious = box.resolv_conf.rename(box.resolv_conf.with_suffix(".precious"))
    if how == "link":
        box.resolv_conf.symlink_to(precious)
    await host.attach(box)
    assert "cannot read" in caplog.text
    assert precious.read_bytes() == ORIGINAL


async def test_a_resolv_conf_that_docker_writes_meanwhile_is_taken_as_docker_wrote_it(
    host: Host, boxes: Boxes
) -> None:
    box = boxes("redis")
    dockers = b"nameserver 198.51.100.7\n"
    once = [dockers]

    def perform(step: plan.Step, site: veth.Site) -> None:
        if isinstance(step, plan.Resolver) and once:
            box.resolv_conf.write_bytes(once.pop())
        veth.perform(step, site)

    host.perform = perform
    await host.attach(box)
    assert b"nameserver 10.2.254.1" in box.resolv_conf.read_bytes()
    await host.detach(box)
    assert box.resolv_conf.read_bytes() == dockers


async def test_a_resolv_conf_that_never_holds_still_fails_the_attach(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    before = picture(host, box)

    def perform(step: plan.Step, site: veth.Site) -> None:
        if isinstance(step, plan.Resolver):
            raise ResolverMovedError("again")
        veth.perform(step, site)

    host.perform = perform
    with pytest.raises(ResolverMovedError):
        await host.attach(box)
    assert picture(host, box) == before


async def count_steps(host: Host, box: Box, *spelled: str) -> list[type]:
    """The kinds of steps that an attach takes; the container is detached again."""
    steps: list[type] = []

    def perform(step: plan.Step, site: veth.Site) -> None:
        steps.append(type(step))
        veth.perform(step, site)

    host.perform = perform
    await host.attach(box, *spelled)
    host.perform = veth.perform
    return steps


class InjectedError(NetworkError):
    """A failure made by a test."""


def failing_at(index: int) -> Callable[[plan.Step, veth.Site], None]:
    """Carries out steps, except that the one with this index fails."""
    count = iter(range(1000))

    def perform(step: plan.Step, site: veth.Site) -> None:
        if next(count) == index:
            raise InjectedError(type(step).__name__)
        veth.perform(step, site)

    return perform


async def test_a_failure_at_any_step_undoes_all_the_earlier_ones(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    steps = await count_steps(host, box, "", "10.2.45.3/24")
    await host.detach(box)
    kinds = {plan.Pair, plan.Alias, plan.Enslaved, plan.HostUp, plan.Tuned, plan.Address, plan.InsideUp, plan.Route}
    assert set(steps) == kinds | {plan.Announcement, plan.Resolver}
    before = picture(host, box)
    for index, kind in enumerate(steps):
        host.perform = failing_at(index)
        with pytest.raises(InjectedError, match=kind.__name__):
            await host.attach(box, "", "10.2.45.3/24")
        assert picture(host, box) == before, kind
    host.perform = veth.perform
    assert await host.attach(box, "", "10.2.45.3/24") == ["10.2.0.1/16", "10.2.45.3/24"]


async def test_a_failure_while_adding_an_address_leaves_the_former_ones(host: Host, boxes: Boxes) -> None:
    probe, box = boxes("probe"), boxes("redis")
    await host.attach(probe, "10.2.45.3/24")
    steps = await count_steps(host, probe, "", "10.2.45.4/24")
    await host.attach(box, "10.2.45.7/24")
    before = picture(host, box)
    for index, kind in enumerate(steps):
        host.perform = failing_at(index)
        with pytest.raises(InjectedError):
            await host.attach(box, "", "10.2.45.8/24")
        assert picture(host, box) == before, kind
    host.perform = veth.perform
    assert box.reaches("10.2.254.1")


async def test_a_failure_keeps_the_address_that_was_held_for_the_container(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    await host.attach(box)
    await host.detach(box)
    host.allocator.obtain(box.id, "redis", parse("10.2.9.9/24"), 0.0)
    host.attacher.died(box.id, 1e9)
    before = host.allocator.claims_of(box.id)
    host.perform = failing_at(3)
    with pytest.raises(InjectedError):
        await host.attach(box, "net:10.2.9.0/24", "")
    assert host.allocator.claims_of(box.id) == before


async def test_a_teardown_goes_on_past_errors_and_tells_the_first(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    await host.attach(box)

    def perform(step: plan.Step, site: veth.Site) -> None:
        if isinstance(step, plan.Resolver):
            raise InjectedError("resolver")
        veth.perform(step, site)

    host.perform = perform
    with pytest.raises(InjectedError):
        await host.detach(box)
    assert addresses_of(box) == []
    assert host.allocator.claims_of(box.id) == []


async def test_an_address_that_could_not_be_taken_away_is_not_given_out(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    await host.attach(box)
    host.perform = failing_at(1)
    with pytest.raises(InjectedError):
        await host.detach(box)
    assert host.allocator.in_use(box.id) == [IPv4Interface("10.2.0.1/16")]


@pytest.mark.parametrize("at", [plan.Pair, plan.Alias, plan.Address, plan.Route, plan.Resolver])
async def test_a_container_that_ends_meanwhile_leaves_nothing_over(host: Host, boxes: Boxes, at: type) -> None:
    box = boxes("redis")
    links = host.with_netlink(lambda netlink: netlink.links())

    def perform(step: plan.Step, site: veth.Site) -> None:
        if isinstance(step, at):
            box.end()
        veth.perform(step, site)

    host.perform = perform
    with pytest.raises(ContainerGoneError, match="redis"):
        await host.attach(box)
    assert [link.name for link in host.with_netlink(lambda netlink: netlink.links())] == [each.name for each in links]
    assert list(host.allocator) == []
    assert box.resolv_conf.read_bytes() == ORIGINAL


async def test_a_process_that_ended_or_is_the_hosts_is_no_container(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    box.end()
    for pid in (box.pid, 0, -1, host.pid):
        with pytest.raises(ContainerGoneError):
            await host.attacher.attach(replace(box.target, pid=pid), [parse("")])
    assert list(host.allocator) == []


async def test_an_interface_of_that_name_that_is_not_ours_is_left_alone(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    box.run("ip", "link", "add", "ethwe", "type", "veth", "peer", "name", "other")
    before = picture(host, box)
    with pytest.raises(NetworkError, match="ethwe that is not of the weave network"):
        await host.attach(box)
    assert picture(host, box) == before


async def test_without_the_bridge_the_attach_fails_and_says_so(host: Host, boxes: Boxes) -> None:
    host.run("ip", "link", "del", "weave")
    with pytest.raises(NetworkError, match="bridge weave is gone"):
        await host.attach(boxes("redis"))
    assert list(host.allocator) == []


async def test_a_restarted_daemon_learns_the_addresses_in_use(host: Host, boxes: Boxes) -> None:
    redis, app, new = boxes("redis"), boxes("app"), boxes("new")
    await host.attach(redis, "", "10.2.45.3/24")
    await host.attach(app)
    before = picture(host, redis)
    await host.stop()
    await host.start()
    known = {port.container_id for port in await host.network.ports()}
    assert known == {redis.id, app.id}
    for box in (redis, app, new):
        seen = await host.attacher.adopt(box.target)
        assert set(seen.addresses) == set(addresses_of(box))
    assert picture(host, redis) == before
    assert await host.attach(new) == ["10.2.0.3/16"]
    with pytest.raises(AddressInUseError, match="container redis"):
        await host.attach(new, "10.2.45.3/24")


async def test_adopting_puts_right_what_others_undid(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    await host.attach(box, "10.2.45.3/24")
    before = picture(host, box)
    box.resolv_conf.write_bytes(ORIGINAL)
    host.run("ip", "link", "set", "vethwe" + box.id[:9], "nomaster")
    box.run("ip", "route", "del", "10.2.254.0/24")
    await host.attacher.adopt(box.target)
    assert picture(host, box) == before
    assert box.reaches("10.2.254.1")


async def test_an_attach_that_was_cut_short_by_a_crash_is_completed(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    steps = await count_steps(host, box)
    await host.detach(box)

    for crash_at in range(1, len(steps)):
        alive = iter(range(1000))

        def perform(step: plan.Step, site: veth.Site, alive: Any = alive, crash_at: int = crash_at) -> None:
            if next(alive) >= crash_at:
                raise NetworkError("the daemon is dead: it undoes nothing")
            veth.perform(step, site)

        host.perform = perform
        with contextlib.suppress(NetworkError):
            await host.attach(box)
        await host.stop()
        host.perform = veth.perform
        await host.start()
        await host.attacher.adopt(box.target)
        assert await host.attach(box) == ["10.2.0.1/16"]
        assert box.reaches("10.2.254.1")
        await host.detach(box)
        assert box.resolv_conf.read_bytes() == ORIGINAL


async def test_an_address_used_twice_is_told_and_nobody_renumbered(
    host: Host, boxes: Boxes, caplog: pytest.LogCaptureFixture
) -> None:
    redis, app = boxes("redis"), boxes("app")
    await host.attach(redis)
    await host.attach(app)
    app.run("ip", "address", "add", "10.2.0.1/16", "dev", "ethwe")
    await host.attacher.adopt(app.target)
    assert "uses an address twice" in caplog.text
    assert len(addresses_of(app)) == 2
    assert host.allocator.in_use(redis.id) == [IPv4Interface("10.2.0.1/16")]


async def test_fifty_attached_at_once_have_fifty_addresses(host: Host, boxes: Boxes) -> None:
    made = [boxes(f"c{n}") for n in range(50)]
    results = await asyncio.gather(*(host.attach(box) for box in made))
    given = [address for each in results for address in each]
    assert len(set(given)) == 50
    assert [[str(each) for each in addresses_of(box)] for box in made] == results
    assert made[0].reaches(given[-1].partition("/")[0])
    removed = await asyncio.gather(*(host.detach(box) for box in made))
    assert removed == results
    assert await host.network.ports() == []


async def test_one_container_attached_many_times_at_once_has_one_address(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    results = await asyncio.gather(*(host.attach(box) for _ in range(10)))
    assert results == [["10.2.0.1/16"]] * 10
    assert len(addresses_of(box)) == 1


async def test_a_cancelled_attach_is_whole_or_not_at_all(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    before = picture(host, box)
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()

    def perform(step: plan.Step, site: veth.Site) -> None:
        loop.call_soon_threadsafe(reached.set)
        veth.perform(step, site)

    host.perform = perform
    attaching = asyncio.create_task(host.attach(box))
    await reached.wait()
    attaching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attaching
    assert host.allocator.in_use(box.id) == addresses_of(box) == [IPv4Interface("10.2.0.1/16")]
    await host.detach(box)
    assert picture(host, box) == before


async def test_attaching_and_failing_leave_no_file_open(host: Host, boxes: Boxes) -> None:
    box = boxes("redis")
    await host.attach(box)
    await host.detach(box)
    before = open_descriptors()
    for _ in range(5):
        host.perform = veth.perform
        await host.attach(box)
        await host.detach(box)
        host.perform = failing_at(4)
        with pytest.raises(InjectedError):
            await host.attach(box)
    assert open_descriptors() == before


async def test_the_loop_goes_on_while_containers_are_attached(host: Host, boxes: Boxes) -> None:
    made = [boxes(f"c{n}") for n in range(10)]
    loop = asyncio.get_running_loop()
    gaps: list[float] = []

    async def watch() -> None:
        last = loop.time()
        while True:
            await asyncio.sleep(0)
            gaps.append(loop.time() - last)
            last = loop.time()

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(host.attach(box) for box in made))
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    # Turns of the interpreter's lock are 5 ms each: what counts is that no turn waits for the kernel.
    assert sorted(gaps)[len(gaps) * 99 // 100] < 0.05


def dockers_bridge(host: Host, *boxes: Box) -> None:
    """Put containers on another bridge of the host too, with a default route there, as Docker does."""
    host.set("ipv4/ip_forward", "1")
    host.run("ip", "link", "add", "docker0", "type", "bridge")
    host.run("ip", "address", "add", "172.30.0.1/24", "dev", "docker0")
    host.run("ip", "link", "set", "docker0", "up")
    host.run(
        "iptables",
        "-w",
        "-t",
        "nat",
        "-A",
        "POSTROUTING",
        "-s",
        "172.30.0.0/24",
        "!",
        "-o",
        "docker0",
        "-j",
        "MASQUERADE",
    )
    for number, box in enumerate(boxes, 2):
        port = f"veth{number}"
        host.run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(box.pid))
        host.run("ip", "link", "set", port, "master", "docker0", "up")
        box.run("ip", "address", "add", f"172.30.0.{number}/24", "dev", "eth0")
        box.run("ip", "link", "set", "eth0", "up")
        box.run("ip", "route", "add", "default", "via", "172.30.0.1")
