"""Attaches running containers to the weave bridge and detaches them: validates, applies, rolls back. No other way in.

Addresses are decided on the loop's thread, by the allocator that this file owns from then on; the kernel is asked and
changed in worker threads. What the kernel shows of a container is always believed over what is remembered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface
from typing import Protocol, TypeVar, TypeVarTuple
from weakref import WeakValueDictionary

from weavenet import netns, plan, veth
from weavenet.endpoint import Default, Endpoint, Explicit, InSubnet, Off
from weavenet.errors import (
    AddressInUseError,
    ContainerGoneError,
    NoAddressError,
    NotAttachedError,
    ResolverMovedError,
    WeaveNetError,
)
from weavenet.ipam.allocator import Allocator, Wanted
from weavenet.netlink import Netlink
from weavenet.netns import Namespace
from weavenet.network import WeaveNetwork
from weavenet.resolver import Resolver
from weavenet.target import Target

# The kernel changes interfaces one at a time; more threads would only wait for its lock.
WORKERS = 4
# How long an attach waits for other peers to give addresses: a person, or Docker, waits with it.
GIVEN_WITHIN_S = 10.0
# Docker may be writing a container's resolv.conf just then.
_RESOLVER_TRIES = 3

log = logging.getLogger(__name__)

_Ts = TypeVarTuple("_Ts")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Observed:
    """A container's interface on the weave network; both fields are empty when it has none."""

    mac: str
    addresses: tuple[IPv4Interface, ...]


class Givers(Protocol):
    """Where addresses come from when this peer owns no free one, as `weavenet.sharing.Sharing`."""

    async def gain(self, wanted: Wanted) -> None:
        """Try once to have addresses given; returns when asking the allocator again may be of use."""
        ...

    def waits_for(self, wanted: Wanted) -> str:
        """Why there are none yet, naming whom it takes, in one sentence."""
        ...

    def claimed(self) -> None:
        """Be told that claims may have changed."""
        ...


class _NothingOwnedError(Exception):
    """This peer has to be given addresses first."""

    def __init__(self, wanted: Wanted) -> None:
        super().__init__(wanted)
        self.wanted = wanted


