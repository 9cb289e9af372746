"""Who finds whom by the names of Docker's networks: each container those on its own networks, and no others. Pure.

A container whose resolver is ours asked Docker's before. What that would answer is worked out here in the same way:
links first, then the names on each network; a name with a network's name behind it means that network alone. The
table holds running containers only, so it is bounded by what the engine runs and by the bounds of `memberships`.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address

from weavedns.containers.memberships import Membership
from weavedns.records import names
from weavedns.records.names import MAX_NAME_BYTES, ROOT
from weavedns.records.record import RecordType

_IPV4_BYTES = 4


@dataclass(frozen=True, slots=True)
class _Entry:
    """A container: its networks, every address by which it may ask, and its part of the domain (b"" for none)."""

    networks: tuple[Membership, ...]
    askers: frozenset[bytes]
    subdomain: bytes


class _Network:
    """The containers of a network, by name and by address, each in the order in which they came."""

    __slots__ = ("by_address", "by_name")

    def __init__(self) -> None:
        self.by_name: dict[bytes, dict[str, Membership]] = {}
        self.by_address: dict[bytes, dict[str, Membership]] = {}

    def add(self, container_id: str, place: Membership) -> None:
        for name in place.names:
            self.by_name.setdefault(name, {})[container_id] = place
        for address in place.addresses:
            self.by_address.setdefault(address, {})[container_id] = place

    def remove(self, container_id: str, place: Membership) -> None:
        for index, keys in ((self.by_name, place.names), (self.by_address, place.addresses)):
            for key in keys:
                del index[key][container_id]
                if not index[key]:
                    del index[key]

    def is_empty(self) -> bool:
        return not self.by_name and not self.by_address


class Neighbours:
    """The names of Docker's networks as each asker has them (a `PrivateNames` of the DNS server).

    `weave_range` are the addresses of containers on every host, apart from `hosts`, which are the hosts' own.
    """

    def __init__(self, weave_range: IPv4Network, hosts: IPv4Network) -> None:
        self._weave_range = weave_range
        self._hosts = hosts
        self._entries: dict[str, _Entry] = {}
        self._by_asker: dict[bytes, dict[str, _Entry]] = {}
        self._networks: dict[str, _Network] = {}
        self._names: dict[bytes, int] = {}

    @property
    def names(self) -> Container[bytes]:
        """Every name that any container can ask for here, reverse names included."""
        return self._names

    def containers(self) -> AbstractSet[str]:
        """The IDs of all containers that are known."""
        return self._entries.keys()

    def update(
        self,
        container_id: str,
        networks: Sequence[Membership],
        *,
        weave_addresses: Iterable[bytes] = (),
        subdomain: bytes = b"",
    ) -> None:
        """Make this what is known of a running container; addresses are packed, `subdomain` in wire form."""
        own = (address for place in networks for address in place.addresses)
        entry = _Entry(tuple(networks), frozenset((*own, *weave_addresses)), subdomain)
        if entry == self._entries.get(container_id):
            return
        self.remove(container_id)
        self._entries[container_id] = entry
        for asker in entry.askers:
            self._by_asker.setdefault(asker, {})[container_id] = entry
        for place in entry.networks:
            self._networks.setdefault(place.network_id, _Network()).add(container_id, place)
            for name in _questions(place):
                self._names[name] = self._names.get(name, 0) + 1

    def remove(self, container_id: str) -> None:
        """Forget a container; one that is not known is no error."""
        entry = self._entries.pop(container_id, None)
        if entry is None:
            return
        for asker in entry.askers:
            del self._by_asker[asker][container_id]
            if not self._by_asker[asker]:
                del self._by_asker[asker]
        for place in entry.networks:
            self._leave(container_id, place)

    def find(self, asker: bytes, name: bytes) -> dict[int, list[bytes]] | None:
        """What Docker's resolver would answer a container: its A, AAAA or PTR data by type.

        None when it would not know the name: also when the asker is no container, or one of several that have this
        address on networks apart.
        """
        entry = self._entry(asker)
        if entry is None:
            return None
        address = names.address_of(name)
        if address is not None:
            return self._pointers(entry, address.packed)
        for wanted, network in _splits(name):
            places = [place for place in entry.networks if network in (ROOT, place.network)]
            found = self._by_link(places, wanted) or self._by_name(places, wanted)
            if found:
                return found
        return None

    def is_stranger(self, asker: bytes) -> bool:
        """Whether the asker is a container of the weave network that is not known here: another host's, or new."""
        if len(asker) != _IPV4_BYTES or asker in self._by_asker:
            return False
        address = ip_address(asker)
        return address in self._weave_range and address not in self._hosts

    def subdomain_of(self, asker: bytes) -> bytes | None:
        """The part of the domain in which this container is, if it is in one."""
        entry = self._entry(asker)
        return entry.subdomain or None if entry else None

    def _entry(self, asker: bytes) -> _Entry | None:
        known = self._by_asker.get(asker, {})
        return next(iter(known.values())) if len(known) == 1 else None

    def _leave(self, container_id: str, place: Membership) -> None:
        network = self._networks[place.network_id]
        network.remove(container_id, place)
        if network.is_empty():
            del self._networks[place.network_id]
        for name in _questions(place):
            self._names[name] -= 1
            if not self._names[name]:
                del self._names[name]

    def _by_link(self, places: Collection[Membership], wanted: bytes) -> dict[int, list[bytes]]:
        found = ((place, target) for place in places for alias, target in place.links if alias == wanted)
        return self._merged(found)

    def _by_name(self, places: Collection[Membership], wanted: bytes) -> dict[int, list[bytes]]:
        # Whoever calls somebody else by this name does not mean the one who has it.
        return self._merged((place, wanted) for place in places if all(alias != wanted for alias, _ in place.links))

    def _merged(self, found: Iterable[tuple[Membership, bytes]]) -> dict[int, list[bytes]]:
        """The addresses of a name on the first network that has any, for each kind of address by itself."""
        data: dict[int, list[bytes]] = {}
        for place, name in found:
            here: dict[int, dict[bytes, None]] = {}
            for other in self._networks[place.network_id].by_name.get(name, {}).values():
                for address in other.addresses:
                    rtype = RecordType.A if len(address) == _IPV4_BYTES else RecordType.AAAA
                    here.setdefault(rtype, {})[address] = None
            for kind, addresses in here.items():
                data.setdefault(kind, list(addresses))
        return data

    def _pointers(self, entry: _Entry, address: bytes) -> dict[int, list[bytes]] | None:
        for place in entry.networks:
            for other in self._networks[place.network_id].by_address.get(address, {}).values():
                full = [_joined(name, place.network) for name in other.names[:1]]
                if full and full[0]:
                    return {RecordType.PTR: [full[0]]}
        return None


def _questions(place: Membership) -> Iterator[bytes]:
    """Every name under which somebody can ask because a container is in this place; may repeat some."""
    if not place.names:
        return
    for name in (*place.names, *(alias for alias, _ in place.links)):
        yield name
        full = _joined(name, place.network)
        if full:
            yield full
    for address in place.addresses:
        yield names.reverse(ip_address(address))


def _joined(name: bytes, network: bytes) -> bytes:
    """A name with a network's name behind it; b"" when there is no such name."""
    full = name.removesuffix(ROOT) + network
    return full if network and len(full) <= MAX_NAME_BYTES else b""


def _splits(name: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The name as it is (with the root behind it), and then cut into a name and a network's, the shortest such first.

    Names and networks may both have dots in them.
    """
    yield name, ROOT
    cuts = []
    at = name[0] + 1
    while name[at]:
        cuts.append(at)
        at += name[at] + 1
    for cut in reversed(cuts):
        yield name[:cut] + ROOT, name[cut:]
