"""What is decided about the bridge before anything is done."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from weavenet.bridge import choose_dns_address, conflicting_route, mtu_of_default_route
from weavenet.errors import NetworkError
from weavenet.netlink import Link, Route

RANGE = IPv4Network("10.2.0.0/16")
DNS = IPv4Network("10.2.254.0/24")
MAIN = 254
WEAVE, ETH0, TUN0 = 7, 2, 3


def route(destination: str, link: int = ETH0, table: int = MAIN, kind: str = "") -> Route:
    return Route(IPv4Network(destination), link, table, kind)


def link(index: int, mtu: int) -> Link:
    return Link(index, f"if{index}", "", "", mtu, True, 0, "", 0, False, False)


@pytest.mark.parametrize(
    ("asked", "carried", "chosen"),
    [
        (None, [], "10.2.254.1"),
        (None, ["10.2.0.9/16", "10.2.254.7/16"], "10.2.254.7"),
        ("10.2.254.9", [], "10.2.254.9"),
        ("10.2.254.9", ["10.2.254.7/16"], "10.2.254.9"),
    ],
)
def test_the_dns_address_is_the_one_asked_for_else_the_one_carried_else_the_first(
    asked: str | None, carried: list[str], chosen: str
) -> None:
    address = choose_dns_address(
        IPv4Address(asked) if asked else None, [IPv4Interface(each) for each in carried], DNS
    )
    assert address == IPv4Address(chosen)


@pytest.mark.parametrize("asked", ["10.2.254.0", "10.2.254.255", "10.2.253.1", "192.0.2.1"])
def test_a_dns_address_that_is_no_host_of_the_dns_subnet_is_refused(asked: str) -> None:
    with pytest.raises(NetworkError, match=asked):
        choose_dns_address(IPv4Address(asked), [], DNS)


@pytest.mark.parametrize(
    ("one", "conflicts"),
    [
        (route("10.2.3.0/24"), True),
        (route("10.0.0.0/8"), True),
        (route("10.2.3.4/32", table=255, kind="local "), True),
        (route("10.2.3.0/24", link=0, kind="blackhole "), True),
        (route("10.2.0.0/16", table=52), True),
        (route("10.3.0.0/16"), False),
        (route("0.0.0.0/0"), False),
        (route("0.0.0.0/1", link=TUN0), False),
        (route("10.2.0.0/16", link=WEAVE), False),
        (route("10.2.254.1/32", link=WEAVE, table=255, kind="local "), False),
    ],
)
def test_a_route_into_the_range_that_is_not_our_own_is_a_conflict(one: Route, conflicts: bool) -> None:
    assert conflicting_route([route("0.0.0.0/0"), one], RANGE, WEAVE) == (one if conflicts else None)


def test_without_a_bridge_no_route_is_our_own() -> None:
    nowhere = route("10.2.3.0/24", link=0, kind="unreachable ")
    assert conflicting_route([nowhere], RANGE, 0) == nowhere


@pytest.mark.parametrize(
    ("routes", "mtu"),
    [
        ([], 1500),
        ([route("192.0.2.0/24")], 1500),
        ([route("0.0.0.0/0")], 9000),
        ([route("0.0.0.0/0"), route("0.0.0.0/1", link=TUN0)], 1420),
        ([route("0.0.0.0/0"), route("0.0.0.0/0", link=TUN0, table=52)], 9000),
    ],
)
def test_the_mtu_is_the_smallest_of_the_ways_out(routes: list[Route], mtu: int) -> None:
    assert mtu_of_default_route(routes, [link(ETH0, 9000), link(TUN0, 1420), link(WEAVE, 576)]) == mtu
