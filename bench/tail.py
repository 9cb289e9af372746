"""Measures how long the slowest answers take while the server has other work to do.

    python -m bench.tail [--quick]

At half of the rate that the server can answer; the same while 100,000 records are merged and 500 change each second;
and while names of others are asked for whose servers are dead. Exits with 1 when a gate fails.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import sched_getaffinity
from pathlib import Path

from bench import load
from bench.servers import DOMAIN, Server, address, running

RESULTS = Path(__file__).parent / "results"
NAMES = 100_000
CHANGES_A_SECOND = 500
PROBES_A_SECOND = 1000
FOREIGN_A_SECOND = 500
GATE_MS = 2.0
CHURN = "the same, while 100,000 records are merged and 500 change each second"
DEAD = "500 names of others a second, all upstreams silent"


@dataclass(frozen=True, slots=True)
class Tail:
    """What one situation did to answers of our own: latencies in ms, and what became of the load beside them."""

    situation: str
    p50_ms: float
    p99_ms: float
    most_ms: float
    rate: float
    lost: int


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the tail of answers under other work, and check the gates.")
    parser.add_argument("--quick", action="store_true", help="short runs: a hint, not a measurement")
    seconds = 4.0 if parser.parse_args().quick else 12.0
    cores = sorted(sched_getaffinity(0))
    if len(cores) < 2:
        print("needs two cores", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="weavedns-bench-") as folder:
        tails = measure(Path(folder), seconds, cores)
    text = render(tails)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "tail.md").write_text(text)
    print(text)
    return int("**fails**" in text)


def measure(folder: Path, seconds: float, cores: Sequence[int]) -> list[Tail]:
    own, foreign = folder / "own", folder / "foreign"
    load.write_queries(own, NAMES)
    foreign.write_text("".join(f"f{number}.example.test A\n" for number in range(NAMES)))
    with dead_upstream() as upstream:

        def launch(place: Path, port: int) -> list[str]:
            write_zone(place / "zones" / "first.zone", "n", 0)
            start = [sys.executable, "-c", "from weavedns.cli import main; main()", "launch", "--no-network"]
            where = ["--no-http", "--listen", f"127.0.0.1:{port}", "--socket", str(place / "socket")]
            what = ["--state-dir", str(place), "--range", "10.0.0.0/8", "--zones", str(place / "zones")]
            return [*start, *where, *what, "--upstream", f"127.0.0.1:{upstream}"]

        with running("weavedns", NAMES, folder, cores[0], command_of=launch) as server:
            half = load.saturate(server, own, min(seconds, 3.0), cores[1]).per_second / 2
            quiet = observe("half of the peak rate", server, (own, half), seconds, cores[1])
            with churning(folder / f"weavedns-{NAMES}" / "zones"):
                churn = observe(CHURN, server, (own, half), seconds, cores[1])
            dead = observe(DEAD, server, (foreign, FOREIGN_A_SECOND), seconds, cores[1])
    return [quiet, churn, dead]


def observe(situation: str, server: Server, beside: tuple[Path, float], seconds: float, core: int) -> Tail:
    """Probe names of our own at a low rate while a load runs beside."""
    queries, rate = beside
    at = ["taskset", "-c", str(core), "dnsperf", "-s", "127.0.0.1", "-p", str(server.port), "-l", str(seconds)]
    loaded = [*at, "-d", str(queries), "-Q", str(int(rate)), "-q", "1000", "-c", "10"]
    # The names that are timed are our own, whatever the load is.
    timed = ["taskset", "-c", str(core), sys.executable, "-m", "bench.timed", str(server.port)]
    probe = [*timed, str(queries.with_name("own")), str(seconds), str(PROBES_A_SECOND)]
    with subprocess.Popen(loaded, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as other:
        probed = subprocess.run(probe, stdout=subprocess.PIPE, text=True, check=True, timeout=seconds + 30).stdout
        output, _ = other.communicate(timeout=seconds + 30)
    run = load.summary(output)
    times = sorted(float(line) for line in probed.split())
    unanswered = sum(each < 0 for each in times)
    p50, p99 = (times[int(len(times) * part)] / 1e3 for part in (0.5, 0.99))
    return Tail(situation, p50, p99, times[-1] / 1e3, run.per_second, run.lost + unanswered)


@contextlib.contextmanager
def churning(zones: Path) -> Iterator[None]:
    """Let one file give 100,000 more records at once, and another change 500 each second."""
    ended = threading.Event()

    def churn() -> None:
        # Of these names half go and as many come at each round.
        for number in range(10**6):
            write_zone(zones / "changing.zone", "c", number, count=CHANGES_A_SECOND // 2)
            if number == 1:
                write_zone(zones / "second.zone", "m", 1)
            if ended.wait(1.0):
                return

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def dead_upstream() -> Iterator[int]:
    """The port of a server that takes every query and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        yield int(silent.getsockname()[1])


def write_zone(path: Path, prefix: str, version: int, *, count: int = NAMES) -> None:
    """A zone file of so many addresses, put in place at once; each `version` has other ones."""
    path.parent.mkdir(exist_ok=True)
    lines = (f"{prefix}{number} A {address(number + version * count)}\n" for number in range(count))
    fresh = path.with_suffix(".new")
    fresh.write_text(f"$ORIGIN {DOMAIN}.\n$TTL 1\n" + "".join(lines))
    fresh.rename(path)


def render(tails: Sequence[Tail]) -> str:
    lines = [f"{time.strftime('%Y-%m-%d')}; {NAMES:,} names, {PROBES_A_SECOND:,} timed queries a second.", ""]
    lines += [
        "| beside the timed queries | p50 ms | p99 ms | most ms | load q/s | lost |",
        "|---|---|---|---|---|---|",
    ]
    for each in tails:
        times = f"{each.p50_ms:.2f} | {each.p99_ms:.2f} | {each.most_ms:.1f}"
        lines.append(f"| {each.situation} | {times} | {each.rate:,.0f} | {each.lost} |")
    lines += ["", "| gate | measured | at most | |", "|---|---|---|---|"]
    churn, dead = tails[1], tails[2]
    gates = [
        ("p99 while records are merged and change, ms", churn.p99_ms, GATE_MS),
        ("answers lost meanwhile", churn.lost, 0),
        ("p99 while upstreams are dead, ms", dead.p99_ms, GATE_MS),
    ]
    for what, value, most in gates:
        lines.append(f"| {what} | {value:.3g} | {most:g} | {'holds' if value <= most else '**fails**'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
