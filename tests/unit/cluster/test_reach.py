from __future__ import annotations

import asyncio
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any, cast

from weavedns.cluster.cluster import DNS_FACT
from weavedns.cluster.reach import Reach

OWN, SECOND, THIRD = "10.2.254.1", "10.2.254.2", "10.2.254.3"


class FakeCluster:
    name = "a"

    def __init__(self, **servers: str) -> None:
        self.caught_up = asyncio.Event()
        self.servers = servers

    def live(self) -> list[str]:
        return list(self.servers)

    def told(self, peer: str, key: bytes) -> bytes | None:
        return IPv4Address(self.servers[peer]).packed if key == DNS_FACT else None


def reach(cluster: FakeCluster | None) -> Reach:
    network: Any = SimpleNamespace(dns_address=IPv4Address(OWN))
    return Reach(cast("Any", cluster), network, 6784)


def test_a_container_keeps_its_other_servers_until_it_is_heard_who_is_there() -> None:
    cluster = FakeCluster()
    found = reach(cluster)
    assert found.nameservers([OWN, SECOND, THIRD]) == [OWN, SECOND, THIRD]
    # One that asked another server first, as before a change of our own address, does not go on asking that.
    assert found.nameservers([SECOND, THIRD]) == [OWN]
    assert found.nameservers() == [OWN]
    cluster.servers = {"c": THIRD}
    cluster.caught_up.set()
    assert found.nameservers([OWN, SECOND, THIRD]) == [OWN, THIRD]


def test_a_daemon_without_peers_names_itself_alone() -> None:
    assert reach(None).nameservers([OWN, SECOND]) == [OWN]
