"""Attaches running containers to the weave bridge and detaches them: validates, applies, rolls back. No other way in.

Addresses are decided on the loop's thread, by the allocator that this file owns from then on; the kernel is asked and
changed in worker threads. What the kernel shows of a container is always believed over what is remembered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface
from typing import TypeVar
from weakref import WeakValueDictionary

from weavenet import givers, netns, plan, veth
from weavenet.endpoint import Default, Endpoint, Explicit, InSubnet, Off
from weavenet.errors import (
    AddressInUseError,
    ContainerGoneError,
    NotAttachedError,
    ResolverMovedError,
    WeaveNetError,
)
from weavenet.givers import Givers
from weavenet.ipam.allocator import Allocator
from weavenet.ipam.claims import Claim
from weavenet.netlink import Netlink
from weavenet.netns import Namespace
from weavenet.network import WeaveNetwork
from weavenet.resolver import Resolver
from weavenet.target import Target

# The kernel changes interfaces one at a time; more threads would only wait for its lock.
WORKERS = 4
# Docker may be writing a container's resolv.conf just then.
_RESOLVER_TRIES = 3
# A loop that does not answer for so long has ended; its workers must not wait for ever.
_DECISION_WITHIN_S = 30.0

log = logging.getLogger(__name__)

_A = TypeVar("_A")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Observed:
    """A container's interface on the weave network; both fields are empty when it has none."""

    mac: str
    addresses: tuple[IPv4Interface, ...]


