"""All benchmarks in one run, and docs/performance.md from what they measured.

``python -m bench`` runs everything, ``python -m bench dns`` one of them. Exits with 1 when a gate fails.
"""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "performance.md"
# In the order of the page: the module, its heading, and what a reader should know of it.
PARTS = {
    "dns": (
        "Answering",
        """\
Server and load generator (dnsperf) each have a core of their own; half of the questions are for names that do not
exist. CPU time is the server's own, by the kernel's count, per answered query; servers take turns, and each figure is
the median of its rounds. The floor is our own batch loop that sends every packet back with one bit changed. The gates
are ratios within the run.""",
    ),
    "forward": (
        "Forwarding",
        """\
As above, but the names are those of a server on the same host, which was asked before the rounds begin; all answers
come from the cache.""",
    ),
    "tail": (
        "The slowest answers",
        """\
Names of our own are asked for at a steady rate, whatever becomes of earlier questions, beside a load on the same
server; the kernel stamps the replies. Of the situations with merged records, the answers during merges count. What is
stolen is what the hypervisor took of both processors' time; where that was much, a round is measured again.""",
    ),
    "gossip": (
        "Peers",
        """\
On the simulator of `tests/sim`: real nodes and codec on a virtual clock, one-way delay 0.3 - 0.8 ms, independent
loss, no password, fixed seeds. `make bench-gossip` measures this part alone; what is measured is
[the peer protocol](protocol.md).""",
    ),
    "attach": (
        "Attaching",
        """\
On a lab host (a network namespace with a Docker engine of its own). The name is asked for every millisecond, so that
is how exact the times are.""",
    ),
    "peers": (
        "From host to host",
        """\
Three lab hosts with real engines, joined. A record is added on one over its control socket, and its name is asked for
every millisecond on the other two. The time is from the control API's answer (which is before `weavedns add` returns)
to the first right answer there; 0 when that came first.""",
    ),
}


def main(arguments: list[str]) -> int:
    chosen = arguments or list(PARTS)
    unknown = [part for part in chosen if part not in PARTS]
    if unknown:
        print(f"there is no benchmark {unknown[0]!r}; choose from {', '.join(PARTS)}", file=sys.stderr)
        return 2
    codes = [
        subprocess.run([sys.executable, "-m", f"bench.{part}"], cwd=ROOT, check=False).returncode for part in chosen
    ]
    PAGE.write_text(page())
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return int(any(codes))


def page() -> str:
    """The page: one section for each part that has results."""
    sections = [
        f"## {heading}\n\n{text}\n\n{(RESULTS / f'{part}.md').read_text().strip()}\n"
        for part, (heading, text) in PARTS.items()
        if (RESULTS / f"{part}.md").exists()
    ]
    kernel = platform.release().split("-", maxsplit=1)[0]
    head = (
        "# Performance\n\n"
        f"Measured by `make bench` on {datetime.now(UTC):%Y-%m-%d}: {cpu()}, {os.cpu_count()} cores, Linux {kernel},"
        f" Python {platform.python_version()}.\n`make bench` writes this page anew.\n"
    )
    return "\n".join([head, *sections])


def cpu() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
