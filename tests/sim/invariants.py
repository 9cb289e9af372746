"""What must hold after every step of every host, without waiting for quiet."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.sim.world import Host, World
from weavedns.records.log import Fact, Item, Replica
from weavedns.records.record import Record

_MASK = 2**64 - 1


def _key(item: Item) -> tuple[object, ...]:
    return (item.kind, item.key) if isinstance(item, Fact) else (item.holder, item.name, item.rtype, item.rdata)


def _hash(item: Item) -> int:
    return hash((_key(item), item.ttl_s if isinstance(item, Record) else item.data)) & _MASK


def content(replica: Replica) -> int:
    """A number for all that an owner has, TTLs and the data of facts too, whatever the order."""
    items: list[Item] = [*replica.records(), *replica.facts.values()]
    return sum(map(_hash, items)) & _MASK


@dataclass
class _Mirror:
    """What an owner published, repeated from its log."""

    version: int
    items: dict[tuple[object, ...], int] = field(default_factory=dict)
    total: int = 0


class Invariants:
    """Watches a world: no owner is contradicted, no version goes back, answers are what their owners published."""

    def __init__(self, world: World) -> None:
        self._published: dict[tuple[str, int, int], int] = {}
        self._mirrors: dict[tuple[str, int], _Mirror] = {}
        self._seen: dict[tuple[str, int], dict[str, tuple[int, int]]] = {}
        self.checks = 0
        for host in world.hosts.values():
            self._note(host)
        world.after = self.check

    def check(self, host: Host) -> None:
        """Look at one host."""
        self._note(host)
        seen = self._seen.setdefault((host.name, host.node.boot), {})
        for owner, version in host.catalog.vector().items():
            known = seen.get(owner)
            if known == version or owner == host.name:
                continue
            assert known is None or known < version, f"{host.name} went back from {known} to {version} of {owner}"
            seen[owner] = version
            replica = host.catalog.replica(owner)
            assert replica is not None
            self._compare(host, replica)
            self.checks += 1

    def _note(self, host: Host) -> None:
        """Note every version that a host has published since."""
        own = host.catalog.own
        mirror = self._mirrors.get((host.name, own.incarnation))
        if mirror is None:
            mirror = self._mirrors[host.name, own.incarnation] = _Mirror(own.version)
            items: list[Item] = [*own.records(), *own.facts.values()]
            for item in items:
                self._apply(mirror, item, added=True)
        elif mirror.version == own.version:
            return
        else:
            delta = own.since(mirror.version)
            assert delta is not None, "more was published in one step than the log holds"
            for entry in delta.entries:
                self._apply(mirror, entry.item, added=entry.added)
                mirror.version += 1
                self._published[host.name, own.incarnation, mirror.version] = mirror.total
        self._published[host.name, own.incarnation, own.version] = mirror.total
        assert mirror.total == content(own)

    @staticmethod
    def _apply(mirror: _Mirror, item: Item, *, added: bool) -> None:
        mirror.total = (mirror.total - mirror.items.pop(_key(item), 0)) & _MASK
        if added:
            mirror.items[_key(item)] = _hash(item)
            mirror.total = (mirror.total + _hash(item)) & _MASK

    def _compare(self, host: Host, replica: Replica) -> None:
        key = (replica.owner, replica.incarnation, replica.version)
        assert key in self._published, f"{host.name} has {key}, which was never published"
        assert content(replica) == self._published[key], f"{host.name} has something else as {key}"
        assert not replica.partial
