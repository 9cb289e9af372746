"""The names of this very host, answered everywhere by itself (RFC 6761 section 6.3). Knows no record of others."""

from __future__ import annotations

from weavedns.dns.answers import A_IN, PTR_IN, Found, tail
from weavedns.dns.tree import EMPTY, RRsets
from weavedns.dns.wire import rr_head
from weavedns.dns.zone import Authority, Zone
from weavedns.records import names
from weavedns.records.record import RecordType

LOCALHOST = names.parse("localhost.")
_IPV4_ZONE = names.parse("127.in-addr.arpa.")
_IPV4_NAME = names.parse("1.0.0.127.in-addr.arpa.")
_IPV6_NAME = names.parse(f"1.{'0.' * 31}ip6.arpa.")
_IPV4 = bytes((127, 0, 0, 1))
_IPV6 = bytes(15) + b"\1"


class Localhost:
    """Finds `localhost`, what is under it, and the reverse names of the loopback addresses."""

    def __init__(self, zone: Zone) -> None:
        self._zones = [Authority(apex, zone) for apex in (LOCALHOST, _IPV4_ZONE, _IPV6_NAME)]
        ttl_s = zone.ttl_s
        self._addresses: RRsets = {
            A_IN: rr_head(RecordType.A, ttl_s, len(_IPV4)) + _IPV4,
            tail(RecordType.AAAA): rr_head(RecordType.AAAA, ttl_s, len(_IPV6)) + _IPV6,
        }
        self._pointer: RRsets = {PTR_IN: rr_head(RecordType.PTR, ttl_s, len(LOCALHOST)) + LOCALHOST}

    def find(self, name: bytes) -> Found | None:
        """What stands at a name of this host; None when it is not one."""
        for authority in self._zones:
            if names.is_under(name, authority.apex):
                return Found(self._node(name), authority)
        return None

    def _node(self, name: bytes) -> RRsets | None:
        if name in (_IPV4_NAME, _IPV6_NAME):
            return self._pointer
        if names.is_under(name, LOCALHOST):
            return self._addresses
        return EMPTY if names.is_under(_IPV4_NAME, name) else None
