"""What is measured of a gossiping cluster on the simulator; every world is drawn from a fixed seed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from tests.sim.world import UDP_IP_BYTES, Host, Weather, World, agree, record
from weavedns.gossip.profile import Profile

SETTLE_S = 3.0
GIVE_UP_S = 120.0


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Watch:
    """Notes when each host has an owner's version."""

    def __init__(self, world: World, hosts: Sequence[Host]) -> None:
        self._world = world
        self._hosts = hosts
        self._owner = ""
        self._missing: set[str] = set()
        self._version = 0
        self.done_at = 0.0
        world.after = self._look

    def expect(self, owner: Host) -> None:
        """From here on wait for the owner's present version."""
        self._owner = owner.name
        self._version = owner.catalog.own.version + 1
        self._missing = {host.name for host in self._hosts if host is not owner}

    @property
    def done(self) -> bool:
        """Everybody has it."""
        return not self._missing

    def _look(self, host: Host) -> None:
        if host.name in self._missing:
            replica = host.catalog.replica(self._owner)
            if replica is not None and replica.version >= self._version:
                self._missing.remove(host.name)
                self.done_at = self._world.now


def spread_times(peers: int, loss: float, trials: int, profile: Profile, seed: int = 1) -> tuple[list[float], float]:
    """Seconds from a change at one peer until all have it, and how many datagrams each peer sent for a change."""
    world = World(seed, weather=Weather(loss=loss), profile=profile)
    hosts = world.add_acquainted(peers)
    watch = Watch(world, hosts)
    world.run(SETTLE_S)
    idle_from = sum(host.datagrams_out for host in hosts)
    world.run(SETTLE_S)
    idle_per_s = (sum(host.datagrams_out for host in hosts) - idle_from) / SETTLE_S
    times: list[float] = []
    busy = 0.0
    for trial in range(trials):
        owner = world.rng.choice(hosts)
        sent = sum(host.datagrams_out for host in hosts)
        watch.expect(owner)
        start = world.now
        fresh = record(owner.name, f"t{trial}", trial)
        world.put(owner, fresh)
        while not watch.done and world.now < start + GIVE_UP_S:
            world.run(0.05)
        times.append(watch.done_at - start if watch.done else GIVE_UP_S)
        world.run(0.5 + world.rng.random() * 0.5)
        busy += sum(host.datagrams_out for host in hosts) - sent - idle_per_s * (world.now - start)
    return times, busy / trials / peers


def idle_bytes(peers: int, records: int, seconds: float = 30.0) -> tuple[float, float]:
    """Bytes a second that one peer sends when nothing changes: UDP payload, and with UDP and IP headers."""
    world = World(2)
    hosts = world.add_acquainted(peers)
    owners = hosts[:10]
    for number, host in enumerate(owners):
        fresh = [record(host.name, f"i{number}-{each}", each) for each in range(records // len(owners))]
        world.put(host, *fresh)
    world.run_until(lambda: agree(hosts), 60.0, 1.0)
    world.run(10.0)
    size, packets = sum(host.bytes_out for host in hosts), sum(host.datagrams_out for host in hosts)
    world.run(seconds)
    payload = (sum(host.bytes_out for host in hosts) - size) / peers / seconds
    return payload, payload + UDP_IP_BYTES * (sum(host.datagrams_out for host in hosts) - packets) / peers / seconds


def hide_times(peers: int, trials: int, loss: float = 0.0) -> list[float]:
    """Seconds from a crash until no other peer answers with the dead one's names."""
    times: list[float] = []
    seed = 10
    while len(times) < trials:
        seed += 1
        world = World(seed, weather=Weather(loss=loss))
        hosts = world.add_acquainted(peers)
        world.run(SETTLE_S)
        # No more than a tenth of a cluster is taken away before it is built anew.
        for victim in world.rng.sample(hosts, max(1, peers // 10)):
            world.run(world.rng.random())
            world.crash(victim)
            times.append(_until_hidden(world, victim))
            if len(times) == trials:
                break
    return times


def _until_hidden(world: World, victim: Host) -> float:
    left = [host for host in world.hosts.values() if host.up]
    return world.run_until(lambda: all(host.catalog.is_hidden(victim.name) for host in left), 120.0, 0.02)


def false_deaths(peers: int, seconds: float, loss: float, pause_s: float = 0.0) -> tuple[int, int]:
    """How often a live peer was suspected and believed dead, with one peer at a time paused for `pause_s`."""
    world = World(3, weather=Weather(loss=loss))
    hosts = world.add_acquainted(peers)
    world.run(SETTLE_S)
    end = world.now + seconds
    while world.now < end:
        if not pause_s:
            world.run(60.0)
            continue
        victim = world.rng.choice(hosts)
        world.pause(victim)
        world.run(pause_s)
        world.resume(victim)
        world.run(2.0 + world.rng.random() * 8)
    stats = [host.node.stats for host in hosts]
    return sum(each.deaths for each in stats), sum(each.suspicions for each in stats)


def first_join(records: int) -> tuple[float, float, int]:
    """Virtual seconds, processor seconds and bytes until a new peer has all records of a cluster."""
    world = World(4)
    owners = max(1, records // 20_000)
    first = world.add("owner0")
    hosts = [first] + [world.add(f"owner{number}", seeds=["owner0"]) for number in range(1, owners)]
    for host in hosts:
        fresh = [
            record(host.name, f"c{each}.project.{host.name}", each, holder=f"{each // 2:064x}")
            for each in range(records // owners)
        ]
        world.put(host, *fresh)
    world.run_until(lambda: len(first.catalog) == records, 60.0, 0.1)
    world.run(10.0)
    before = sum(host.node.stats.stream_bytes_out for host in hosts)
    started = time.process_time()
    fresh_host = world.add("fresh", seeds=["owner0"])
    took = world.run_until(lambda: len(fresh_host.catalog) == records, 60.0, 0.005)
    spent = time.process_time() - started
    return took, spent, sum(host.node.stats.stream_bytes_out for host in hosts) - before


def speed(peers: int, seconds: float = 10.0) -> float:
    """Virtual seconds for a second of this processor."""
    world = World(5)
    world.add_acquainted(peers)
    world.run(2.0)
    started = time.process_time()
    world.run(seconds)
    return seconds / (time.process_time() - started)
