"""How fast, how cheaply and how surely peers agree, on the simulator: real nodes and codec, virtual time and network.

    python -m bench.gossip            everything; about half an hour on one core
    python -m bench.gossip --quick    small numbers, to see that it works

The same simulator also runs memberlist's default LAN parameters, to compare with. Writes bench/results/gossip.md;
exits with 1 when a gate fails. All is drawn from fixed seeds, so another run on the same code gives the same figures,
but for the processor's seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.gossip_cluster import (
    GIVE_UP_S,
    false_deaths,
    first_join,
    hide_times,
    idle_bytes,
    percentile,
    speed,
    spread_times,
)
from weavedns.gossip.profile import FAST, MEMBERLIST, Profile

RESULTS = Path(__file__).parent / "results" / "gossip.md"
# By peers and loss: ms until all have a record, p99.
SPREAD_MS = {
    (3, 0.0): 5.0, (10, 0.0): 5.0, (100, 0.0): 10.0, (500, 0.0): 20.0,
    (3, 0.3): 100.0, (10, 0.3): 200.0, (100, 0.3): 300.0, (500, 0.3): 1500.0,
}  # fmt: skip
HIDE_S = {10: 4.0, 100: 6.0, 500: 8.0}
IDLE_BYTES_PER_S = 1024.0
# Slower than that, a simulation of a large cluster is not run often enough.
SPEED = {1000: 0.1}
PAUSE_S = 3.0


@dataclass(frozen=True)
class Plan:
    """What is measured. Rows of `spread`, `memberlist` and `hide` are peers and trials; of `idle` peers and records;
    of `false_deaths` peers and virtual seconds.
    """

    spread: Sequence[tuple[int, int]] = ((3, 1000), (10, 500), (100, 100), (500, 30), (1000, 10))
    losses: Sequence[float] = (0.0, 0.1, 0.3)
    memberlist: Sequence[tuple[int, int]] = ((3, 300), (10, 200), (100, 40), (500, 12), (1000, 5))
    idle: Sequence[tuple[int, int]] = ((3, 200), (10, 200), (10, 20_000), (100, 200), (500, 200))
    hide: Sequence[tuple[int, int]] = ((3, 100), (10, 100), (100, 50), (500, 25))
    false_deaths: Sequence[tuple[int, float]] = ((3, 3600.0), (10, 3600.0), (100, 3600.0), (500, 300.0))
    join_records: int = 100_000
    speed: Sequence[int] = (100, 1000)


QUICK = Plan(
    spread=((3, 20), (10, 20)),
    losses=(0.0, 0.3),
    memberlist=((3, 10),),
    idle=((3, 200),),
    hide=((3, 3), (10, 3)),
    false_deaths=((3, 60.0),),
    join_records=2_000,
    speed=(10,),
)


@dataclass(frozen=True, slots=True)
class Gate:
    """A number to reach; `least`: it may not be below the limit, else not above."""

    what: str
    value: float
    limit: float
    least: bool = False

    @property
    def holds(self) -> bool:
        """Whether it is reached."""
        return self.value >= self.limit if self.least else self.value <= self.limit

    def row(self) -> list[str]:
        """Its line of the table."""
        bound = f"at {'least' if self.least else 'most'} {self.limit:g}"
        return [self.what, f"{self.value:.4g}", bound, "holds" if self.holds else "**fails**"]


class Report:
    """The lines of the result file, printed as they come, and the gates."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.gates: list[Gate] = []

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Make a table; its rows are measured as they are drawn."""
        started = time.process_time()
        self._say(f"{title}:", "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns))
        for row in rows:
            self._say("| " + " | ".join(row) + " |")
        self._say("")
        print(f"({time.process_time() - started:.0f} s of the processor)", file=sys.stderr, flush=True)

    def _say(self, *lines: str) -> None:
        for line in lines:
            print(line, flush=True)
        self.lines += lines

    def spread(self, plan: Plan, profile: Profile, sizes: Sequence[tuple[int, int]]) -> Iterable[Sequence[str]]:
        for peers, trials in sizes:
            row = [str(peers), str(trials)]
            for loss in plan.losses if profile is FAST else (0.0,):
                times, sent = spread_times(peers, loss, trials, profile)
                p99 = percentile(times, 0.99)
                row.append(f"{_ms(percentile(times, 0.5))} / {_ms(p99)} / {_ms(max(times))} ({sent:.1f})")
                if profile is FAST and (peers, loss) in SPREAD_MS:
                    what = f"ms until {peers} peers have a record at {loss:.0%} loss, p99"
                    self.gates.append(Gate(what, p99 * 1000, SPREAD_MS[peers, loss]))
            yield row

    def idle(self, plan: Plan) -> Iterable[Sequence[str]]:
        for peers, records in plan.idle:
            payload, whole = idle_bytes(peers, records)
            what = f"bytes a second of an idle peer, {peers} peers and {records:,} records"
            self.gates.append(Gate(what, whole, IDLE_BYTES_PER_S))
            yield [str(peers), f"{records:,}", f"{payload:.0f}", f"{whole:.0f}"]

    def hide(self, plan: Plan) -> Iterable[Sequence[str]]:
        for peers, trials in plan.hide:
            times = hide_times(peers, trials)
            median, p99 = percentile(times, 0.5), percentile(times, 0.99)
            if peers in HIDE_S:
                self.gates.append(Gate(f"s until a dead one of {peers} peers is hidden, p99", p99, HIDE_S[peers]))
            yield [str(peers), str(trials), f"{median:.2f}", f"{p99:.2f}", f"{max(times):.2f}"]

    def deaths(self, plan: Plan) -> Iterable[Sequence[str]]:
        for peers, seconds in plan.false_deaths:
            row = [str(peers), f"{seconds:.0f}"]
            for what, loss, pause_s in (("at 30% loss", 0.3, 0.0), ("with pauses of 3 s", 0.0, PAUSE_S)):
                deaths, suspicions = false_deaths(peers, seconds, loss, pause_s)
                self.gates.append(Gate(f"false deaths of {peers} peers in {seconds:.0f} s {what}", deaths, 0.0))
                row.append(f"{deaths} ({suspicions})")
            yield row

    def speed(self, plan: Plan) -> Iterable[Sequence[str]]:
        for peers in plan.speed:
            found = speed(peers)
            if peers in SPEED:
                what = f"virtual seconds a processor second, {peers} peers"
                self.gates.append(Gate(what, found, SPEED[peers], least=True))
            yield [str(peers), f"{found:.2f}"]


def run(plan: Plan) -> Report:
    """All measurements of a plan."""
    report = Report()
    report.table(
        "Until every peer answers with a new record: median / p99 / worst ms (datagrams that each peer sends for it)",
        ["peers", "trials", *(f"{loss:.0%} loss" for loss in plan.losses)],
        report.spread(plan, FAST, plan.spread),
    )
    report.table(
        "The same with memberlist's parameters",
        ["peers", "trials", "0% loss"],
        report.spread(plan, MEMBERLIST, plan.memberlist),
    )
    report.table(
        "Bytes a second that an idle peer sends",
        ["peers", "records", "UDP payload", "with UDP and IP headers"],
        report.idle(plan),
    )
    report.table(
        "From a crash until all others hide the peer, s",
        ["peers", "trials", "median", "p99", "worst"],
        report.hide(plan),
    )
    report.table(
        "Live peers believed dead, all peers together (in brackets: suspected)",
        ["peers", "virtual s", "30% loss", "no loss, one at a time paused for 3 s"],
        report.deaths(plan),
    )
    took, spent, size = first_join(plan.join_records)
    report.table(
        "First join",
        ["records", "virtual s", "processor s, all hosts of the simulation", "bytes sent to it", "bytes a record"],
        [[f"{plan.join_records:,}", f"{took:.2f}", f"{spent:.2f}", f"{size:,}", f"{size / plan.join_records:.0f}"]],
    )
    report.table(
        "Simulator: virtual seconds a processor second, idle cluster", ["peers", "speed"], report.speed(plan)
    )
    report.table("Gates", ["gate", "measured", "limit", ""], (gate.row() for gate in report.gates))
    return report


def _ms(seconds: float) -> str:
    return "lost" if seconds >= GIVE_UP_S else f"{seconds * 1000:.1f}"


def main() -> int:
    """Measure, write the results and judge them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small numbers; writes no result file")
    options = parser.parse_args()
    report = run(QUICK if options.quick else Plan())
    if not options.quick:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text("\n".join([f"{time.strftime('%Y-%m-%d')}.", "", *report.lines]).rstrip() + "\n")
    failed = [gate for gate in report.gates if not gate.holds]
    for gate in failed:
        print(f"gate failed: {' | '.join(gate.row()[:3])}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
