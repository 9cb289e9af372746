"""The running containers as they are known now, and what follows from that: their records and their neighbourhood.

Knows neither the engine nor an interface: it is told what each container is and which addresses it has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface

from weavedns.containers import naming, reconcile
from weavedns.containers.neighbours import Neighbours
from weavedns.records import names
from weavedns.records.catalog import Catalog, Change


@dataclass(slots=True)
class Known:
    """A running container and what it has on the weave network now."""

    container: naming.Container
    addresses: tuple[IPv4Interface, ...] = ()
    mac: str = ""


class Roster:
    """All running containers, with records of `owner` for each that has an address.

    `publish` takes changes to the catalog; `neighbours` is told of every running container, attached or not, as one
    that is attached may look for any of those on its Docker networks; `names_by_hand` tells the names that people
    gave a container.
    """

    def __init__(
        self,
        catalog: Catalog,
        neighbours: Neighbours,
        *,
        owner: str,
        publish: Callable[[list[Change]], None],
        names_by_hand: Callable[[str], Collection[bytes]],
    ) -> None:
        self._catalog = catalog
        self._neighbours = neighbours
        self._owner = owner
        self._publish = publish
        self._names_by_hand = names_by_hand
        self._known: dict[str, Known] = {}

    def get(self, container_id: str) -> Known | None:
        """What is known of a container that runs."""
        return self._known.get(container_id)

    def ids(self) -> set[str]:
        """All that is known of, by the neighbours too."""
        return self._known.keys() | self._neighbours.containers()

    def attached(self) -> list[Known]:
        """The containers that have an address, in the order of their names."""
        return sorted((each for each in self._known.values() if each.addresses), key=lambda each: each.container.name)

    def introduce(self, container: naming.Container) -> None:
        """Let a container ask for its neighbours, with the addresses that it is known to have so far."""
        before = self._known.get(container.id)
        self._meet(container, before.addresses if before else ())

    def learn(self, container: naming.Container, addresses: Sequence[IPv4Interface] = (), mac: str = "") -> None:
        """A container is so now: bring its records and its neighbourhood in step."""
        known = self._known[container.id] = Known(container, tuple(addresses), mac)
        self._meet(container, known.addresses)
        self._register(known)

    def republish(self, container_id: str) -> None:
        """Bring the records of a container in step with the names it should have now."""
        known = self._known.get(container_id)
        if known is not None:
            self._register(known)

    def drop(self, container_id: str) -> None:
        """A container does not run any more."""
        self._known.pop(container_id, None)
        self._neighbours.remove(container_id)
        self._publish(self._catalog.replace(container_id, ()))

    def _meet(self, container: naming.Container, addresses: Sequence[IPv4Interface]) -> None:
        self._neighbours.update(
            container.id,
            container.networks,
            weave_addresses=[each.ip.packed for each in addresses],
            subdomain=names.parse(container.subdomain + ".") if container.subdomain else b"",
        )

    def _register(self, known: Known) -> None:
        records = reconcile.records_for(
            known.container,
            [each.ip for each in known.addresses],
            owner=self._owner,
            extra_names=tuple(self._names_by_hand(known.container.id)),
        )
        self._publish(self._catalog.replace(known.container.id, records))
