"""Measures how long the slowest answers take while the server has other work to do.

    python -m bench.tail [--quick]

At half of the rate that the server can answer: alone; while 100,000 records of a zone file are read and 500 change
each second; while a peer comes with 100,000 records, is killed and comes back with as many others, and 500 a second
are changed by commands and 500 by another peer; and while names of others are asked for whose servers are dead.

Exits with 1 when a gate fails.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench import churn, load
from bench.servers import Server, running

RESULTS = Path(__file__).parent / "results"
NAMES = churn.LARGE
# Of the daemon that peers come to: they are to bring many records, not to take many.
FEW_NAMES = 10_000
PROBES_A_SECOND = 1000
FOREIGN_A_SECOND = 500
GATE_MS = 2.0
QUIET = "half of the peak rate"
FILES = "the same, while a zone file brings 100,000 records, then others, and 500 change each second"
PEERS = "the same, while a peer brings 100,000, then others, and 500 change here and 500 at a third each second"
DEAD = "500 names of others a second, all upstreams silent"


@dataclass(frozen=True, slots=True)
class Measured:
    """A running daemon: its folder, queries for its names, and how many of these it answers a second at most."""

    server: Server
    place: Path
    queries: Path
    peak: float


@dataclass(frozen=True, slots=True)
class Tail:
    """What one situation did to answers of our own: latencies in ms, and what became of the load beside them.

    Of a situation with merges the latencies are those of the questions asked while one was under way.
    """

    situation: str
    asked: int
    p50_ms: float
    p99_ms: float
    most_ms: float
    rate: float
    lost: int
    merged_s: tuple[float, ...] = ()


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the tail of answers under other work, and check the gates.")
    parser.add_argument("--quick", action="store_true", help="short runs: a hint, not a measurement")
    seconds = 4.0 if parser.parse_args().quick else 12.0
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("needs two cores", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # The server has the first core for itself.
    os.sched_setaffinity(0, {cores[1]})
    with tempfile.TemporaryDirectory(prefix="weavedns-bench-") as folder:
        tails = measure(Path(folder), seconds, cores)
    text = render(tails)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "tail.md").write_text(text)
    print(text)
    return int("**fails**" in text)


def measure(folder: Path, seconds: float, cores: Sequence[int]) -> list[Tail]:
    foreign = folder / "foreign"
    foreign.write_text("".join(f"f{number}.example.test A\n" for number in range(NAMES)))
    gossip, unused = churn.free_ports(2)
    with dead_upstream() as upstream:
        with measured(folder, NAMES, seconds, cores, upstream=upstream, gossip=unused) as one:
            files = churn.Merges(one.server.port)
            quiet = observe(QUIET, one, seconds)
            with churn.beside(churn.zone_files(one.place / "zones", files)):
                read = observe(FILES, one, seconds, merges=files)
            dead = observe(DEAD, one, seconds, load_of=(foreign, FOREIGN_A_SECOND))
        with (
            churn.Peers(gossip, cores[1]) as peers,
            measured(folder, FEW_NAMES, seconds, cores, upstream=upstream, gossip=gossip) as one,
        ):
            arrivals = churn.Merges(one.server.port)
            with churn.beside(churn.commands(one.place / "socket"), peers.come(arrivals)):
                met = observe(PEERS, one, seconds, merges=arrivals)
    return [quiet, replace(read, merged_s=tuple(files.took_s)), replace(met, merged_s=tuple(arrivals.took_s)), dead]


@contextlib.contextmanager
def measured(
    folder: Path, names: int, seconds: float, cores: Sequence[int], *, upstream: int, gossip: int
) -> Iterator[Measured]:
    """A daemon with so many names."""
    queries = folder / f"own-{names}"
    load.write_queries(queries, names)
    command = partial(launch, names=names, upstream=upstream, gossip=gossip)
    with running("weavedns", names, folder, cores[0], command_of=command) as server:
        peak = load.saturate(server, queries, min(seconds, 3.0), cores[1]).per_second
        yield Measured(server, folder / f"weavedns-{names}", queries, peak)


def launch(place: Path, port: int, *, names: int, upstream: int, gossip: int) -> list[str]:
    """The command for the daemon that is measured."""
    churn.write_zone(place / "zones" / "first.zone", "n", 0, count=names)
    start = [sys.executable, "-c", "from weavedns.cli import main; main()", "launch", "--no-network", "--no-http"]
    where = ["--listen", f"127.0.0.1:{port}", "--socket", str(place / "socket"), "--state-dir", str(place)]
    what = ["--range", "10.0.0.0/8", "--zones", str(place / "zones"), "--upstream", f"127.0.0.1:{upstream}"]
    peers = ["--name", "here", "--port", str(gossip), "--advertise", "127.0.0.1", "--max-peer-records", str(NAMES)]
    return [*start, *where, *what, *peers]


def observe(
    situation: str,
    one: Measured,
    seconds: float,
    *,
    load_of: tuple[Path, float] | None = None,
    merges: churn.Merges | None = None,
) -> Tail:
    """Probe names of its own at a low rate beside a load: queries and how many a second, or half of the peak rate."""
    queries, rate = load_of or (one.queries, one.peak / 2)
    at = ["dnsperf", "-s", "127.0.0.1", "-p", str(one.server.port), "-l", str(seconds)]
    loaded = [*at, "-d", str(queries), "-Q", str(int(rate)), "-q", "1000", "-c", "10"]
    timed = [sys.executable, "-m", "bench.timed", str(one.server.port)]
    probe = [*timed, str(one.queries), str(seconds), str(PROBES_A_SECOND)]
    with subprocess.Popen(loaded, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as other:
        probed = subprocess.run(probe, stdout=subprocess.PIPE, text=True, check=True, timeout=seconds + 30).stdout
        output, _ = other.communicate(timeout=seconds + 30)
    run = load.summary(output)
    asked = [(float(at), float(took)) for at, took in (line.split() for line in probed.splitlines())]
    unanswered = sum(took < 0 for _, took in asked)
    times = sorted(took for at, took in asked if merges is None or merges.covers(at))
    if not times:
        raise SystemExit(f"nothing was merged while answers were timed: {situation}")
    p50, p99 = (times[int(len(times) * part)] / 1e3 for part in (0.5, 0.99))
    return Tail(situation, len(times), p50, p99, times[-1] / 1e3, run.per_second, run.lost + unanswered)


@contextlib.contextmanager
def dead_upstream() -> Iterator[int]:
    """The port of a server that takes every query and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        yield int(silent.getsockname()[1])


