from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from weavedns.dns.access import Access


def allowed(access: Access, address: str) -> bool:
    return access.may_forward(ip_address(address).packed)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1"])
def test_loopback_may_always(address: str) -> None:
    access = Access()
    assert allowed(access, address)
    access.allow([ip_network("10.2.0.0/16")])
    assert allowed(access, address)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.2.0.1", True),
        ("10.2.255.255", True),
        ("10.3.0.0", False),
        ("172.17.0.2", True),
        ("172.18.0.2", False),
        ("fd00::5", True),
        ("fd01::5", False),
        ("::7f00:1", False),
    ],
)
def test_the_given_networks_may(address: str, expected: bool) -> None:
    networks = ("10.2.0.0/16", "172.17.0.0/16", "fd00::/64")
    assert allowed(Access(map(ip_network, networks)), address) == expected


def test_a_new_set_replaces_the_old_one_and_shows() -> None:
    access = Access([ip_network("10.2.0.0/16")])
    version = access.version
    access.allow([ip_network("10.3.0.0/16")])
    assert (allowed(access, "10.2.0.1"), allowed(access, "10.3.0.1")) == (False, True)
    assert access.version != version