class Attacher:
    """Attaches containers of one host to its weave network.

    `nameservers` is asked at each attach, with those that the container has from us, and gives this peer's own first;
    `domain` goes into search lists; `perform` carries out one step of a plan; `addresses_from` are asked when this
    peer owns no free address.
    """

    def __init__(
        self,
        network: WeaveNetwork,
        allocator: Allocator,
        *,
        domain: str,
        nameservers: Callable[[Sequence[str]], Sequence[str]],
        clock: Callable[[], float] = time.monotonic,
        perform: Callable[[plan.Step, veth.Site], None] = veth.perform,
        addresses_from: Givers | None = None,
    ) -> None:
        self._network = network
        self._allocator = allocator
        self._resolver = Resolver(domain.rstrip("."), nameservers, self._warn)
        self._clock = clock
        self._perform = perform
        self._givers = addresses_from
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="weavenet")
        self._free_workers = asyncio.Semaphore(WORKERS)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._warned: set[tuple[str, str]] = set()
        # The attached containers, to be brought up to date when something changes for all.
        self._attached: dict[str, Target] = {}

    async def attach(self, target: Target, endpoints: Sequence[Endpoint]) -> list[IPv4Interface]:
        """Give a container what each endpoint asks for and return those addresses, in that order.

        What it has already it keeps. Waits a while for other peers to give addresses. Raises EndpointError,
        AddressInUseError, NoAddressError, ContainerGoneError or NetworkError, and then everything is as it was.
        """
        # Others have their turn, and the workers, while this waits.
        return await givers.until_given(self._givers, lambda: self._attach_unless_moved(target, endpoints))

    async def detach(self, target: Target, endpoints: Sequence[Endpoint] = ()) -> list[IPv4Interface]:
        """Take what the endpoints name, or everything, from a container and return those addresses.

        Without an address left the interface goes and resolv.conf is put back. Goes on past an error and raises the
        first at the end. Raises NotAttachedError when the container has nothing that is named.
        """
        loop = asyncio.get_running_loop()
        leaving: list[IPv4Interface] = []
        errors: list[WeaveNetError] = []

        def decide(observed: plan.Observed) -> Sequence[plan.Step]:
            self._learn(target, observed)
            leaving.extend(self._named(target, observed.addresses, endpoints))
            leave = tuple(each for each in observed.addresses if each not in leaving)
            return plan.detach(observed, leave, self._desired(target, observed, ()))

        def settle(observed: plan.Observed) -> None:
            self._learn(target, observed)
            for each in leaving:
                if each not in observed.addresses:
                    self._allocator.release(target.container_id, each.ip)
            self._claimed()

        def tear_down(site: veth.Site, steps: Sequence[plan.Step]) -> None:
            errors.extend(self._tear_down(target, site, steps))
            _ask(loop, settle, veth.observe(site, target.container_id, target.name))

        await self._visit(target, decide, tear_down)
        if errors:
            raise errors[0]
        return leaving

    async def observe(self, target: Target) -> Observed:
        """How a container is attached now, from the kernel; raises ContainerGoneError, NetworkError."""

        def decide(observed: plan.Observed) -> Sequence[plan.Step]:
            self._learn(target, observed)
            return ()

        observed = await self._visit(target, decide, lambda site, steps: self._apply(target, site, steps))
        return Observed(observed.mac, observed.addresses)

    async def adopt(self, target: Target) -> Observed:
        """Learn which addresses a container uses and put right what is not as `attach` would leave it.

        Raises ContainerGoneError, NetworkError.
        """

        def decide(observed: plan.Observed) -> Sequence[plan.Step]:
            self._learn(target, observed)
            if not observed.addresses:
                return ()
            return plan.attach(observed, self._desired(target, observed, observed.addresses))

        def apply(site: veth.Site, steps: Sequence[plan.Step]) -> None:
            # Whoever moved it is heard of in an event, or at the next look.
            with contextlib.suppress(ResolverMovedError):
                self._apply(target, site, steps)

        observed = await self._visit(target, decide, apply)
        return Observed(observed.mac, observed.addresses)

    def died(self, container_id: str, now: float) -> None:
        """Keep a stopped container's addresses for a while, in case it returns."""
        self._allocator.died(container_id, now)
        self._attached.pop(container_id, None)
        self._claimed()

    def removed(self, container_id: str) -> None:
        """Free the addresses of a container that is no more."""
        self._allocator.removed(container_id)
        self._attached.pop(container_id, None)
        self._claimed()
        self._warned = {warned for warned in self._warned if warned[0] != container_id}

    async def refresh_resolvers(self) -> int:
        """Bring the resolv.conf of each attached container up to date with the name servers; how many it wrote.

        Files that are not ours any more are left alone; what cannot be written is logged, and put right by `adopt`.
        """
        return sum(await asyncio.gather(*map(self._refresh_resolver, tuple(self._attached.values()))))

    async def refresh_interfaces(self) -> None:
        """Put each attached container's interface right, as after the network's MTU has changed; logs what fails."""
        await asyncio.gather(*map(self._refresh_interface, tuple(self._attached.values())))

    async def close(self) -> None:
        """Wait for the worker threads to end; no container is touched."""
        await asyncio.to_thread(self._workers.shutdown)

    async def _attach_unless_moved(self, target: Target, endpoints: Sequence[Endpoint]) -> list[IPv4Interface]:
        for _ in range(_RESOLVER_TRIES - 1):
            with contextlib.suppress(ResolverMovedError):
                return await self._attach(target, endpoints)
        return await self._attach(target, endpoints)

    async def _attach(self, target: Target, endpoints: Sequence[Endpoint]) -> list[IPv4Interface]:
        holder = target.container_id
        asked: list[IPv4Interface] = []
        before: list[Claim] | None = None

        def decide(observed: plan.Observed) -> Sequence[plan.Step]:
            nonlocal before
            self._learn(target, observed)
            before = self._allocator.claims_of(holder)
            request = self._allocator.request
            asked.extend(givers.owned(request(holder, target.name, each, self._clock())) for each in endpoints)
            self._claimed()
            addresses = tuple(dict.fromkeys((*observed.addresses, *asked)))
            return plan.attach(observed, self._desired(target, observed, addresses))

        def apply(site: veth.Site, steps: Sequence[plan.Step]) -> None:
            nonlocal before
            self._apply(target, site, steps)
            before = None  # from here on there is nothing to take back, whoever is cancelled

        try:
            await self._visit(target, decide, apply)
        finally:
            if before is not None:
                self._allocator.reinstate(holder, before)
                self._claimed()
        self._attached[holder] = target
        return asked

    def _claimed(self) -> None:
        if self._givers is not None:
            self._givers.claimed()

    async def _refresh_resolver(self, target: Target) -> bool:
        async with self._lock(target), self._free_workers:
            if self._attached.get(target.container_id) != target:
                return False
            try:
                return await self._run(self._resolver.refresh, target)
            except WeaveNetError as exc:
                log.warning("container %s: %s", target.name, exc)
                return False

    async def _refresh_interface(self, target: Target) -> None:
        try:
            await self.adopt(target)
        except ContainerGoneError:
            self._attached.pop(target.container_id, None)
        except WeaveNetError as exc:
            log.warning("container %s: %s", target.name, exc)

    def _desired(self, target: Target, observed: plan.Observed, addresses: tuple[IPv4Interface, ...]) -> plan.Desired:
        """The attachment with these addresses; none means detached."""
        text = self._resolver.text(target, observed.resolver, attached=bool(addresses))
        return plan.Desired(
            container_id=target.container_id,
            addresses=addresses,
            mtu=self._network.mtu,
            dns_subnet=self._network.dns_subnet,
            resolver_path=target.resolv_conf,
            resolver=text,
        )

    def _named(
        self, target: Target, addresses: Sequence[IPv4Interface], endpoints: Sequence[Endpoint]
    ) -> list[IPv4Interface]:
        leaving: dict[IPv4Interface, None] = {}
        for endpoint in endpoints:
            found = [each for each in addresses if self._is_named(each, endpoint)]
            if not found:
                has = ", ".join(map(str, addresses)) or "none"
                raise NotAttachedError(f"container {target.name} has no such weave address; it has {has}")
            leaving |= dict.fromkeys(found)
        if not addresses and not endpoints:
            raise NotAttachedError(f"container {target.name} has no weave address")
        return list(leaving) if endpoints else list(addresses)

    def _is_named(self, interface: IPv4Interface, endpoint: Endpoint) -> bool:
        match endpoint:
            case Explicit(address, prefix_len):
                return interface.ip == address and prefix_len in {None, interface.network.prefixlen}
            case InSubnet(subnet):
                return interface.network == subnet
            case Default():
                return interface.network == self._allocator.space.default_subnet
            case Off():
                return False

    async def _visit(
        self,
        target: Target,
        decide: Callable[[plan.Observed], Sequence[plan.Step]],
        carry_out: Callable[[veth.Site, Sequence[plan.Step]], None],
    ) -> plan.Observed:
        """Look at a container, decide on the loop's thread, and carry that out, alone with that container."""
        loop = asyncio.get_running_loop()

        def visit(namespace: Namespace) -> plan.Observed:
            host = self._network.namespace
            with Netlink(host) as outside, Netlink(namespace) as inside:
                site = veth.Site(outside, inside, host, namespace, self._network.bridge)
                observed = veth.observe(site, target.container_id, target.name)
                observed = replace(observed, resolver=self._resolver.read(target))
                carry_out(site, _ask(loop, decide, observed))
            return observed

        async with self._lock(target), self._free_workers:
            # Some reads of /proc: too little to wait for a worker.
            with netns.of_container(
                target.pid, target.container_id, target.name, self._network.namespace
            ) as namespace:
                return await self._run(visit, namespace)

    def _lock(self, target: Target) -> asyncio.Lock:
        return self._turns.setdefault(target.container_id, asyncio.Lock())

    async def _run(self, work: Callable[[_A], _R], argument: _A) -> _R:
        """Do blocking work in a worker; a cancellation waits until it has ended, so that nothing stays half-done."""
        working = asyncio.get_running_loop().run_in_executor(self._workers, work, argument)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            await asyncio.wait({working})
            raise

    def _learn(self, target: Target, observed: plan.Observed) -> None:
        """Let the allocator know of this container what the kernel shows, no more and no less."""
        if observed.addresses:
            self._attached[target.container_id] = target
        else:
            self._attached.pop(target.container_id, None)
        self._allocator.died(target.container_id, self._clock())
        for interface in observed.addresses:
            if interface.ip in self._network.weave_range:
                try:
                    self._allocator.adopt(target.container_id, target.name, interface, self._clock())
                except AddressInUseError as exc:
                    self._warn(target, f"it uses an address twice: {exc}; detach it from one of them")
        self._claimed()

    def _apply(self, target: Target, site: veth.Site, steps: Sequence[plan.Step]) -> None:
        done: list[plan.Step] = []
        try:
            for step in steps:
                self._perform(step, site)
                done.append(step)
            self._refuse_gone(target, site.namespace)
        except BaseException:
            undoing = [undo for step in reversed(done) if (undo := plan.undo(step)) is not None]
            self._tear_down(target, site, undoing)
            self._refuse_gone(target, site.namespace)
            raise

    def _tear_down(self, target: Target, site: veth.Site, steps: Sequence[plan.Step]) -> list[WeaveNetError]:
        errors: list[WeaveNetError] = []
        for step in steps:
            try:
                self._perform(step, site)
            except WeaveNetError as exc:
                log.warning("container %s: %s", target.name, exc)
                errors.append(exc)
        return errors

    @staticmethod
    def _refuse_gone(target: Target, namespace: Namespace) -> None:
        if not namespace.is_of(target.pid):
            raise ContainerGoneError(f"container {target.name} ended while it was being attached")

    def _warn(self, target: Target, warning: str) -> None:
        # Once for each container: what is looked at every minute would be said every minute.
        if (target.container_id, warning) not in self._warned:
            self._warned.add((target.container_id, warning))
            log.warning("container %s: %s", target.name, warning)


def _ask(loop: asyncio.AbstractEventLoop, decide: Callable[[plan.Observed], _R], observed: plan.Observed) -> _R:
    """Have something decided on the loop's thread, for a worker that waits meanwhile."""
    decided: Future[_R] = Future()

    def run() -> None:
        try:
            decided.set_result(decide(observed))
        except BaseException as exc:  # noqa: BLE001 - it is raised in the worker
            decided.set_exception(exc)

    loop.call_soon_threadsafe(run)
    return decided.result(_DECISION_WITHIN_S)
