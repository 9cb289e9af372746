"""The name that the domain's NS and SOA records give, and this peer's addresses by it. Publishes nothing."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

from weavedns.config import DNS_PORT, Settings
from weavedns.records import names
from weavedns.records.record import Origin, Record, RecordType

HOLDER = "peer"
_IPV4 = 4


def ns_name(domain: bytes) -> bytes:
    """The name that the NS records give: the servers themselves."""
    return names.parse("weavedns", domain)


def records(settings: Settings, dns_address: IPv4Address | None) -> list[Record]:
    """This peer's own address records: its DNS address, or without a network the addresses that it listens on.

    Those count on port 53 alone, where an NS record leads; and of loopback's only for a peer that shares its records
    with no other, which would take them for its own.
    """
    own = [dns_address] if dns_address else [ip_address(host) for host, port in settings.listen if port == DNS_PORT]
    return [
        Record(
            settings.name,
            HOLDER,
            ns_name(settings.domain),
            RecordType.A if address.version == _IPV4 else RecordType.AAAA,
            address.packed,
            settings.ttl_s,
            Origin.PEER,
        )
        for address in own
        if settings.port is None or not address.is_loopback
    ]
