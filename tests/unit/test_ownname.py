"""The name server's own name and who it leads to."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from weavedns import ownname
from weavedns.config import settings
from weavedns.records import rdata
from weavedns.records.record import Origin, type_name


def found(dns_address: str = "", **given: Any) -> list[str]:
    made = settings(name="host1", socket=Path("w.sock"), **given)
    records = ownname.records(made, IPv4Address(dns_address) if dns_address else None)
    assert all(record.name == ownname.ns_name(made.domain) for record in records)
    assert all(record.origin == Origin.PEER for record in records)
    return [f"{type_name(record.rtype)} {rdata.render(record.rtype, record.rdata)}" for record in records]


def test_with_a_network_it_is_the_dns_address_alone() -> None:
    assert found("10.2.254.1", listen=["192.0.2.1"]) == ["A 10.2.254.1"]


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        (["127.0.0.1"], ["A 127.0.0.1"]),
        (["192.0.2.1", "[2001:db8::1]:53", "127.0.0.1:5353"], ["A 192.0.2.1", "AAAA 2001:db8::1"]),
        (["127.0.0.1:5353"], []),
    ],
)
def test_without_one_it_is_where_an_ns_record_leads(listen: list[str], expected: list[str]) -> None:
    assert found(network=False, listen=listen) == expected


def test_loopback_is_told_to_no_other_peer() -> None:
    assert found(network=False, listen=["127.0.0.1", "192.0.2.1"], peers=["host2"]) == ["A 192.0.2.1"]
