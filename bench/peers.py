"""How long a new record takes to be answered on other hosts, from the control API's answer on its own host.

    python -m bench.peers [--samples 300]

Three lab hosts with real engines. Writes bench/results/peers.md; exits with 1 when a gate fails.
"""

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.docker.hosts import launch_all, own_address
from tests.lab import Host, Lab, wait_until
from weavenet.control import Client

RESULTS = Path(__file__).parent / "results"
PROBE = Path(__file__).with_name("probe.py")
GATE_MS = 20.0
ADDRESS = "192.0.2.10"
# Between two records, so that none shares its packets with the one before.
PAUSE_S = (0.03, 0.08)
ANSWERED_S = 30.0


class Asker:
    """A process on a host that waits for one name after the other."""

    def __init__(self, host: Host, names: Sequence[str]) -> None:
        self._host = host
        self._process: subprocess.Popen[str] = host.popen(
            sys.executable, PROBE, own_address(host), *(f"{name}.weave.local" for name in names), log="asker"
        )
        wait_until(lambda: "asking" in host.log("asker"), what="the asker")

    def answered_ns(self, number: int) -> int:
        """When the name of that number was answered, in ns since 1970; waits for it."""
        wait_until(
            lambda: len(self._lines()) > number, ANSWERED_S, what=lambda: f"name {number} on {self._host.name}"
        )
        return int(self._lines()[number].split()[0])

    def _lines(self) -> list[str]:
        # The last one may be half written.
        return [line for line in self._host.log("asker").splitlines(keepends=True)[1:] if line.endswith("\n")]


def measure(samples: int) -> tuple[list[float], list[float]]:
    """Milliseconds from the control API's answer, and from the request, to the answer on each of two other hosts."""
    names = [f"n{number}" for number in range(samples)]
    after_answer, after_request = [], []
    with Lab(3) as lab:
        one, two, three = lab.hosts
        launch_all((one, two, three))
        askers = [Asker(host, names) for host in (two, three)]
        client = Client(one.root / "run/weavedns/weavedns.sock")
        for number, name in enumerate(names):
            time.sleep(random.uniform(*PAUSE_S))
            requested_ns = time.time_ns()
            client.call("POST", "/v1/records", {"name": name, "data": [ADDRESS]})
            returned_ns = time.time_ns()
            for asker in askers:
                seen_ns = asker.answered_ns(number)
                after_answer.append(max(0.0, (seen_ns - returned_ns) / 1e6))
                after_request.append((seen_ns - requested_ns) / 1e6)
    return sorted(after_answer), sorted(after_request)


def row(what: str, times: Sequence[float]) -> str:
    p50, p99 = (times[int(len(times) * share)] for share in (0.5, 0.99))
    return f"| {what} | {p50:.1f} | {p99:.1f} | {times[-1]:.1f} |"


def render(after_answer: Sequence[float], after_request: Sequence[float]) -> str:
    p99 = after_answer[int(len(after_answer) * 0.99)]
    verdict = "holds" if p99 <= GATE_MS else "**fails**"
    lines = [
        f"{time.strftime('%Y-%m-%d')}; {len(after_answer) // 2} records, each answered on two other hosts.",
        "",
        "| until another host answers, ms | p50 | p99 | most |",
        "|---|---|---|---|",
        row("from the control API's answer", after_answer),
        row("from the request", after_request),
        "",
        "| gate | measured | at most | |",
        "|---|---|---|---|",
        f"| p99 from the control API's answer, ms | {p99:.3g} | {GATE_MS:g} | {verdict} |",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=300, help="records to add (default 300)")
    text = render(*measure(parser.parse_args().samples))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "peers.md").write_text(text)
    print(text)
    return int("**fails**" in text)


if __name__ == "__main__":
    sys.exit(main())
