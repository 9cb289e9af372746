"""What is authoritative here: the domain and the reverse zones, each with its SOA and NS. Holds no records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network

from weavedns.dns.wire import CLASS_IN, HEADER_BYTES, POINTER_MARK, RR_FIXED, rr_head
from weavedns.records import names
from weavedns.records.record import RecordType

_OCTET_BITS = 8
# Nobody transfers these zones, so the serial never has to move; the timers are there for form.
_SERIAL, _REFRESH_S, _RETRY_S, _EXPIRE_S = 1, 3600, 600, 86400


@dataclass(frozen=True, slots=True)
class Zone:
    """The domain, the range whose reverse names go with it, the name server's name, and the negative and apex TTL."""

    domain: bytes
    weave_range: IPv4Network
    ns: bytes
    ttl_s: int


class Authority:
    """One zone of ours: its apex records, and the SOA that goes with every negative answer (RFC 2308)."""

    def __init__(self, apex: bytes, zone: Zone) -> None:
        self.apex = apex
        self._zone = zone
        self._negatives: dict[int, bytes] = {}

    def soa(self) -> bytes:
        """The SOA record in answer to a question for it."""
        data = self._soa_data(self._zone.ns, self._mailbox)
        return rr_head(RecordType.SOA, self._zone.ttl_s, len(data)) + data

    def ns(self) -> bytes:
        """The NS record in answer to a question for it."""
        return rr_head(RecordType.NS, self._zone.ttl_s, len(self._zone.ns)) + self._zone.ns

    def negative(self, name_bytes: int) -> bytes:
        """The authority section for a name of the zone that is `name_bytes` long.

        The zone's name ends the question, so where it starts, and with it the whole section, depends on nothing
        but that length.
        """
        ready = self._negatives.get(name_bytes)
        if ready is None:
            pointer = (POINTER_MARK | HEADER_BYTES + name_bytes - len(self.apex)).to_bytes(2, "big")
            shared = pointer if names.is_under(self._zone.ns, self.apex) else b""
            ready = self._negatives[name_bytes] = self._negative(pointer, shared)
        return ready

    def foreign_negative(self) -> bytes:
        """The authority section for a name that does not end in the zone's: the owner in full."""
        return self._negative(self.apex)

    @property
    def _mailbox(self) -> bytes:
        return b"\x0ahostmaster" + self._zone.domain

    def _negative(self, owner: bytes, shared: bytes = b"") -> bytes:
        ns, mailbox = self._zone.ns, self._mailbox
        if shared:
            ns = ns.removesuffix(self.apex) + shared
            mailbox = mailbox.removesuffix(self.apex) + shared
        data = self._soa_data(ns, mailbox)
        return owner + RR_FIXED.pack(RecordType.SOA, CLASS_IN, self._zone.ttl_s, len(data)) + data

    def _soa_data(self, ns: bytes, mailbox: bytes) -> bytes:
        numbers = (_SERIAL, _REFRESH_S, _RETRY_S, _EXPIRE_S, self._zone.ttl_s)
        return ns + mailbox + b"".join(number.to_bytes(4, "big") for number in numbers)


def reverse_zones(network: IPv4Network) -> Iterator[bytes]:
    """The in-addr.arpa zones that together hold `network` and nothing else (RFC 1035 section 3.5).

    A range whose prefix does not end at an octet has several: the zone above would claim its neighbours' names.
    """
    octets = -(-network.prefixlen // _OCTET_BITS) or 1
    for part in network.subnets(new_prefix=octets * _OCTET_BITS):
        labels = str(part.network_address).split(".")[:octets]
        yield names.parse(".".join([*reversed(labels), "in-addr.arpa"]))