def render(tails: Sequence[Tail]) -> str:
    lines = [
        f"{time.strftime('%Y-%m-%d')}; {PROBES_A_SECOND:,} timed queries a second.",
        "",
        f"The daemon has {NAMES:,} names of its own, that to which peers come {FEW_NAMES:,}.",
        "",
    ]
    lines += [
        "| beside the timed queries | timed | p50 ms | p99 ms | most ms | load q/s | lost | merged in s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in tails:
        times = f"{each.p50_ms:.2f} | {each.p99_ms:.2f} | {each.most_ms:.1f}"
        merged = ", ".join(f"{took_s:.1f}" for took_s in each.merged_s)
        lines.append(f"| {each.situation} | {each.asked:,} | {times} | {each.rate:,.0f} | {each.lost} | {merged} |")
    lines += ["", "| gate | measured | at most | |", "|---|---|---|---|"]
    quiet, files, peers, dead = tails
    gates = [
        ("answers lost at half of the peak rate", quiet.lost, 0),
        ("p99 while zone files are read, ms", files.p99_ms, GATE_MS),
        ("answers lost meanwhile", files.lost, 0),
        ("p99 while a peer's records come and others change, ms", peers.p99_ms, GATE_MS),
        ("answers lost meanwhile", peers.lost, 0),
        ("p99 while upstreams are dead, ms", dead.p99_ms, GATE_MS),
    ]
    for what, value, most in gates:
        lines.append(f"| {what} | {value:.3g} | {most:g} | {'holds' if value <= most else '**fails**'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
