"""Docker's networks that a container is on, and its names there, as its inspection tells them. Pure.

On a network that somebody made (Compose makes one for a project) Docker's own resolver knows containers by name,
alias and short ID; on the one that is there by default it knows none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from weavedns.containers.inspection import Inspection, dig, items, text
from weavedns.records.names import MAX_LABEL_BYTES, MAX_NAME_BYTES, ROOT

# One container cannot fill the table of names: what is past these bounds is left out.
MAX_NETWORKS = 64
MAX_NAMES = 256
MAX_LINKS = 256

_WITHOUT_NAMES = frozenset({"bridge", "host", "none", "nat"})
_SHORT_ID = 12


@dataclass(frozen=True, slots=True)
class Membership:
    """A container's place on one of Docker's networks.

    Names are in wire form and lower case. `names` start with the one that its addresses' PTR records give; `links`
    are names for others that it alone has: (its name for it, a name that the network has). `network` is the
    network's name, b"" when no DNS name can have it. Where Docker serves no names, all three are empty.
    """

    network_id: str
    network: bytes
    addresses: tuple[bytes, ...]
    names: tuple[bytes, ...] = ()
    links: tuple[tuple[bytes, bytes], ...] = ()


def memberships_of(inspection: Inspection) -> tuple[Membership, ...]:
    """The networks on which the container has an address, in the order in which Docker's resolver searches them."""
    found = []
    # Docker goes by priorities that it does not tell, and then by the networks' names.
    for network, settings in sorted(inspection.networks.items())[:MAX_NETWORKS]:
        addresses = tuple(_addresses(settings))
        network_id = text(dig(settings, "NetworkID")) or network
        if not addresses:
            continue
        if network in _WITHOUT_NAMES:
            found.append(Membership(network_id, b"", addresses))
            continue
        found.append(
            Membership(
                network_id,
                wire_of(network) or b"",
                addresses,
                _wires(_names(inspection, settings))[:MAX_NAMES],
                tuple(_links(items(dig(settings, "Links"))[:MAX_LINKS])),
            )
        )
    return tuple(found)


def wire_of(name: str) -> bytes | None:
    """A name of Docker's, which may have dots and any other character, in wire form; None when it has none."""
    labels = name.encode(errors="surrogateescape").lower().split(b".")
    if not all(0 < len(label) <= MAX_LABEL_BYTES for label in labels):
        return None
    wire = b"".join(bytes((len(label),)) + label for label in labels) + ROOT
    return wire if len(wire) <= MAX_NAME_BYTES else None


def _names(inspection: Inspection, settings: object) -> Iterator[str]:
    # Newer engines list all names that they serve, the older ones keep name and short ID to themselves.
    listed = [text(each) for each in items(dig(settings, "DNSNames"))]
    if listed:
        yield from listed
        return
    yield inspection.name
    yield from (text(each) for each in items(dig(settings, "Aliases")))
    yield inspection.id[:_SHORT_ID]


def _wires(found: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(wire for wire in map(wire_of, found) if wire))


def _links(links: Iterable[object]) -> Iterator[tuple[bytes, bytes]]:
    for link in links:
        target, _, alias = text(link).lstrip("/").partition(":")
        wires = wire_of(alias.rpartition("/")[2] or target), wire_of(target)
        if wires[0] and wires[1]:
            yield wires[0], wires[1]


def _addresses(settings: object) -> Iterator[bytes]:
    for key in ("IPAddress", "GlobalIPv6Address"):
        try:
            yield ip_address(text(dig(settings, key)).partition("/")[0]).packed
        except ValueError:
            continue
