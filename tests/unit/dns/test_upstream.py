from __future__ import annotations

import pytest

from weavedns.dns.upstream import Upstreams, parse_resolv_conf


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("nameserver 192.0.2.1\nnameserver 192.0.2.2\n", ["192.0.2.1", "192.0.2.2"]),
        ("# nameserver 192.0.2.9\n;nameserver 192.0.2.8\n  nameserver\t192.0.2.1 # x\n", ["192.0.2.1"]),
        ("nameserver 10.2.254.1\nnameserver 192.0.2.1\n", ["192.0.2.1"]),
        ("nameserver fd00::53\nnameserver fe80::1%eth0\n", ["fd00::53", "fe80::1%eth0"]),
        ("nameserver FD00:0::1\n", []),
        ("nameserver\nnameserver example.org\nsearch a b\noptions ndots:1\n\0\n", []),
        ("nameserver 192.0.2.1\nnameserver 192.0.2.1\n", ["192.0.2.1"]),
        ("\n".join(f"nameserver 192.0.2.{number}" for number in range(9)), ["192.0.2.0", "192.0.2.1", "192.0.2.2"]),
        ("", []),
    ],
)
def test_name_servers_are_read_from_resolv_conf(text: str, servers: list[str]) -> None:
    assert parse_resolv_conf(text, own={"10.2.254.1", "fd00::1"}) == [(server, 53) for server in servers]


def test_upstreams_are_replaced_and_each_is_there_once() -> None:
    upstreams = Upstreams([("192.0.2.1", 53), ("192.0.2.1", 53)])
    assert list(upstreams.servers) == [("192.0.2.1", 53)]
    upstreams.replace([("192.0.2.2", 53), ("192.0.2.1", 5353)])
    assert list(upstreams.servers) == [("192.0.2.2", 53), ("192.0.2.1", 5353)]
