"""Which servers a query is forwarded to, and in which order. Pure: asks nobody."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import ip_address

DNS_PORT = 53
# As many as a resolver takes from its configuration (resolv.conf(5)).
MAX_SERVERS = 3
_NAMESERVER_FIELDS = 2

Server = tuple[str, int]


class Upstreams:
    """The servers, the preferred one first."""

    def __init__(self, servers: Sequence[Server] = ()) -> None:
        self._servers = tuple(dict.fromkeys(servers))

    @property
    def servers(self) -> tuple[Server, ...]:
        """All servers in the order in which they are asked."""
        return self._servers

    def replace(self, servers: Sequence[Server]) -> None:
        """Ask these servers from now on."""
        self._servers = tuple(dict.fromkeys(servers))


def parse_resolv_conf(text: str, own: Collection[str]) -> list[Server]:
    """The name servers of a resolv.conf(5), without our `own` addresses: asking them would be asking ourselves.

    Lines that cannot be read are passed over, as the resolver itself does.
    """
    mine = {ip_address(address) for address in own}
    servers = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < _NAMESERVER_FIELDS or fields[0] != "nameserver":
            continue
        try:
            if ip_address(fields[1]) in mine:
                continue
        except ValueError:
            continue
        servers.append((fields[1], DNS_PORT))
    return list(dict.fromkeys(servers))[:MAX_SERVERS]
