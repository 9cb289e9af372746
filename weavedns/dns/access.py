"""Who may ask, and who may have queries forwarded. Pure: knows addresses and networks, no sockets."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

Network = IPv4Network | IPv6Network
Masks = dict[int, set[tuple[int, int]]]

_LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


class Access:
    """The networks whose hosts may use forwarding, and those whose hosts may ask at all; loopback always may.

    `askers` is None when everybody may ask.
    """

    def __init__(self, networks: Iterable[Network] = (), *, askers: Iterable[Network] | None = None) -> None:
        self.version = 0
        self._masks: Masks = {}
        self._askers = None if askers is None else _masks(askers)
        self.allow(networks)

    def allow(self, networks: Iterable[Network]) -> None:
        """Forward for exactly these networks and loopback; `version` moves, so that nobody keeps an old verdict."""
        self._masks = _masks(networks)
        self.version += 1

    def may_ask(self, address: bytes) -> bool:
        """Whether the host with this address, of four or sixteen bytes, may ask anything."""
        return self._askers is None or _has(self._askers, address)

    def may_forward(self, address: bytes) -> bool:
        """Whether the host with this address, of four or sixteen bytes, may have queries forwarded."""
        return _has(self._masks, address) and self.may_ask(address)


def _masks(networks: Iterable[Network]) -> Masks:
    masks: Masks = {4: set(), 16: set()}
    for network in (*_LOOPBACK, *networks):
        masks[network.max_prefixlen // 8].add((int(network.netmask), int(network.network_address)))
    return masks


def _has(masks: Masks, address: bytes) -> bool:
    number = int.from_bytes(address, "big")
    return any(number & mask == prefix for mask, prefix in masks[len(address)])
