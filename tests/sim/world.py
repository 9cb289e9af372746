"""A whole cluster in one process: real nodes and codec on a virtual clock and a virtual network, all from one seed.

Datagrams are delayed, lost, doubled and overtaken; streams arrive in order, later where packets would have been lost.
Hosts are cut off from each other, paused, crashed and started again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

from weavedns.gossip.core import Config
from weavedns.gossip.events import Event, FactsChanged, RecordsChanged
from weavedns.gossip.links import Close, Dial, Send
from weavedns.gossip.membership import Peer
from weavedns.gossip.message import State
from weavedns.gossip.node import Node
from weavedns.gossip.profile import FAST, Profile
from weavedns.gossip.seal import Keyring
from weavedns.gossip.session import Window
from weavedns.records.catalog import Catalog
from weavedns.records.log import Snapshot
from weavedns.records.record import Origin, Record, RecordType

Address = tuple[str, int]

PORT = 6783
WALL_MS = 1_700_000_000_000
# What a kernel keeps for a process that does not read.
SOCKET_BUFFER_DATAGRAMS = 2_000
BANDWIDTH_BYTES_PER_S = 125_000_000.0
UDP_IP_BYTES = 28


@dataclass(frozen=True, slots=True)
class Weather:
    """What the network does to datagrams."""

    delay_s: tuple[float, float] = (0.0003, 0.0008)
    loss: float = 0.0
    double: float = 0.0
    # The share of datagrams that take `detour_s` longer, so that others overtake them.
    overtaken: float = 0.0
    detour_s: float = 0.02


@dataclass(eq=False, slots=True)
class Wire:
    """One stream between two hosts; `ends` are the node's numbers for it."""

    hosts: tuple[Host, Host]
    ends: list[int | None]
    arrives: list[float]
    open: bool = True


@dataclass(eq=False, slots=True)
class Host:
    """One machine with its daemon."""

    name: str
    addr: Address
    config: Config
    catalog: Catalog
    node: Node
    up: bool = True
    # Without a daemon, whether the machine is there and says that nobody listens.
    machine_up: bool = True
    paused: bool = False
    wake: float | None = None
    backlog: list[Callable[[], None]] = field(default_factory=list)
    events: list[tuple[float, Event]] = field(default_factory=list)
    wires: dict[int, tuple[Wire, int]] = field(default_factory=dict)
    # When set, whoever drives the node takes its events, and is told here that there may be some.
    on_pump: Callable[[], None] | None = None
    bytes_out: int = 0
    datagrams_out: int = 0

    def happened(self, kind: type) -> list[tuple[float, Any]]:
        """When events of a kind happened, and which."""
        return [(at, event) for at, event in self.events if isinstance(event, kind)]


