"""Machines that share out addresses over the simulated network: real gossip, cluster and ring on virtual time.

Made up are the disk, the kernel and the containers: a machine has them, and its daemons come and go.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, TypeVar, cast
from unittest import mock

from tests.sim.world import PORT, Host, World
from weavedns import config
from weavedns.cluster import cluster as cluster_module
from weavedns.cluster import hosts as hosts_module
from weavedns.cluster.hosts import Hosts
from weavedns.gossip.events import Address
from weavedns.gossip.node import Node
from weavedns.gossip.transport import Handler, Transport
from weavedns.records.catalog import Catalog
from weavedns.turns import Turns
from weavenet.endpoint import parse
from weavenet.givers import owned, until_given
from weavenet.ipam.ring import Owner
from weavenet.network import WeaveNetwork
from weavenet.ringfile import Kept, RingFile
from weavenet.sharing import Sharing

RANGE = IPv4Network("10.2.0.0/23")
DNS = IPv4Network("10.2.1.224/28")
SAVING_S = 0.003
LATE_S = 3.0
_R = TypeVar("_R")


class _Clockwork(selectors.SelectSelector):
    """Instead of waiting for sockets, lets the world's time pass."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self._world.step(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in the time of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        super().__init__(_Clockwork(world))

    def time(self) -> float:
        return self._world.now


class SimTransport(Transport):
    """A node's transport over the world's network."""

    host: Host

    def __init__(
        self,
        world: World,
        node: Node,
        *,
        on_event: Callable[[Any], None],
        on_request: Handler,
        turn: Callable[[], Awaitable[float]],
    ) -> None:
        super().__init__(node, on_event=on_event, on_request=on_request, turn=turn)
        self._world = world

    @contextlib.asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        core = self._node._core
        async with asyncio.TaskGroup() as self._tasks:
            self._spawn(self._hand_out_events())
            addr = core.config.host, core.config.port
            self.host = self._world.plug_in(addr, self._node, core.catalog, self._happened.set)
            try:
                yield
            finally:
                if self.leaves:
                    await self._leave()
                self._world.crash(self.host)
                self._cancel_all()

    def _pump(self) -> None:
        if self.host.up:
            self._world.pump(self.host)


class MemoryFile(RingFile):
    """A ring file on a machine's disk; what is being written when the daemon ends is not there afterwards."""

    def __init__(self, disks: dict[Path, Any], path: Path) -> None:
        super().__init__(path)
        self._disks = disks

    async def load(self) -> Kept | None:
        return cast("Kept | None", self._disks.get(self._path))

    async def save(self, kept: Kept) -> None:
        await asyncio.sleep(SAVING_S)
        self._disks[self._path] = kept

    async def close(self) -> None:
        pass


class MemoryPeers:
    """The file of remembered peers, on a machine's disk."""

    def __init__(self, disks: dict[Path, Any], path: Path) -> None:
        self._disks = disks
        self._path = path

    async def load(self) -> tuple[Address, ...]:
        return tuple(self._disks.get(self._path, ()))

    async def save(self, addresses: Iterable[Address]) -> None:
        self._disks[self._path] = tuple(addresses)


@dataclass(frozen=True, slots=True)
class Container:
    """A container that has an address; `explicit` when it was asked for by number."""

    machine: str
    holder: str
    interface: IPv4Interface
    explicit: bool
    since: float


@dataclass(eq=False)
class Machine:
    """A host with its kernel and disk; `daemon` while one runs there."""

    name: str
    addr: Address
    named: tuple[Address, ...]
    containers: dict[str, Container] = field(default_factory=dict)
    carried: list[IPv4Address] = field(default_factory=list)
    flooded: set[IPv4Address] = field(default_factory=set)
    daemon: Daemon | None = None

    @property
    def state_dir(self) -> Path:
        return Path("/") / self.name


class Daemon:
    """The part of a daemon that has to do with addresses, in the order of `weavedns.daemon`."""

    def __init__(self, machine: Machine, loop: asyncio.AbstractEventLoop, *, late: bool, flags: Any) -> None:
        self.machine = machine
        # The engine answers only after the peers were joined.
        self._late = late
        self._loop = loop
        settings = config.settings(
            name=machine.name,
            **{"weave_range": str(RANGE), "dns_subnet": str(DNS)} | flags,
            advertise=machine.addr[0],
            peers=[f"{host}:{port}" for host, port in machine.named],
            socket=machine.state_dir / "socket",
            state_dir=machine.state_dir,
        )
        self._asked = settings.dns_address
        self.hosts = Hosts(
            settings, Catalog(machine.name), Turns(), publish=lambda _: None, lost_name=self._lost_name
        )
        self.sharing: Sharing
        self.ready = False
        self.lost_name = ""
        self.task = loop.create_task(self._run())

    async def reach_out(self, overlay_port: int, *, anew: bool) -> list[IPv4Address]:
        return sorted(self.machine.flooded)

    async def _run(self) -> None:
        machine, now = self.machine, self._loop.time
        async with contextlib.AsyncExitStack() as parts:
            sharing = self.sharing = await self.hosts.open_sharing(parts, cast("WeaveNetwork", self))
            sharing._clock = now
            found = await self.hosts.claim_dns(parts, machine.carried)
            if found is None:
                sharing.recovered()
                await self.hosts.join(parts)
                found = await sharing.dns_address(self._asked, machine.carried)
            machine.carried = [found]
            sharing.claimed()
            if self._late:
                await self.hosts.join(parts)
                await asyncio.sleep(LATE_S)
            for each in machine.containers.values():
                sharing.allocator.adopt(each.holder, each.holder, each.interface, now())
            sharing.claimed()
            sharing.recovered()
            await self.hosts.join(parts)
            await self.hosts.ready()
            self.ready = True
            while True:
                cluster = self.hosts.cluster
                assert cluster is not None
                machine.flooded = {IPv4Address(peer.host) for peer in cluster.peers()}
                await asyncio.sleep(1.0)

    def _lost_name(self, why: str) -> None:
        self.lost_name = why

    def live(self) -> Collection[str]:
        assert self.hosts.cluster is not None
        return self.hosts.cluster.live()


