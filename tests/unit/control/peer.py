"""A peer without sockets: real records, registry, store and answers behind the operations; containers are faked."""

import asyncio
import time
from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from weavedns import config
from weavedns.added import AddedStore
from weavedns.containers import naming, reconcile
from weavedns.containers.roster import Known
from weavedns.containers.service import CONNECTED, ContainerService
from weavedns.control.operations import Operations, Parts
from weavedns.dns.access import Access
from weavedns.dns.answers import Answers, Zone
from weavedns.dns.server import DnsServer
from weavedns.dns.upstream import Upstreams
from weavedns.errors import UnknownContainerError
from weavedns.ownname import ns_name
from weavedns.records.catalog import Catalog
from weavedns.registry import Registry
from weavedns.zones import ZoneStatus, ZoneWatcher
from weavenet import endpoint
from weavenet.errors import NotAttachedError

REDIS_ID = "ca88a6e" + "0" * 57
STOPPED_ID = "dead" + "0" * 60


class FakeContainers:
    """In the place of the container service: redis is attached, `stopped` is known to the engine alone."""

    def __init__(self, peer: "Peer") -> None:
        self.engine_state = CONNECTED
        self.settled = asyncio.Event()
        self.asked: list[tuple[str, str, tuple[str, ...]]] = []
        self.fails: Exception | None = None
        self._peer = peer
        inspection = {
            "Id": REDIS_ID,
            "Name": "/redis",
            "State": {"Running": True, "Pid": 7},
            "Config": {"Hostname": "redis.weave.local"},
        }
        self.redis = Known(
            naming.describe(inspection, domain=peer.settings.domain),
            (IPv4Interface("10.2.0.1/16"),),
            "02:00:00:00:00:01",
        )

    async def identify(self, ref: str) -> str:
        found = {"redis": REDIS_ID, REDIS_ID[:7]: REDIS_ID, REDIS_ID: REDIS_ID, "stopped": STOPPED_ID}.get(ref)
        if found is None:
            raise UnknownContainerError(f"no container {ref!r} on this host")
        return found

    async def resolve(self, ref: str) -> Known:
        if await self.identify(ref) != REDIS_ID:
            raise NotAttachedError(f"container {ref} has no weave address")
        return self.redis

    def attached(self) -> list[Known]:
        return [self.redis]

    async def attach(self, ref: str, spellings: Sequence[str]) -> list[IPv4Interface]:
        return await self._change("attach", ref, spellings)

    async def detach(self, ref: str, spellings: Sequence[str]) -> list[IPv4Interface]:
        return await self._change("detach", ref, spellings)

    async def _change(self, what: str, ref: str, spellings: Sequence[str]) -> list[IPv4Interface]:
        self.asked.append((what, ref, tuple(spellings)))
        if self.fails:
            raise self.fails
        for each in spellings:
            endpoint.parse(each)
        await self.identify(ref)
        return [IPv4Interface("10.2.0.1/16")]

    def republish(self, container_id: str) -> None:
        if container_id == REDIS_ID:
            names: Collection[bytes] = self._peer.registry.names_of(container_id)
            records = reconcile.records_for(
                self.redis.container, [IPv4Address("10.2.0.1")], owner="h1", extra_names=tuple(names)
            )
            self._peer.answers.apply(self._peer.catalog.replace(container_id, records))


class Peer:
    """Everything of one daemon that operations reach; `stops` has how it was told to stop."""

    def __init__(self, directory: Path, *, network: bool = True) -> None:
        self.settings = config.settings(
            name="h1", socket=directory / "w.sock", network=network, listen=() if network else ("127.0.0.1:5353",)
        )
        domain = self.settings.domain
        self.catalog = Catalog()
        zone = Zone(domain=domain, weave_range=self.settings.weave_range, ns=ns_name(domain), ttl_s=1)
        self.answers = Answers(zone, self.catalog)
        self.store = AddedStore(directory / "added.zone", owner="h1", domain=domain, default_ttl_s=1)
        self.containers = FakeContainers(self)
        self.registry = Registry(
            self.catalog,
            self.store,
            owner="h1",
            domain=domain,
            default_ttl_s=1,
            publish=self.answers.apply,
            republish=self.containers.republish,
        )
        self.upstreams = Upstreams([("192.0.2.53", 53)])
        self.zones: list[ZoneStatus] = []
        self.stops: list[bool] = []
        self.operations = Operations(
            Parts(
                settings=self.settings,
                catalog=self.catalog,
                dns=DnsServer(self.answers, Access(), self.upstreams),
                registry=self.registry,
                zones=cast("ZoneWatcher", SimpleNamespace(status=lambda: self.zones)),
                containers=cast("ContainerService", self.containers) if network else None,
                dns_address=IPv4Address("10.2.254.1") if network else None,
                started_at=time.monotonic(),
                upstreams=self.upstreams,
                stop=self._stop,
            )
        )

    async def start(self) -> "Peer":
        """Read what was added earlier, and learn of the containers."""
        await self.registry.load()
        if self.settings.network:
            self.containers.republish(REDIS_ID)
            self.containers.settled.set()
        return self

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [row for row in self.operations.records() if row["name"] == f"{name}.weave.local"]

    async def _stop(self, clean: bool) -> None:
        self.stops.append(clean)
