"""Measures the DNS server against dnsmasq, unbound and the floor in one run, and checks the gates.

    python -m bench.dns [--quick] [--names N]...

Servers run on the first core this process may use and dnsperf on the second; all are started once and take turns, so
that whatever else the machine does hits them alike. Every gate is the median of the ratios within each round. Exits
with 1 when one fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from bench import load
from bench.servers import KINDS, Server, running

RESULTS = Path(__file__).parent / "results"
NAMES = (50, 10_000, 100_000)
OURS = "weavedns"
# CPU time of an answered query, as ratios to other servers; DNS gates of docs/performance.md.
CPU_GATES = {"floor": 1.3, "dnsmasq": 1.0, "unbound": 1.05}
FLAT_GATE = 1.15
LATENCY_GATE = 1.5
LOAD_GATE_S = 3.0
MEMORY_GATE_MIB = 120.0
_STARTS = 3
_LATENCY_KINDS = ("weavedns", "dnsmasq", "unbound")


@dataclass(frozen=True, slots=True)
class Gate:
    """Something that must hold, and whether it did."""

    what: str
    value: float
    limit: float

    @property
    def holds(self) -> bool:
        return self.value <= self.limit


@dataclass(slots=True)
class Results:
    """What was measured: for each server and number of names, a list with one entry a round."""

    busy: dict[tuple[str, int], list[load.Measured]] = field(default_factory=dict)
    single: dict[str, list[load.Measured]] = field(default_factory=dict)
    latencies_us: dict[str, list[float]] = field(default_factory=dict)
    memory_mib: dict[tuple[str, int], tuple[float, float]] = field(default_factory=dict)
    started_s: dict[tuple[str, int], float] = field(default_factory=dict)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the DNS server against others, and check the gates.")
    parser.add_argument("--quick", action="store_true", help="short rounds: a hint, not a measurement")
    parser.add_argument("--names", type=int, action="append", help="a number of names, instead of the usual three")
    chosen = parser.parse_args()
    missing = [tool for tool in ("dnsperf", "dnsmasq", "unbound", "taskset") if not shutil.which(tool)]
    cores = sorted(os.sched_getaffinity(0))
    if missing or len(cores) < 2:
        print(f"needs two cores and {', '.join(missing) or 'has one'}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # Many and short: a machine that is slow for some seconds is so for both servers of a ratio.
    rounds, seconds = (3, 1.0) if chosen.quick else (15, 1.0)
    counts = tuple(chosen.names or NAMES)
    with tempfile.TemporaryDirectory(prefix="weavedns-bench-") as folder:
        results = measure(Path(folder), counts, rounds, seconds, cores)
    gates = judge(results, counts)
    text = render(results, gates, counts)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "dns.md").write_text(text)
    (RESULTS / "dns.json").write_text(json.dumps(as_json(results, gates), indent=1) + "\n")
    print(text)
    failed = [gate for gate in gates if not gate.holds]
    for gate in failed:
        print(f"gate failed: {gate.what}: {gate.value:.2f}, at most {gate.limit:.2f}", file=sys.stderr)
    return int(bool(failed))


def measure(folder: Path, counts: Sequence[int], rounds: int, seconds: float, cores: Sequence[int]) -> Results:
    results = Results()
    queries = {count: folder / f"{count}.queries" for count in counts}
    for count, path in queries.items():
        load.write_queries(path, count)
    # What else the machine does can only make a start slower: the fastest of three tells most.
    starts_s = [_started_s(max(counts), folder / f"start-{number}", cores[0]) for number in range(_STARTS - 1)]
    with contextlib.ExitStack() as stack:
        servers: dict[tuple[str, int], Server] = {}
        for kind, count in _pairs(counts):
            if (kind, 0) not in servers:  # the floor has no names, so one of it serves all
                server = stack.enter_context(running(kind, count, folder, cores[0]))
                servers[kind, 0 if kind == "floor" else count] = server
                results.started_s[kind, count] = server.started_s
            print(f"{kind} with {count} names", flush=True)
        results.started_s[OURS, max(counts)] = min(results.started_s[OURS, max(counts)], *starts_s)
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", flush=True)
            for count in counts:
                for kind in _turned(KINDS, number):
                    server = servers.get((kind, count)) or servers[kind, 0]
                    measured = load.saturate(server, queries[count], seconds, cores[1])
                    results.busy.setdefault((kind, count), []).append(measured)
            for kind in _turned(_LATENCY_KINDS, number):
                server = servers[kind, counts[0]]
                measured = load.one_at_a_time(server, queries[counts[0]], seconds, cores[1])
                results.single.setdefault(kind, []).append(measured)
        for kind in _LATENCY_KINDS:
            server = servers[kind, counts[0]]
            results.latencies_us[kind] = load.latencies_us(server, queries[counts[0]], seconds, cores[1])
        results.memory_mib = {key: server.memory_mib() for key, server in servers.items()}
    return results


def _started_s(count: int, folder: Path, core: int) -> float:
    folder.mkdir()
    with running(OURS, count, folder, core) as server:
        return server.started_s


def judge(results: Results, counts: Sequence[int]) -> list[Gate]:
    gates = []
    for other, limit in CPU_GATES.items():
        for count in counts:
            ratio = _ratio(results.busy[OURS, count], results.busy[other, count], "cpu_us")
            gates.append(Gate(f"CPU per query / {other}, {count} names", ratio, limit))
    least, most = min(counts), max(counts)
    flat = _ratio(results.busy[OURS, most], results.busy[OURS, least], "cpu_us")
    gates.append(Gate(f"CPU per query, {most} names / {least} names", flat, FLAT_GATE))
    latency = _ratio(results.single[OURS], results.single["dnsmasq"], "mean_us")
    gates.append(Gate("mean latency one query at a time / dnsmasq", latency, LATENCY_GATE))
    gates.append(Gate(f"seconds from start to answer, {most} names", results.started_s[OURS, most], LOAD_GATE_S))
    gates.append(Gate(f"MiB resident, {most} names", results.memory_mib[OURS, most][0], MEMORY_GATE_MIB))
    return gates


def render(results: Results, gates: Sequence[Gate], counts: Sequence[int]) -> str:
    rounds = len(results.busy[OURS, counts[0]])
    lines = [f"Median of {rounds} rounds, {time.strftime('%Y-%m-%d')}.", ""]
    heads = [f"{count:,} names: us CPU a query | q/s | lost" for count in counts]
    lines += [f"| server | {' | '.join(heads)} |", "|---" * (1 + 3 * len(counts)) + "|"]
    for kind in KINDS:
        cells = []
        for count in counts:
            measured = results.busy[kind, count]
            cpu, rate = (median(getattr(each, key) for each in measured) for key in ("cpu_us", "per_second"))
            cells.append(f"{cpu:.2f} | {rate:,.0f} | {sum(each.lost for each in measured)}")
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    lines += ["", "| server | mean latency, one at a time, us | p99, us |", "|---|---|---|"]
    for kind, measured in results.single.items():
        each = results.latencies_us[kind]
        p99 = each[int(len(each) * 0.99)] if each else float("nan")
        lines.append(f"| {kind} | {median(one.mean_us for one in measured):.0f} | {p99:.0f} |")
    lines += [
        "",
        "| server | names | s from start to answer | MiB resident | at its highest |",
        "|---|---|---|---|---|",
    ]
    for (kind, count), (now, peak) in results.memory_mib.items():
        if kind != "floor":
            lines.append(f"| {kind} | {count:,} | {results.started_s[kind, count]:.2f} | {now:.1f} | {peak:.1f} |")
    lines += ["", "| gate | measured | at most | |", "|---|---|---|---|"]
    lines += [f"| {gate.what} | {gate.value:.2f} | {gate.limit:g} | {_verdict(gate)} |" for gate in gates]
    return "\n".join(lines) + "\n"


def as_json(results: Results, gates: Sequence[Gate]) -> dict[str, object]:
    return {
        "busy": [
            {"server": kind, "names": count, "rounds": [asdict(each) for each in measured]}
            for (kind, count), measured in results.busy.items()
        ],
        "one_at_a_time": {kind: [asdict(each) for each in measured] for kind, measured in results.single.items()},
        "memory_mib": [
            {"server": kind, "names": count, "now": now, "peak": peak}
            for (kind, count), (now, peak) in results.memory_mib.items()
        ],
        "started_s": [
            {"server": kind, "names": count, "seconds": seconds}
            for (kind, count), seconds in results.started_s.items()
        ],
        "gates": [asdict(gate) | {"holds": gate.holds} for gate in gates],
        "load_average": os.getloadavg()[0],
    }


def _pairs(counts: Sequence[int]) -> Iterator[tuple[str, int]]:
    for count in counts:
        for kind in KINDS:
            yield kind, count


def _turned(kinds: Sequence[str], number: int) -> Sequence[str]:
    at = number % len(kinds)
    return [*kinds[at:], *kinds[:at]]


def _ratio(ours: Sequence[load.Measured], others: Sequence[load.Measured], key: str) -> float:
    return float(median(getattr(one, key) / getattr(other, key) for one, other in zip(ours, others, strict=True)))


def _verdict(gate: Gate) -> str:
    return "holds" if gate.holds else "**fails**"


if __name__ == "__main__":
    sys.exit(main())
