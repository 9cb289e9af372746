"""The load of the DNS bench: dnsperf, pinned to a core of its own, and what it reports."""

from __future__ import annotations

import random
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.servers import DOMAIN, Server

_DNSPERF_S = 60.0
_COMPLETED = re.compile(r"Queries completed:\s+(\d+)")
_SENT = re.compile(r"Queries sent:\s+(\d+)")
_RATE = re.compile(r"Queries per second:\s+([\d.]+)")
_MEAN = re.compile(r"Average Latency \(s\):\s+([\d.]+)")
_EACH = re.compile(r"^> \S+ \S+ \S+ ([\d.]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of dnsperf against one server."""

    answered: int
    lost: int
    per_second: float
    mean_us: float
    cpu_us: float  # of the server, for each answered query


def write_queries(path: Path, names: int) -> None:
    """A file of queries in random order, half of them for names that do not exist."""
    lines = [f"{kind}{number}.{DOMAIN} A\n" for number in range(names) for kind in ("n", "x")]
    random.Random(names).shuffle(lines)
    path.write_text("".join(lines))


def saturate(server: Server, queries: Path, seconds: float, core: int) -> Measured:
    """As many queries as the server answers, 100 of them outstanding."""
    return _measure(server, ["-q", "100", "-c", "10", "-l", str(seconds), "-d", str(queries)], core)


def one_at_a_time(server: Server, queries: Path, seconds: float, core: int) -> Measured:
    """The next query when the last is answered."""
    return _measure(server, ["-q", "1", "-c", "1", "-l", str(seconds), "-d", str(queries)], core)


def latencies_us(server: Server, queries: Path, seconds: float, core: int) -> list[float]:
    """The time that each query took, one at a time, in ascending order."""
    output = _dnsperf(server, ["-q", "1", "-c", "1", "-l", str(seconds), "-v", "-d", str(queries)], core)
    return sorted(float(found) * 1e6 for found in _EACH.findall(output))


def _measure(server: Server, options: list[str], core: int) -> Measured:
    before_s = server.cpu_s()
    run = summary(_dnsperf(server, options, core))
    used_s = server.cpu_s() - before_s
    if not run.answered:
        raise SystemExit(f"{server.kind} answered nothing")
    return Measured(run.answered, run.lost, run.per_second, run.mean_us, used_s / run.answered * 1e6)


@dataclass(frozen=True, slots=True)
class Summary:
    """What dnsperf says at its end."""

    answered: int
    lost: int
    per_second: float
    mean_us: float


def summary(output: str) -> Summary:
    """Read the end of dnsperf's output."""
    answered, sent = int(_find(_COMPLETED, output)), int(_find(_SENT, output))
    mean_us = _find(_MEAN, output) * 1e6 if answered else 0.0
    return Summary(answered, sent - answered, _find(_RATE, output), mean_us)


def _dnsperf(server: Server, options: list[str], core: int) -> str:
    command = ["taskset", "-c", str(core), "dnsperf", "-s", "127.0.0.1", "-p", str(server.port), *options]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=_DNSPERF_S).stdout


def _find(pattern: re.Pattern[str], output: str) -> float:
    found = pattern.search(output)
    if not found:
        raise SystemExit(f"dnsperf said nothing of {pattern.pattern}:\n{output}")
    return float(found[1])
