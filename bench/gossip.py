"""How fast, how cheaply and how surely peers agree, on the simulator: real nodes and codec, virtual time and network.

    python -m bench.gossip            everything; about ten minutes on one core
    python -m bench.gossip --quick    small numbers, to see that it works

The same simulator also runs memberlist's default LAN parameters, to compare with. Writes bench/results/gossip.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.sim.world import UDP_IP_BYTES, Host, Weather, World, record
from weavedns.gossip.profile import FAST, MEMBERLIST, Profile

RESULTS = Path(__file__).parent / "results" / "gossip.md"
SETTLE_S = 3.0
GIVE_UP_S = 120.0


@dataclass(frozen=True)
class Plan:
    """What is measured; each row is peers and trials."""

    spread: Sequence[tuple[int, int]] = ((3, 1000), (10, 500), (100, 100), (500, 30), (1000, 10))
    losses: Sequence[float] = (0.0, 0.1, 0.3)
    memberlist: Sequence[tuple[int, int]] = ((3, 300), (10, 200), (100, 40), (500, 12))
    idle: Sequence[int] = (3, 10, 100, 500)
    hide: Sequence[tuple[int, int]] = ((3, 100), (10, 100), (100, 50), (500, 25))
    false_deaths: Sequence[tuple[int, float]] = ((3, 3600.0), (10, 3600.0))
    join_records: int = 100_000
    speed: Sequence[int] = (100, 1000)


QUICK = Plan(
    spread=((3, 20), (10, 20)),
    losses=(0.0, 0.3),
    memberlist=((3, 10),),
    idle=(3,),
    hide=((3, 3),),
    false_deaths=((3, 60.0),),
    join_records=2_000,
    speed=(10,),
)


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


def idle_bytes(peers: int, seconds: float = 30.0) -> tuple[float, float]:
    """Bytes a second that one peer sends when nothing changes: UDP payload, and with UDP and IP headers."""
    world = World(2)
    hosts = world.add_acquainted(peers)
    for number, host in enumerate(hosts[:10]):
        fresh = [record(host.name, f"i{number}-{each}", each) for each in range(20)]
        world.put(host, *fresh)
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


class Report:
    """The lines of the result file, printed as they come."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, *lines: str) -> None:
        for line in lines:
            print(line, flush=True)
        self.lines += lines

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        self.say("", f"## {title}", "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns))
        for row in rows:
            self.say("| " + " | ".join(row) + " |")


def _ms(seconds: float) -> str:
    return "lost" if seconds >= GIVE_UP_S else f"{seconds * 1000:.1f}"


def _spread_rows(plan: Plan, profile: Profile, sizes: Sequence[tuple[int, int]]) -> Iterable[Sequence[str]]:
    for peers, trials in sizes:
        row = [str(peers), str(trials)]
        for loss in plan.losses if profile is FAST else (0.0,):
            times, sent = spread_times(peers, loss, trials, profile)
            row.append(
                f"{_ms(percentile(times, 0.5))} / {_ms(percentile(times, 0.99))} / {_ms(max(times))} ({sent:.1f})"
            )
        yield row


def run(plan: Plan) -> Report:
    """All measurements of a plan."""
    report = Report()
    report.say(
        "# Gossip, on the simulator",
        "",
        "Real nodes and codec, virtual time, one-way delay 0.3 - 0.8 ms, independent loss, no password.",
        "Made by `python -m bench.gossip`.",
    )
    head = [f"{loss:.0%} loss" for loss in plan.losses]
    report.table(
        "Until every peer answers with a new record: median / p99 / worst ms (datagrams that each peer sends for it)",
        ["peers", "trials", *head],
        _spread_rows(plan, FAST, plan.spread),
    )
    report.table(
        "The same with memberlist's parameters",
        ["peers", "trials", "0% loss"],
        _spread_rows(plan, MEMBERLIST, plan.memberlist),
    )
    report.table(
        "Idle: bytes a second that a peer sends",
        ["peers", "UDP payload", "with UDP and IP headers"],
        ([str(peers), *(f"{each:.0f}" for each in idle_bytes(peers))] for peers in plan.idle),
    )
    report.table(
        "From a crash until all others hide the peer, s",
        ["peers", "trials", "median", "p99", "worst"],
        _hide_rows(plan),
    )
    report.table(
        "Live peers believed dead (suspected)",
        ["peers", "virtual s", "30% loss", "no loss, one at a time paused for 3 s"],
        _death_rows(plan),
    )
    took, spent, size = first_join(plan.join_records)
    report.table(
        "First join",
        ["records", "virtual s", "processor s, all hosts of the simulation", "bytes sent to it", "bytes a record"],
        [[f"{plan.join_records:,}", f"{took:.2f}", f"{spent:.2f}", f"{size:,}", f"{size / plan.join_records:.0f}"]],
    )
    report.table(
        "Simulator: virtual seconds a processor second, idle cluster",
        ["peers", "speed"],
        ([str(peers), f"{speed(peers):.2f}"] for peers in plan.speed),
    )
    return report


def _hide_rows(plan: Plan) -> Iterable[Sequence[str]]:
    for peers, trials in plan.hide:
        times = hide_times(peers, trials)
        yield [
            str(peers),
            str(trials),
            *(f"{each:.2f}" for each in (percentile(times, 0.5), percentile(times, 0.99), max(times))),
        ]


def _death_rows(plan: Plan) -> Iterable[Sequence[str]]:
    for peers, seconds in plan.false_deaths:
        cells: list[str] = []
        measures: list[Callable[[], tuple[int, int]]] = [
            partial(false_deaths, peers, seconds, 0.3),
            partial(false_deaths, peers, seconds, 0.0, 3.0),
        ]
        for measure in measures:
            deaths, suspicions = measure()
            cells.append(f"{deaths} ({suspicions})")
        yield [str(peers), f"{seconds:.0f}", *cells]


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small numbers; writes no result file")
    options = parser.parse_args()
    report = run(QUICK if options.quick else Plan())
    if not options.quick:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text("\n".join(report.lines) + "\n")


if __name__ == "__main__":
    main()