class Machines:
    """All machines, their disks and the network between them, from one seed; `close` when done."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.loop = VirtualLoop(self.world)
        self.all: dict[str, Machine] = {}
        self.disks: dict[Path, Any] = {}
        rng = Random(seed)
        self._patches = contextlib.ExitStack()
        tokens = iter(range(1 << 30))
        for target, name, double in (
            (cluster_module, "Transport", partial(SimTransport, self.world)),
            (cluster_module, "SystemRandom", lambda: Random(rng.getrandbits(64))),
            (cluster_module, "time", SimpleNamespace(time=lambda: self.world.wall_ms() / 1000)),
            (hosts_module, "RingFile", partial(MemoryFile, self.disks)),
            (hosts_module, "RememberedPeers", partial(MemoryPeers, self.disks)),
            (secrets, "token_hex", lambda _: f"t{next(tokens)}"),
        ):
            self._patches.enter_context(mock.patch.object(target, name, double))

    def close(self) -> None:
        for machine in self.all.values():
            if machine.daemon is not None:
                self.crash(machine)
        self.loop.close()
        self._patches.close()

    @property
    def now(self) -> float:
        return self.world.now

    def add(self, name: str) -> Machine:
        number = len(self.all) + 1
        machine = self.all[name] = Machine(name, (f"10.99.0.{number}", PORT), ())
        return machine

    def launch(self, machine: Machine, *named: Machine, late: bool = False, **flags: str) -> None:
        """Start a daemon with what it finds on its machine, `late` when its engine keeps it waiting."""
        machine.named = tuple(each.addr for each in named)
        machine.daemon = Daemon(machine, self.loop, late=late, flags=flags)

    def stop(self, machine: Machine) -> None:
        """The daemon leaves the others, as by `weavedns stop`; containers stay."""
        daemon, machine.daemon = machine.daemon, None
        assert daemon is not None
        daemon.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            self.loop.run_until_complete(daemon.task)

    def crash(self, machine: Machine) -> None:
        """The daemon is gone without a word; containers stay."""
        daemon, machine.daemon = machine.daemon, None
        assert daemon is not None
        daemon.hosts.end_for_a_restart()
        cluster = daemon.hosts.cluster
        assert cluster is not None
        host = getattr(cluster._transport, "host", None)
        if host is not None:
            self.world.crash(host)
        daemon.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            self.loop.run_until_complete(daemon.task)

    def reboot(self, machine: Machine) -> None:
        """What only the kernel knew is gone, and so are the containers."""
        machine.containers.clear()
        machine.carried, machine.flooded = [], set()

    def lose_disk(self, machine: Machine) -> None:
        for path in [path for path in self.disks if path.parent == machine.state_dir]:
            del self.disks[path]

    def split(self, *sides: Iterable[Machine]) -> None:
        self.world._sides = {each.addr[0]: number for number, side in enumerate(sides) for each in side}

    def heal(self) -> None:
        self.world.heal()

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.do(asyncio.sleep(seconds))
        for machine in self.all.values():
            if machine.daemon is not None and machine.daemon.task.done():
                machine.daemon.task.result()

    def do(self, work: Coroutine[Any, Any, _R]) -> _R:
        """Do something, however long it takes in the time of this world."""
        return self.loop.run_until_complete(work)

    def run_until(self, condition: Callable[[], bool], within: float) -> None:
        until = self.now + within
        while not condition():
            assert self.now < until, f"not within {within} s"
            self.run(0.1)

    async def obtain(self, machine: Machine, holder: str, spelled: str = "") -> Container:
        """As an attach does: ask, wait for a gift, ask again."""
        daemon = machine.daemon
        assert daemon is not None
        sharing, endpoint = daemon.sharing, parse(spelled)

        async def attempt() -> IPv4Interface:
            return owned(sharing.allocator.request(holder, holder, endpoint, self.now))

        found = await until_given(sharing, attempt)
        sharing.claimed()
        explicit = bool(spelled) and not spelled.startswith("net:")
        container = machine.containers[holder] = Container(machine.name, holder, found, explicit, self.now)
        return container

    def owner(self, machine: Machine, address: IPv4Address) -> Owner | None:
        """Who owns an address as far as a machine's daemon, which runs, has heard."""
        assert machine.daemon is not None
        number = int(address)
        owners = machine.daemon.sharing._keeper.ring.owners([(number, number)])
        return owners[0][0] if owners else None

    def owns(self, machine: Machine, address: IPv4Address) -> bool:
        """Whether a machine's daemon, which runs, owns an address."""
        assert machine.daemon is not None
        return self.owner(machine, address) == machine.daemon.sharing._keeper.me

    def remove(self, machine: Machine, holder: str) -> None:
        """A container is removed; a daemon that runs hears of it."""
        del machine.containers[holder]
        if machine.daemon is not None and machine.daemon.ready:
            machine.daemon.sharing.allocator.removed(holder)
            machine.daemon.sharing.claimed()
