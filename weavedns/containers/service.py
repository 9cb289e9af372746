"""The one place where engine, attachment and records meet: every way in, event or command, goes through it.

Work is level-triggered: whatever happened, the container is looked at and made to be as it should, so a lost
event costs time and never truth. It holds no rule about names (naming.py) or interfaces (weavenet).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

from weavedns.containers import naming
from weavedns.containers.engine import (
    ContainerChanged,
    ContainerDied,
    ContainerRemoved,
    ContainerStarted,
    Engine,
    EngineDown,
    EngineUp,
    Event,
    NetworksChanged,
    Resync,
)
from weavedns.containers.roster import Known, Roster
from weavedns.errors import EngineError, UnknownContainerError, WeaveError
from weavenet import endpoint
from weavenet.attach import Attacher
from weavenet.endpoint import Endpoint
from weavenet.errors import ContainerGoneError, EndpointError, NotAttachedError, WeaveNetError
from weavenet.target import Target

log = logging.getLogger(__name__)

# Enough to keep netlink and the engine busy; more only makes each attach wait longer.
CONCURRENT_REFRESHES = 8
MAX_PENDING_EVENTS = 256
RECONCILE_EVERY_S = 60.0
CONNECTED = "connected"


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides over names and attachment, out of the settings."""

    domain: bytes
    policy: naming.AttachPolicy
    default_ttl_s: int