class World:
    """All hosts, the network between them, and the time."""

    def __init__(
        self,
        seed: int,
        *,
        weather: Weather | None = None,
        profile: Profile = FAST,
        keyring: Keyring | None = None,
        terms: Mapping[str, str] | None = None,
        limit: int = 20_000,
    ) -> None:
        self.rng = Random(seed)
        self.now = 0.0
        self.weather = weather or Weather()
        self.profile = profile
        self.keyring = keyring or Keyring()
        self.terms = terms or {}
        self.limit = limit
        self.hosts: dict[str, Host] = {}
        self.steps = 0
        self._starts = 0
        # Hosts, by address, that lose more than the weather says.
        self.lossy: dict[str, float] = {}
        # Called after whatever a host did; a test puts its invariants here.
        self.after: Callable[[Host], None] | None = None
        self.on_datagram: Callable[[Host, bytes, Address], None] | None = None
        self._by_addr: dict[Address, Host] = {}
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()
        self._sides: dict[str, int] = {}

    # Hosts.

    def add(
        self, name: str, *, seeds: Iterable[str] = (), records: Iterable[Record] = (), at: Address | None = None
    ) -> Host:
        """One more host that joins those named."""
        number = len(self.hosts) + 1
        addr = at or (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", PORT)
        config = Config(
            name=name,
            host=addr[0],
            port=addr[1],
            seeds=tuple(self.hosts[seed].addr for seed in seeds),
            keyring=self.keyring,
            terms=self.terms,
            profile=self.profile,
        )
        catalog = Catalog(name, limit=self.limit)
        for record in records:
            catalog.add(record)
        node = Node(config, catalog, Random(self.rng.getrandbits(64)), wall_ms=self.wall_ms())
        host = Host(name, addr, config, catalog, node)
        # A second machine may wrongly bear a name that is in use.
        self.hosts[name if name not in self.hosts else f"{name}@{addr[0]}"] = host
        self._by_addr[addr] = host
        node.start(self.now)
        self._pump(host)
        return host

    def plug_in(self, addr: Address, node: Node, catalog: Catalog, on_pump: Callable[[], None]) -> Host:
        """A node that somebody else made and drives, as a whole daemon does; it takes the place of an earlier one."""
        host = Host(node.name, addr, node._core.config, catalog, node, on_pump=on_pump)
        self.hosts[host.name] = self._by_addr[addr] = host
        node.start(self.now)
        self._pump(host)
        return host

    def add_acquainted(self, count_: int, prefix: str = "p") -> list[Host]:
        """Hosts that know each other already, as after a long quiet time; much faster than joining."""
        fresh = [self.add(f"{prefix}{number}") for number in range(count_)]
        for host in fresh:
            for other in fresh:
                if other is not host:
                    host.node._core.members.on_alive(other.node._core.me(), self.now)
                    host.node._inbound._sessions._windows[other.name, other.node.boot] = Window()
                    own = other.catalog.own
                    host.catalog.adopt(host.catalog.staged(Snapshot(other.name, own.incarnation, own.version, ())))
        return fresh

    def wall_ms(self) -> int:
        """What the clock on the wall says; no two daemons start in the same millisecond."""
        self._starts += 1
        return WALL_MS + int(self.now * 1000) + self._starts

    def pause(self, host: Host) -> None:
        """The host stops running; what comes waits in its socket."""
        host.paused = True

    def resume(self, host: Host) -> None:
        """The host runs again, and reads what waited before it looks at its timers."""
        host.paused = False
        backlog, host.backlog = host.backlog, []
        for deliver in backlog:
            deliver()
        self._wake(host, host.wake)

    def crash(self, host: Host) -> None:
        """The host is gone without a word."""
        host.up = False
        host.machine_up = False
        host.paused = False
        host.backlog.clear()
        for wire, _ in host.wires.values():
            wire.open = False
        host.wires.clear()

    def kill_daemon(self, host: Host) -> None:
        """The daemon dies without a word; its host refuses connections from now on."""
        self.crash(host)
        host.machine_up = True

    def restart(self, host: Host, records: Iterable[Record] = (), *, clock_back_ms: int = 0) -> None:
        """The daemon starts again, with what it finds on its host."""
        host.catalog = Catalog(host.name, limit=self.limit)
        for record in records:
            host.catalog.add(record)
        rng = Random(self.rng.getrandbits(64))
        host.node = Node(host.config, host.catalog, rng, wall_ms=self.wall_ms() - clock_back_ms)
        host.up = True
        host.wake = None
        host.node.start(self.now)
        self._pump(host)

    def leave(self, host: Host) -> None:
        """The host's daemon is stopped properly."""
        host.node.leave(self.now)
        self._pump(host)

    def do(self, host: Host, change: Callable[[Catalog], object]) -> None:
        """Change a host's own records and publish that."""
        change(host.catalog)
        host.node.publish(self.now)
        self._pump(host)

    def put(self, host: Host, *records: Record) -> None:
        """Register records at a host, all in one moment."""
        self.do(host, lambda catalog: [catalog.add(each) for each in records])

    def take(self, host: Host, *records: Record) -> None:
        """Remove records of a host."""
        self.do(host, lambda catalog: [catalog.remove(each) for each in records])

    def pump(self, host: Host) -> None:
        """Carry out what a host wants, after a test spoke to its node."""
        self._pump(host)

    # The network.

    def split(self, *sides: Collection[Host]) -> None:
        """Cut the hosts of each side off from those of the others."""
        self._sides = {host.addr[0]: number for number, side in enumerate(sides) for host in side}

    def heal(self) -> None:
        """Let everybody reach everybody again."""
        self._sides = {}

    def reach(self, one: Host, other: Host) -> bool:
        """Whether packets pass between two hosts."""
        return self._sides.get(one.addr[0], -1) == self._sides.get(other.addr[0], -1)

    # Time.

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        queue = self._queue
        while queue and queue[0][0] <= until:
            self.now, _, action, arguments = heappop(queue)
            self.steps += 1
            action(*arguments)
        self.now = until

    def step(self, within: float | None) -> None:
        """Let time pass until the next thing happens, or until so many seconds are over."""
        if self._queue and (within is None or self._queue[0][0] <= self.now + within):
            self.run(self._queue[0][0] - self.now)
        elif within is not None:
            self.now += within
        else:
            raise AssertionError("nothing will ever happen")

    def run_until(self, condition: Callable[[], bool], within: float, every: float = 0.0005) -> float:
        """Let time pass until something holds, looking `every` so often; returns how long that took."""
        start = self.now
        while not condition():
            if self.now - start > within:
                raise AssertionError(f"not within {within} s")
            self.run(every)
        return self.now - start

    def at(self, when: float, action: Callable[..., None], *arguments: Any) -> None:
        """Do something later."""
        heappush(self._queue, (when, next(self._order), action, arguments))

    # What hosts do.

    def _pump(self, host: Host) -> None:
        node, now = host.node, self.now
        out = node.datagrams_to_send(now)
        if out:
            self._send(host, out)
        for action in node.stream_actions():
            self._act(host, action)
        if host.on_pump is not None:
            host.on_pump()
        while host.on_pump is None and (event := node.next_event()) is not None:
            if not isinstance(event, RecordsChanged | FactsChanged):
                host.events.append((now, event))
        due = node.get_timer()
        if due != host.wake:
            host.wake = due
            if due is not None:
                self.at(max(due, now), self._wake, host, due)
        if self.after is not None:
            self.after(host)

    def _wake(self, host: Host, due: float | None) -> None:
        if due is None or host.wake != due or not host.up or host.paused:
            return
        host.wake = None
        host.node.handle_timer(self.now)
        self._pump(host)

    def _send(self, host: Host, out: list[tuple[bytes, Address]]) -> None:
        rng, weather, queue, now = self.rng.random, self.weather, self._queue, self.now
        low, high = weather.delay_s
        for data, addr in out:
            host.bytes_out += len(data)
            host.datagrams_out += 1
            if self.on_datagram is not None:
                self.on_datagram(host, data, addr)
            loss = self._loss(host.addr[0], addr[0])
            if loss and rng() < loss:
                continue
            at = now + low + rng() * (high - low)
            if weather.overtaken and rng() < weather.overtaken:
                at += weather.detour_s * rng()
            heappush(queue, (at, next(self._order), self._deliver, (host, addr, data)))
            if weather.double and rng() < weather.double:
                heappush(queue, (at + rng() * 0.01, next(self._order), self._deliver, (host, addr, data)))

    def _loss(self, one: str, other: str) -> float:
        if not self.lossy:
            return self.weather.loss
        return max(self.weather.loss, self.lossy.get(one, 0.0), self.lossy.get(other, 0.0))

    def _deliver(self, sender: Host, addr: Address, data: bytes) -> None:
        host = self._by_addr.get(addr)
        if host is None or not host.up or (self._sides and not self.reach(sender, host)):
            return
        if host.paused:
            if len(host.backlog) < SOCKET_BUFFER_DATAGRAMS:
                host.backlog.append(lambda: self._deliver(sender, addr, data))
            return
        host.node.receive(data, sender.addr, self.now)
        self._pump(host)

    # Streams.

    def _act(self, host: Host, action: Dial | Send | Close) -> None:
        match action:
            case Dial(link, addr):
                self._dial(host, link, addr)
            case Send(link):
                self._drain(host, link)
            case Close(link):
                self._drain(host, link)
                self._close(host, link)

    def _dial(self, host: Host, link: int, addr: Address) -> None:
        other = self._by_addr.get(addr)
        if other is not None and not other.up and other.machine_up and self.reach(host, other):
            self.at(self.now + 0.001, self._refused, host, host.node, link)
        if other is None or not other.up or not self.reach(host, other):
            # Nobody answers: the node's own patience ends it.
            return
        wire = Wire((host, other), [link, None], [self.now, self.now])
        host.wires[link] = (wire, 0)
        self.at(self._arrival(wire, 1, 60, first_rto=1.0), self._accept, wire)

    def _accept(self, wire: Wire) -> None:
        host, other = wire.hosts
        if self._held(other, lambda: self._accept(wire)) or not wire.open or not self.reach(host, other):
            return
        number = other.node.stream_accepted((host.addr[0], 40_000), self.now)
        if number is None:
            wire.open = False
            self.at(self.now + 0.001, self._gone, host, wire.ends[0])
            return
        wire.ends[1] = number
        other.wires[number] = (wire, 1)
        self._pump(other)
        self.at(self._arrival(wire, 0, 60, first_rto=1.0), self._opened, wire)

    def _opened(self, wire: Wire) -> None:
        host, other = wire.hosts
        link = wire.ends[0]
        if self._held(host, lambda: self._opened(wire)) or link not in host.wires or link is None:
            return
        host.node.stream_opened(link, other.addr)
        self._pump(host)

    def _drain(self, host: Host, link: int) -> None:
        if link not in host.wires:
            return
        wire, end = host.wires[link]
        while data := host.node.stream_data(link, self.now):
            if wire.open:
                self.at(self._arrival(wire, 1 - end, len(data)), self._arrived, wire, 1 - end, data)
        for action in host.node.stream_actions():
            self._act(host, action)

    def _arrived(self, wire: Wire, end: int, data: bytes) -> None:
        host = wire.hosts[end]
        if self._held(host, lambda: self._arrived(wire, end, data)):
            return
        link = wire.ends[end]
        if link is None or link not in host.wires or not self.reach(*wire.hosts):
            return
        host.node.stream_received(link, data, self.now)
        self._pump(host)

    def _close(self, host: Host, link: int) -> None:
        found = host.wires.pop(link, None)
        if found is not None:
            wire, end = found
            if wire.open:
                wire.open = False
                self.at(self._arrival(wire, 1 - end, 40), self._gone, wire.hosts[1 - end], wire.ends[1 - end])
        self.at(self.now, self._closed, host, host.node, link)

    def _gone(self, host: Host, link: int | None) -> None:
        if self._held(host, lambda: self._gone(host, link)) or link is None or host.wires.pop(link, None) is None:
            return
        host.node.stream_closed(link, self.now)
        self._pump(host)

    def _refused(self, host: Host, node: Node, link: int) -> None:
        if host.node is node and host.up:
            node.stream_closed(link, self.now, "it cannot be reached: Connection refused", nobody_listens=True)
            self._pump(host)

    def _closed(self, host: Host, node: Node, link: int) -> None:
        if host.node is node and host.up:
            node.stream_closed(link, self.now)
            self._pump(host)

    def _arrival(self, wire: Wire, end: int, size: int, *, first_rto: float = 0.2) -> float:
        """When bytes arrive: in order, and a retransmission later for each time that they were lost."""
        low, high = self.weather.delay_s
        at = self.now + low + self.rng.random() * (high - low) + size / BANDWIDTH_BYTES_PER_S
        rto = first_rto
        while self.rng.random() < self.weather.loss:
            at += rto
            rto = min(rto * 2, 10.0)
        wire.arrives[end] = max(at, wire.arrives[end] + size / BANDWIDTH_BYTES_PER_S)
        return wire.arrives[end]

    @staticmethod
    def _held(host: Host, again: Callable[[], None]) -> bool:
        """Whether a host is not there to be reached; one that is paused gets it later."""
        if host.up and host.paused:
            host.backlog.append(again)
        return not host.up or host.paused


# What tests and benchmarks say often.


def record(owner: str, name: str, number: int = 1, *, ttl_s: int = 1, holder: str = "c1") -> Record:
    """A record such as a container has."""
    wire = b"".join(bytes((len(label),)) + label for label in f"{name}.weave.local".encode().split(b".")) + b"\0"
    return Record(
        owner, holder, wire, RecordType.A, (0x0A020000 + number).to_bytes(4, "big"), ttl_s, Origin.CONTAINER
    )


def agree(hosts: Iterable[Host]) -> bool:
    """Whether the hosts see each other as alive and have the same of each other's records."""
    all_ = [host for host in hosts if host.up]
    wanted = {host.name: (host.node.incarnation, host.catalog.own.version) for host in all_}
    return all(host.catalog.vector() == wanted and _all_alive(host, len(all_) - 1) for host in all_)


def _all_alive(host: Host, others: int) -> bool:
    peers: list[Peer] = host.node.peers()
    return sum(peer.state is not State.DEAD for peer in peers) == others


def answers(host: Host) -> dict[bytes, set[tuple[str, bytes, int]]]:
    """What a host would answer, by name."""
    found: dict[bytes, set[tuple[str, bytes, int]]] = {}
    for each in host.catalog:
        found.setdefault(each.name, set()).add((each.owner, each.rdata, each.ttl_s))
    return found