class Attacher:
    """Attaches containers of one host to its weave network.

    `nameservers` is asked at each attach, this peer's own first; `domain` goes into search lists; `perform` carries
    out one step of a plan; `givers` are asked for addresses when this peer has none left.
    """

    def __init__(
        self,
        network: WeaveNetwork,
        allocator: Allocator,
        *,
        domain: str,
        nameservers: Callable[[], Sequence[str]],
        clock: Callable[[], float] = time.monotonic,
        perform: Callable[[plan.Step, veth.Site], None] = veth.perform,
        givers: Givers | None = None,
    ) -> None:
        self._network = network
        self._allocator = allocator
        self._resolver = Resolver(domain.rstrip("."), nameservers, self._warn)
        self._clock = clock
        self._perform = perform
        self._givers = givers
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="weavenet")
        self._free_workers = asyncio.Semaphore(WORKERS)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._warned: set[str] = set()
        # The attached containers, to be brought up to date when something changes for all.
        self._attached: dict[str, Target] = {}

    async def attach(self, target: Target, endpoints: Sequence[Endpoint]) -> list[IPv4Interface]:
        """Give a container what each endpoint asks for and return those addresses, in that order.

        What it has already it keeps. Waits up to `GIVEN_WITHIN_S` for other peers to give addresses. Raises
        EndpointError, AddressInUseError, NoAddressError, ContainerGoneError or NetworkError, and then everything is
        as it was.
        """
        wanted: Wanted | None = None
        try:
            async with asyncio.timeout(GIVEN_WITHIN_S) as waiting:
                while True:
                    # Others have their turn and the workers meanwhile.
                    if wanted is not None and self._givers is not None:
                        await self._givers.gain(wanted)
                    deadline = waiting.when()
                    waiting.reschedule(None)
                    try:
                        return await self._attach_in_turn(target, endpoints)
                    except _NothingOwnedError as exc:
                        wanted = exc.wanted
                    waiting.reschedule(deadline)
        except TimeoutError as exc:
            if wanted is None or self._givers is None:
                raise
            raise NoAddressError(self._givers.waits_for(wanted)) from exc

    async def detach(self, target: Target, endpoints: Sequence[Endpoint] = ()) -> list[IPv4Interface]:
        """Take what the endpoints name, or everything, from a container and return those addresses.

        Without an address left the interface goes and resolv.conf is put back. Goes on past an error and raises the
        first at the end. Raises NotAttachedError when the container has nothing that is named.
        """
        async with self._turn(target) as namespace:
            before = await self._look(target, namespace)
            leaving = self._named(target, before.addresses, endpoints)
            leave = tuple(each for each in before.addresses if each not in leaving)
            steps = plan.detach(before, leave, self._desired(target, before, ()))
            errors = await self._run(self._tear_down, target, namespace, steps)
            after = await self._look(target, namespace)
            for each in leaving:
                if each not in after.addresses:
                    self._allocator.release(target.container_id, each.ip)
            self._claimed()
            if not after.addresses:
                self._attached.pop(target.container_id, None)
        if errors:
            raise errors[0]
        return list(leaving)

    async def observe(self, target: Target) -> Observed:
        """How a container is attached now, from the kernel; raises ContainerGoneError, NetworkError."""
        async with self._turn(target) as namespace:
            observed = await self._look(target, namespace)
        return Observed(observed.mac, observed.addresses)

    async def adopt(self, target: Target) -> Observed:
        """Learn which addresses a container uses and put right what is not as `attach` would leave it.

        Raises ContainerGoneError, NetworkError.
        """
        async with self._turn(target) as namespace:
            observed = await self._look(target, namespace)
            if observed.addresses:
                desired = self._desired(target, observed, observed.addresses)
                with contextlib.suppress(ResolverMovedError):
                    await self._run(self._apply, target, namespace, plan.attach(observed, desired))
                self._attached[target.container_id] = target
            self._claimed()
        return Observed(observed.mac, observed.addresses)

    def died(self, container_id: str, now: float) -> None:
        """Keep a stopped container's addresses for a while, in case it returns."""
        self._allocator.died(container_id, now)
        self._attached.pop(container_id, None)
        self._claimed()

    def removed(self, container_id: str) -> None:
        """Free the addresses of a container that is no more."""
        self._allocator.removed(container_id)
        self._warned.discard(container_id)
        self._attached.pop(container_id, None)
        self._claimed()

    async def refresh_resolvers(self) -> int:
        """Bring the resolv.conf of each attached container up to date with the name servers; how many it wrote.

        Files that are not ours any more are left alone; what cannot be written is logged, and put right by `adopt`.
        """
        return sum(await asyncio.gather(*(self._refresh_resolver(each) for each in tuple(self._attached.values()))))

    async def refresh_interfaces(self) -> None:
        """Put each attached container's interface right, as after the network's MTU has changed; logs what fails."""
        await asyncio.gather(*(self._refresh_interface(each) for each in tuple(self._attached.values())))

    async def close(self) -> None:
        """Wait for the worker threads to end; no container is touched."""
        await asyncio.to_thread(self._workers.shutdown)

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

    async def _attach_in_turn(self, target: Target, endpoints: Sequence[Endpoint]) -> list[IPv4Interface]:
        async with self._turn(target) as namespace:
            for tries_left in reversed(range(_RESOLVER_TRIES)):
                try:
                    return await self._attach(target, namespace, endpoints)
                except ResolverMovedError:
                    if not tries_left:
                        raise
        raise AssertionError

    async def _attach(
        self, target: Target, namespace: Namespace, endpoints: Sequence[Endpoint]
    ) -> list[IPv4Interface]:
        observed = await self._look(target, namespace)
        before = self._allocator.claims_of(target.container_id)
        applied = False

        def apply(steps: Sequence[plan.Step]) -> None:
            nonlocal applied
            self._apply(target, namespace, steps)
            applied = True

        try:
            asked = [self._obtain(target, endpoint) for endpoint in endpoints]
            self._claimed()
            addresses = tuple(dict.fromkeys((*observed.addresses, *asked)))
            await self._run(apply, plan.attach(observed, self._desired(target, observed, addresses)))
        finally:
            if not applied:
                self._allocator.reinstate(target.container_id, before)
                self._claimed()
        self._attached[target.container_id] = target
        return asked

    def _obtain(self, target: Target, endpoint: Endpoint) -> IPv4Interface:
        if self._givers is None:
            return self._allocator.obtain(target.container_id, target.name, endpoint, self._clock())
        found = self._allocator.request(target.container_id, target.name, endpoint, self._clock())
        if isinstance(found, Wanted):
            raise _NothingOwnedError(found)
        return found

    def _claimed(self) -> None:
        if self._givers is not None:
            self._givers.claimed()

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

    @contextlib.asynccontextmanager
    async def _turn(self, target: Target) -> AsyncIterator[Namespace]:
        """Have a container for oneself, and a worker for it; gives its namespace."""
        async with self._lock(target), self._free_workers:
            # Some reads of /proc: too little to wait for a worker.
            namespace = netns.of_container(target.pid, target.container_id, target.name, self._network.namespace)
            with namespace:
                yield namespace

    def _lock(self, target: Target) -> asyncio.Lock:
        return self._turns.setdefault(target.container_id, asyncio.Lock())

    async def _look(self, target: Target, namespace: Namespace) -> plan.Observed:
        """What the kernel and resolv.conf show; the allocator then knows the same of this container."""
        observed = await self._run(self._observe, target, namespace)
        holder = target.container_id
        self._allocator.died(holder, self._clock())
        for interface in observed.addresses:
            if interface.ip in self._network.weave_range:
                try:
                    self._allocator.adopt(holder, target.name, interface, self._clock())
                except AddressInUseError as exc:
                    self._warn(target, f"it uses an address twice: {exc}; detach it from one of them")
        return observed

    def _observe(self, target: Target, namespace: Namespace) -> plan.Observed:
        with self._site(namespace) as site:
            observed = veth.observe(site, target.container_id, target.name)
        return replace(observed, resolver=self._resolver.read(target))

    def _apply(self, target: Target, namespace: Namespace, steps: Sequence[plan.Step]) -> None:
        with self._site(namespace) as site:
            done: list[plan.Step] = []
            try:
                for step in steps:
                    self._perform(step, site)
                    done.append(step)
                self._refuse_gone(target, namespace)
            except BaseException:
                self._roll_back(target, done, site)
                self._refuse_gone(target, namespace)
                raise

    def _roll_back(self, target: Target, done: Sequence[plan.Step], site: veth.Site) -> None:
        for step in reversed(done):
            undo = plan.undo(step)
            try:
                if undo is not None:
                    self._perform(undo, site)
            except WeaveNetError as exc:
                log.warning("container %s: could not undo %s: %s", target.name, type(step).__name__, exc)

    def _tear_down(self, target: Target, namespace: Namespace, steps: Sequence[plan.Step]) -> list[WeaveNetError]:
        errors: list[WeaveNetError] = []
        with self._site(namespace) as site:
            for step in steps:
                try:
                    self._perform(step, site)
                except WeaveNetError as exc:
                    log.warning("container %s: could not undo %s: %s", target.name, type(step).__name__, exc)
                    errors.append(exc)
        return errors

    @contextlib.contextmanager
    def _site(self, namespace: Namespace) -> Iterator[veth.Site]:
        host = self._network.namespace
        with Netlink(host) as outside, Netlink(namespace) as inside:
            yield veth.Site(outside, inside, host, namespace, self._network.bridge)

    @staticmethod
    def _refuse_gone(target: Target, namespace: Namespace) -> None:
        if not namespace.is_of(target.pid):
            raise ContainerGoneError(f"container {target.name} ended while it was being attached")

    def _warn(self, target: Target, warning: str) -> None:
        # Once for each container: what is looked at every minute would be said every minute.
        if target.container_id not in self._warned:
            self._warned.add(target.container_id)
            log.warning("container %s: %s", target.name, warning)

    async def _run(self, work: Callable[[*_Ts], _R], *args: *_Ts) -> _R:
        """Do blocking work in a worker; a cancellation waits until it has ended, so that nothing stays half-done."""
        working = asyncio.get_running_loop().run_in_executor(self._workers, work, *args)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            await asyncio.wait({working})
            raise