class ContainerService:
    """Keeps containers attached and their records in step.

    `settled` is set once the containers that were running at the launch are attached, or no engine was found; `found`
    sooner, when those that had been attached before are known; `recovered` likewise, but never without an engine.
    New addresses are given out once `ready` returns. `removed` hears of containers that do not exist any more;
    `forward_for` is told the subnets of Docker's networks, whose containers may have queries forwarded.
    """

    def __init__(
        self,
        engine: Engine,
        attacher: Attacher,
        roster: Roster,
        rules: Rules,
        *,
        removed: Callable[[str], None],
        forward_for: Callable[[Collection[Any]], None],
        ready: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._engine = engine
        self._attacher = attacher
        self._roster = roster
        self._rules = rules
        self._removed = removed
        self._forward_for = forward_for
        self._attached_by_hand: dict[str, tuple[str, ...]] = {}
        self._detached_by_hand: set[str] = set()
        self._locks: dict[str, asyncio.Lock] = {}
        self._refreshes = asyncio.Semaphore(CONCURRENT_REFRESHES)
        self._pending = asyncio.Semaphore(MAX_PENDING_EVENTS)
        self._ready = ready
        self.recovered = asyncio.Event()
        self.found = asyncio.Event()
        self.engine_state = "looking for it"
        self.settled = asyncio.Event()

    async def run(self) -> None:
        """Follow the engine until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._reconcile_regularly())
            async for event in self._engine.events():
                # Past this many the events wait in the engine's own bounded backlog.
                await self._pending.acquire()
                task = tasks.create_task(_guarded(self._take(event)))
                task.add_done_callback(lambda _: self._pending.release())

    async def _take(self, event: Event) -> None:
        match event:
            case EngineUp():
                self.engine_state = CONNECTED
                log.info("the Docker engine answers; looking at its containers")
                await self.reconcile()
            case EngineDown(reason):
                self.engine_state = f"not there, still looking: {reason}"
                self.found.set()
                self.settled.set()
                log.warning("%s; what is known keeps being served", reason)
            case Resync(reason):
                log.warning("%s; looking at all containers", reason)
                await self.reconcile()
            case NetworksChanged():
                await self._learn_networks()
            case ContainerStarted(container_id) | ContainerChanged(container_id):
                await self.refresh(container_id)
            case ContainerDied(container_id, time_ns):
                await self._died(container_id, time_ns)
            case ContainerRemoved(container_id):
                await self._container_removed(container_id)

    async def reconcile(self) -> None:
        """Compare everything with the engine and the kernel, and put right what differs."""
        await self._learn_networks()
        running = {each["Id"]: each for each in await self._engine.running()}
        if not self.recovered.is_set():
            # Addresses in use must all be known before the first new one is chosen.
            async with asyncio.TaskGroup() as tasks:
                for inspection in running.values():
                    tasks.create_task(_guarded(self._adopt(inspection)))
            self.recovered.set()
            self.found.set()
        async with asyncio.TaskGroup() as tasks:
            for container_id, inspection in running.items():
                tasks.create_task(_guarded(self.refresh(container_id, inspection)))
            for container_id in self._roster.ids() - running.keys():
                tasks.create_task(_guarded(self.refresh(container_id)))
        self.settled.set()

    async def refresh(self, container_id: str, inspection: Mapping[str, Any] | None = None) -> None:
        """Make one container's attachment and records what they should be."""
        await self.recovered.wait()
        async with self._turn(container_id):
            try:
                container = self._describe(inspection or await self._engine.inspect(container_id))
            except UnknownContainerError:
                self._roster.drop(container_id)
                self._attacher.removed(container_id)
                return
            if not container.running:
                self._roster.drop(container_id)
                self._attacher.died(container_id, time.monotonic())
                return
            await self._bring_up(container)

    async def attach(self, ref: str, spellings: Sequence[str]) -> list[IPv4Interface]:
        """Attach a running container by hand and return the addresses that were asked for; the default when none.

        Raises UnknownContainerError, EndpointError, AddressInUseError, NoAddressError, ContainerGoneError.
        """
        container_id = (await self._engine.inspect(ref))["Id"]
        await self.recovered.wait()
        await self._may_attach()
        async with self._turn(container_id):
            container = self._attachable(self._describe(await self._engine.inspect(container_id)))
            endpoints = _endpoints_by_hand(spellings or ("",))
            addresses = await self._attacher.attach(self._target(container), endpoints)
            self._detached_by_hand.discard(container_id)
            earlier = self._attached_by_hand.get(container_id, ())
            self._attached_by_hand[container_id] = tuple(dict.fromkeys((*earlier, *(spellings or ("",)))))
            await self._observe(container)
        return list(addresses)

    async def detach(self, ref: str, spellings: Sequence[str]) -> list[IPv4Interface]:
        """Take addresses, or all, from a container by hand and return them.

        Raises UnknownContainerError, NotAttachedError.
        """
        container_id = (await self._engine.inspect(ref))["Id"]
        async with self._turn(container_id):
            container = self._attachable(self._describe(await self._engine.inspect(container_id)))
            addresses = await self._attacher.detach(self._target(container), _endpoints_by_hand(spellings))
            left = await self._observe(container)
            self._attached_by_hand.pop(container_id, None)
            if not left:
                self._detached_by_hand.add(container_id)
        return list(addresses)

    async def detach_all(self) -> None:
        """Detach every container and put its resolv.conf back; goes on past errors, which are logged."""
        for known in self._roster.attached():
            await _guarded(self.detach(known.container.id, ()))

    async def resolve(self, ref: str) -> Known:
        """The attached container that `ref` names; raises UnknownContainerError or NotAttachedError."""
        inspection = await self._engine.inspect(ref)
        known = self._roster.get(inspection["Id"])
        if known is None or not known.addresses:
            self._attachable(self._describe(inspection))
            raise NotAttachedError(f"container {ref} has no weave address; attach it with 'weavenet attach {ref}'")
        return known

    async def identify(self, ref: str) -> str:
        """The ID of the container that `ref` names; raises UnknownContainerError."""
        return str((await self._engine.inspect(ref))["Id"])

    def attached(self) -> list[Known]:
        """The containers that have an address, in the order of their names."""
        return self._roster.attached()

    async def _bring_up(self, container: naming.Container) -> None:
        self._warn_once(container)
        # Before its resolver becomes ours: from then on it asks us for its neighbours.
        self._roster.introduce(container)
        if not container.own_network:
            self._roster.learn(container)
            return
        target = self._target(container)
        observed = await self._attacher.adopt(target)
        wish = dict.fromkeys((*container.wish.endpoints, *self._attached_by_hand.get(container.id, ())))
        if wish and not observed.addresses and container.id not in self._detached_by_hand:
            try:
                await self._may_attach()
                await self._attacher.attach(target, _endpoints(tuple(wish)))
            except ContainerGoneError:
                log.info("container %s ended while it was being attached", container.name)
                self._roster.drop(container.id)
                return
            except WeaveNetError as exc:
                # Its names stay out of the answers: a name must lead to an address that can be reached.
                log.warning("container %s is not attached: %s", container.name, exc)
        await self._observe(container)

    def _warn_once(self, container: naming.Container) -> None:
        # What is looked at every minute would be said every minute.
        before = self._roster.get(container.id)
        for warning in container.warnings:
            if before is None or warning not in before.container.warnings:
                log.warning("container %s: %s", container.name, warning)

    async def _observe(self, container: naming.Container) -> Sequence[IPv4Interface]:
        """Learn which addresses a container has now, and return them."""
        observed = await self._attacher.observe(self._target(container))
        self._roster.learn(container, observed.addresses, observed.mac or "")
        return observed.addresses

    async def _died(self, container_id: str, time_ns: int) -> None:
        async with self._turn(container_id):
            known = self._roster.get(container_id)
            if known is not None and known.container.started_ns > time_ns:
                return  # that was an earlier life: it runs again already
            self._roster.drop(container_id)
            self._detached_by_hand.discard(container_id)
            self._attacher.died(container_id, time.monotonic())

    async def _container_removed(self, container_id: str) -> None:
        async with self._turn(container_id):
            self._roster.drop(container_id)
            self._attached_by_hand.pop(container_id, None)
            self._detached_by_hand.discard(container_id)
            self._attacher.removed(container_id)
            self._removed(container_id)
        self._locks.pop(container_id, None)

    async def _adopt(self, inspection: Mapping[str, Any]) -> None:
        container = self._describe(inspection)
        if container.running and container.own_network:
            observed = await self._attacher.adopt(self._target(container))
            if observed.addresses:  # its names at once: only then do other peers hear of this host
                self._roster.learn(container, observed.addresses, observed.mac or "")

    async def _may_attach(self) -> None:
        """Wait until the addresses in use elsewhere are known."""
        if self._ready:
            await self._ready()

    async def _learn_networks(self) -> None:
        self._forward_for(await self._engine.subnets())

    async def _reconcile_regularly(self) -> None:
        while True:
            await asyncio.sleep(RECONCILE_EVERY_S)
            if self.engine_state == CONNECTED:
                await _guarded(self.reconcile())

    def _describe(self, inspection: Mapping[str, Any]) -> naming.Container:
        rules = self._rules
        return naming.describe(
            inspection, domain=rules.domain, policy=rules.policy, default_ttl_s=rules.default_ttl_s
        )

    def _attachable(self, container: naming.Container) -> naming.Container:
        if not container.running:
            raise NotAttachedError(f"container {container.name} is not running; start it first")
        if not container.own_network:
            raise NotAttachedError(
                f"container {container.name} has no network of its own: it has --network {container.network_mode}"
            )
        return container

    def _target(self, container: naming.Container) -> Target:
        return Target(
            container_id=container.id,
            name=container.name,
            pid=container.pid,
            resolv_conf=Path(container.resolv_conf) if container.resolv_conf else None,
            search_own=container.subdomain,
            dns_search_given=container.dns_search_given,
            resolver=container.resolver,
        )

    @contextlib.asynccontextmanager
    async def _turn(self, container_id: str) -> AsyncIterator[None]:
        """One thing at a time for a container, in the order of arrival; a few at a time for all."""
        async with self._locks.setdefault(container_id, asyncio.Lock()), self._refreshes:
            yield


async def _guarded(work: Awaitable[object]) -> None:
    """Let one container's trouble not touch the others: told in one line."""
    try:
        await work
    except (EngineError, ContainerGoneError) as exc:
        log.info("%s", exc)
    except (WeaveError, WeaveNetError, OSError) as exc:
        log.warning("%s", exc)
    except Exception:
        log.exception("a container could not be handled; the others are")


def _endpoints(spellings: Sequence[str]) -> list[Endpoint]:
    parsed = [endpoint.parse(each) for each in spellings]
    return [each for each in parsed if not isinstance(each, endpoint.Off)]


def _endpoints_by_hand(spellings: Sequence[str]) -> list[Endpoint]:
    parsed = {each: endpoint.parse(each) for each in spellings}
    for spelled, asked in parsed.items():
        if isinstance(asked, endpoint.Off):
            raise EndpointError(f"{spelled!r} asks for no address; name one, or leave it out")
    return list(parsed.values())
