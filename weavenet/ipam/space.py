"""Which addresses exist to be given out: the weave range less what is reserved. Never knows who holds what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Interface, IPv4Network

from weavenet.endpoint import LONGEST_PREFIX, Explicit
from weavenet.errors import EndpointError
from weavenet.ipam.runs import Run, less

# More than containers of one host ask for; of the others it is worked out each time.
_SUBNETS_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class Space:
    """The weave range, its part reserved for DNS peers, and the subnet for containers that ask for nothing.

    Raises EndpointError when one of the latter two is not inside the range.
    """

    weave_range: IPv4Network
    dns_subnet: IPv4Network
    default_subnet: IPv4Network

    def __post_init__(self) -> None:
        for what, subnet in (("DNS subnet", self.dns_subnet), ("default subnet", self.default_subnet)):
            if not subnet.subnet_of(self.weave_range):
                raise EndpointError(f"the {what} {subnet} is not inside the weave range {self.weave_range}")
            if subnet.prefixlen > LONGEST_PREFIX:
                raise EndpointError(f"the {what} {subnet} is too small: a prefix length is at most {LONGEST_PREFIX}")
        if self.default_subnet.subnet_of(self.dns_subnet):
            raise EndpointError(
                f"the default subnet {self.default_subnet} is reserved for DNS ({self.dns_subnet}): choose another"
            )

    def interface(self, asked: Explicit) -> IPv4Interface:
        """The address with its prefix, when a container may have it; EndpointError says why it may not."""
        prefix_len = self.weave_range.prefixlen if asked.prefix_len is None else asked.prefix_len
        interface = IPv4Interface((asked.address, prefix_len))
        network = interface.network
        if not network.subnet_of(self.weave_range):
            raise EndpointError(f"{interface} is not inside the weave range {self.weave_range}")
        if interface.ip in self.dns_subnet:
            raise EndpointError(f"{interface.ip} is in {self.dns_subnet}, which is reserved for DNS: choose another")
        if interface.ip in {network.network_address, network.broadcast_address}:
            raise EndpointError(f"{interface.ip} is the first or last address of {network}: choose one between them")
        return interface

    def subnet(self, asked: IPv4Network) -> IPv4Network:
        """The subnet, when containers may have addresses there; EndpointError says why they may not."""
        if not asked.subnet_of(self.weave_range):
            raise EndpointError(f"the subnet {asked} is not inside the weave range {self.weave_range}")
        if asked.subnet_of(self.dns_subnet):
            raise EndpointError(
                f"the subnet {asked} is in {self.dns_subnet}, which is reserved for DNS: choose another"
            )
        return asked

    def runs(self, subnet: IPv4Network) -> list[Run]:
        """Every address of a subnet that a container may have, as first and last number of each stretch of them."""
        return list(_between_edges(subnet, self.dns_subnet))

    def dns_runs(self) -> list[Run]:
        """The same for the addresses that a DNS peer may have."""
        return [(int(self.dns_subnet.network_address) + 1, int(self.dns_subnet.broadcast_address) - 1)]


@lru_cache(maxsize=_SUBNETS_REMEMBERED)
def _between_edges(subnet: IPv4Network, apart: IPv4Network) -> tuple[Run, ...]:
    """The addresses between the first and the last of a subnet without those of another."""
    first, last = int(subnet.network_address), int(subnet.broadcast_address)
    return tuple(less([(first + 1, last - 1)], [(int(apart.network_address), int(apart.broadcast_address))]))
