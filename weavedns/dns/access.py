"""Who may have queries forwarded. Pure: knows addresses and networks, no sockets."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

_LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


class Access:
    """The networks whose hosts may use forwarding; loopback always may."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        self.version = 0
        self._masks: dict[int, set[tuple[int, int]]] = {}
        self.allow(networks)

    def allow(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        """Let exactly these networks and loopback in; `version` moves, so that nobody keeps an old verdict."""
        masks: dict[int, set[tuple[int, int]]] = {4: set(), 16: set()}
        for network in (*_LOOPBACK, *networks):
            size = network.max_prefixlen // 8
            masks[size].add((int(network.netmask), int(network.network_address)))
        self._masks = masks
        self.version += 1

    def may_forward(self, address: bytes) -> bool:
        """Whether the host with this address, of four or sixteen bytes, may have queries forwarded."""
        number = int.from_bytes(address, "big")
        return any(number & mask == prefix for mask, prefix in self._masks[len(address)])
