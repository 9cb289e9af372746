"""What is read of Docker's networks out of an inspection."""

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weavedns.containers.inspection import Inspection
from weavedns.containers.memberships import (
    MAX_LINKS,
    MAX_NAMES,
    MAX_NETWORKS,
    Membership,
    memberships_of,
    wire_of,
)
from weavedns.records import names

ID = "ca88a6e0" * 8


def settings(address: str = "172.18.0.2", **more: Any) -> dict[str, Any]:
    return {
        "NetworkID": "f" * 64,
        "IPAddress": address,
        "GlobalIPv6Address": "",
        "Aliases": None,
        "Links": None,
    } | more


def read(networks: Any, *, name: str = "/web_1") -> tuple[Membership, ...]:
    return memberships_of(Inspection({"Id": ID, "Name": name, "NetworkSettings": {"Networks": networks}}))


def wire(text: str) -> bytes:
    return names.parse(text + ".")


def test_a_container_is_known_by_name_aliases_and_short_id() -> None:
    (found,) = read({"shop_default": settings(Aliases=["web", "ca88a6e0ca88", "Front.Shop"])})

    assert found.network == wire("shop_default")
    assert found.names == (wire("web_1"), wire("web"), wire("ca88a6e0ca88"), wire("front.shop"))
    assert found.addresses == (bytes((172, 18, 0, 2)),)


def test_the_list_of_a_newer_engine_is_taken_as_it_is() -> None:
    (found,) = read({"net": settings(Aliases=["alias"], DNSNames=["web_1", "web", "ca88a6e0ca88"])})

    assert found.names == (wire("web_1"), wire("web"), wire("ca88a6e0ca88"))


def test_both_kinds_of_address_are_read() -> None:
    (found,) = read({"net": settings(GlobalIPv6Address="fd00::2")})

    assert found.addresses == (bytes((172, 18, 0, 2)), ip_address("fd00::2").packed)


def test_links_are_names_for_others() -> None:
    (found,) = read({"net": settings(Links=["shop_db_1:database", "/cache", "broken::x", ":", 5])})

    assert found.links[:2] == ((wire("database"), wire("shop_db_1")), (wire("cache"), wire("cache")))


@pytest.mark.parametrize("network", ["bridge", "host", "none"])
def test_dockers_own_networks_have_no_names(network: str) -> None:
    (found,) = read({network: settings(Aliases=["web"], Links=["a:b"])})

    assert (found.names, found.links, found.network) == ((), (), b"")
    assert found.addresses == (bytes((172, 18, 0, 2)),)


def test_a_network_without_an_address_counts_for_nothing() -> None:
    assert read({"net": settings(address="")}) == ()


def test_networks_come_in_the_order_in_which_docker_searches_them() -> None:
    found = read({"b": settings(), "c": settings(), "a": settings()})

    assert [each.network for each in found] == [wire("a"), wire("b"), wire("c")]


def test_a_name_that_dns_cannot_have_is_left_out() -> None:
    (found,) = read({"x" * 64: settings(Aliases=["", "a..b", ".", "y" * 64, "z." * 127 + "z", "ok"])})

    assert found.network == b""
    assert found.names == (wire("web_1"), wire("ok"), wire("ca88a6e0ca88"))


def test_no_container_can_fill_the_table() -> None:
    aliases = [f"a{number}" for number in range(MAX_NAMES + 9)]
    links = [f"t:l{number}" for number in range(MAX_LINKS + 9)]
    found = read({f"n{number:03}": settings(Aliases=aliases, Links=links) for number in range(MAX_NETWORKS + 9)})

    assert len(found) == MAX_NETWORKS
    assert {len(each.names) for each in found} == {MAX_NAMES}
    assert {len(each.links) for each in found} == {MAX_LINKS}


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["172.18.0.2", "a:b", "fd00::2"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["NetworkID", "IPAddress", "GlobalIPv6Address", "Aliases", "Links", "DNSNames", "x"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), anything, max_size=4) | anything)
def test_whatever_an_engine_says_nothing_is_raised_and_every_name_is_one(networks: Any) -> None:
    for place in read(networks):
        for name in (*place.names, *(each for pair in place.links for each in pair), *filter(None, [place.network])):
            assert names.check_wire(name) == name
        assert {len(address) for address in place.addresses} <= {4, 16}


@given(st.text(max_size=300))
def test_a_wire_name_is_whole_or_none(text: str) -> None:
    name = wire_of(text)
    assert name is None or names.check_wire(name) == name
