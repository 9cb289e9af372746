"""Which names stand for an address of the weave range, as A records say. Answers no query."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Network

_SUFFIX = b"\x07in-addr\x04arpa\0"
_ADDRESS_OCTETS = 4
_OCTETS = 256
_OCTET_OF_LABEL = {bytes((len(str(octet)),)) + str(octet).encode(): octet for octet in range(_OCTETS)}


class ReverseIndex:
    """The names of each address.

    Addresses are the four bytes of the record's own data and names the record's own name, so that the index
    itself costs one table entry a record; the PTR records are made when somebody asks.
    """

    def __init__(self, network: IPv4Network) -> None:
        self._mask = int(network.netmask)
        self._prefix = int(network.network_address)
        # By the last octet: queries would wait while one table of 100,000 grows.
        self._names: list[dict[bytes, bytes | dict[bytes, None]]] = [{} for _ in range(_OCTETS)]
        self._below: dict[bytes, int] = {}

    def covers(self, address: bytes) -> bool:
        """Whether this address of four bytes is in the weave range."""
        return int.from_bytes(address, "big") & self._mask == self._prefix

    def add(self, address: bytes, name: bytes) -> None:
        """Let `name` stand for `address`."""
        names = self._names[address[-1]]
        known = names.get(address)
        if known is None:
            names[address] = name
            self._count(address, 1)
        elif isinstance(known, dict):
            known[name] = None
        elif known != name:
            names[address] = {known: None, name: None}

    def remove(self, address: bytes, name: bytes) -> None:
        """Let `name` no longer stand for `address`."""
        names = self._names[address[-1]]
        known = names.get(address)
        if isinstance(known, dict):
            known.pop(name, None)
            if len(known) == 1:
                names[address] = next(iter(known))
        elif known == name:
            del names[address]
            self._count(address, -1)

    def names_of(self, address: bytes) -> Collection[bytes]:
        """The names of an address."""
        known = self._names[address[-1]].get(address, ())
        return (known,) if isinstance(known, bytes) else known

    def has_under(self, prefix: bytes) -> bool:
        """Whether addresses that start with these octets, and have more, have names."""
        return prefix in self._below

    def _count(self, address: bytes, step: int) -> None:
        for size in range(1, _ADDRESS_OCTETS):
            prefix = address[:size]
            count = self._below.get(prefix, 0) + step
            if count:
                self._below[prefix] = count
            else:
                del self._below[prefix]


def octets_of(labels: Iterable[bytes]) -> bytes | None:
    """The leading octets of the address that these labels (with their length bytes) stand for, or None."""
    octets = [_OCTET_OF_LABEL.get(label) for label in labels]
    if len(octets) > _ADDRESS_OCTETS or None in octets:
        return None
    return bytes(octet for octet in reversed(octets) if octet is not None)
