"""What a person asks for when a container is to be attached: reads every spelling, decides nothing about addresses.

Whether an address is in the weave range, or free, is for `weavenet.ipam` to say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from weavenet.errors import EndpointError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*\Z")
_ADDRESS = re.compile(r"(?P<address>[0-9.]+)(?:/(?P<prefix>[0-9]{1,2}))?\Z")
# Smaller subnets have no host address between the first and the last, which are never given out.
LONGEST_PREFIX = 30
_SPELLINGS = "write 10.2.45.3/24, net:10.2.67.0/24, net:default or none"


@dataclass(frozen=True, slots=True)
class Explicit:
    """This address; without a prefix length it takes that of the weave range."""

    address: IPv4Address
    prefix_len: int | None = None


@dataclass(frozen=True, slots=True)
class InSubnet:
    """Any free address of this subnet."""

    subnet: IPv4Network


@dataclass(frozen=True, slots=True)
class Default:
    """Any free address of the default subnet."""


@dataclass(frozen=True, slots=True)
class Off:
    """No address at all."""


Endpoint = Explicit | InSubnet | Default | Off


def parse(text: str) -> Endpoint:
    """Read one endpoint as `WEAVE_CIDR`, a label or a command spells it; EndpointError says what is wrong."""
    spelled = text.strip()
    scheme, rest = _split(spelled)
    if scheme in {"", "ip"} and scheme + rest in {"none", "off"}:
        return Off()
    if not rest and scheme in {"", "weave"}:
        return Default()
    if scheme in {"net", "weave"}:
        if rest == "default":
            return Default()
        if _NAME.match(rest):
            raise EndpointError(f"{spelled!r}: there is no network named {rest!r}; {_SPELLINGS}")
    found = _ADDRESS.match(rest)
    if found is None:
        raise EndpointError(f"{spelled!r} is not an address; {_SPELLINGS}")
    address, prefix_len = _read(spelled, found["address"], found["prefix"])
    if scheme == "net" or (scheme == "weave" and _is_subnet(address, prefix_len)):
        return _subnet(spelled, address, prefix_len)
    return _explicit(spelled, address, prefix_len)


def _split(spelled: str) -> tuple[str, str]:
    lowered = spelled.lower()
    for prefix, scheme in (("weave://", "weave"), ("net:", "net"), ("ip:", "ip")):
        if lowered.startswith(prefix):
            return scheme, lowered[len(prefix) :]
    return "", lowered


def _read(spelled: str, address: str, prefix: str | None) -> tuple[IPv4Address, int | None]:
    try:
        read = IPv4Address(address)
    except ValueError as exc:
        raise EndpointError(f"{spelled!r} is not an IPv4 address: {exc}") from exc
    if prefix is None:
        return read, None
    if int(prefix) > LONGEST_PREFIX:
        raise EndpointError(f"{spelled!r}: a prefix length is at most {LONGEST_PREFIX}, such as {address}/24")
    return read, int(prefix)


def _is_subnet(address: IPv4Address, prefix_len: int | None) -> bool:
    return prefix_len is not None and IPv4Interface((address, prefix_len)).network.network_address == address


def _subnet(spelled: str, address: IPv4Address, prefix_len: int | None) -> InSubnet:
    if prefix_len is None:
        raise EndpointError(f"{spelled!r} is not a subnet: it lacks a prefix length, such as net:{address}/24")
    network = IPv4Interface((address, prefix_len)).network
    if network.network_address != address:
        raise EndpointError(
            f"{spelled!r} is not a subnet: write net:{network}, or {address}/{prefix_len} for the address"
        )
    return InSubnet(network)


def _explicit(spelled: str, address: IPv4Address, prefix_len: int | None) -> Explicit:
    if _is_subnet(address, prefix_len):
        raise EndpointError(f"{spelled!r} is a subnet, not an address: write net:{address}/{prefix_len}")
    return Explicit(address, prefix_len)
