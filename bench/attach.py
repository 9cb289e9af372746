"""How long a container waits for its name: attach by itself, and from its start to the first right answer.

Measured on a lab host with a real engine. Writes bench/results/attach.md; exits with 1 when a gate fails.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from tests.lab import Host, Lab, wait_until
from weavenet.control import Client

RESULTS = Path(__file__).parent / "results"
PROBE = Path(__file__).with_name("probe.py")
SERVER = "10.2.254.1"
ATTACH_GATE_MS = 40.0
ANSWER_GATE_MS = 100.0


def measure_attach(host: Host, rounds: int) -> list[float]:
    """Milliseconds of POST /v1/net/attach for a running container, detached again after each."""
    host.docker("run", "-d", "--name", "attached", "busybox", "sleep", "1000")
    client = Client(host.root / "run/weavedns/weavedns.sock")
    body = {"ContainerID": "attached", "Endpoint": ""}
    taken = []
    for _ in range(rounds):
        before = time.perf_counter()
        client.call("POST", "/v1/net/attach", body)
        taken.append((time.perf_counter() - before) * 1e3)
        client.call("POST", "/v1/net/detach", body)
    return taken


def measure_start(host: Host, number: int) -> tuple[float, float]:
    """Milliseconds from the engine's event, and from `docker start` returning, to the first right answer."""
    name = f"started{number}"
    host.docker("create", "--name", name, "--hostname", f"{name}.weave.local", "busybox", "sleep", "1000")
    probe = host.popen(sys.executable, PROBE, SERVER, f"{name}.weave.local", log=name)
    wait_until(lambda: "asking" in host.log(name), what="the probe")
    since = time.time()
    host.docker("start", name)
    returned_ns = time.time_ns()
    probe.wait(60)
    answered_ns = int(host.log(name).split()[1])
    events = host.docker(
        "events", "--since", f"{since - 5:.3f}", "--until", f"{time.time():.3f}", "--filter", f"container={name}",
        "--filter", "event=start", "--format", "{{json .}}",
    )  # fmt: skip
    event_ns = int(json.loads(events.splitlines()[-1])["timeNano"])
    host.docker("rm", "-f", name)
    return (answered_ns - event_ns) / 1e6, max(0.0, (answered_ns - returned_ns) / 1e6)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} | {min(values):.1f} | {max(values):.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="how often each is measured (default 20)")
    rounds = parser.parse_args().rounds
    with Lab() as lab:
        (host,) = lab.hosts
        host.start_daemon()
        attach = measure_attach(host, rounds)
        starts = [measure_start(host, number) for number in range(rounds)]
    after_event, after_return = [event for event, _ in starts], [returned for _, returned in starts]
    table = "\n".join(
        [
            "| what (ms) | median | least | most |",
            "|---|---|---|---|",
            f"| attach a running container, over the control socket | {spread(attach)} |",
            f"| the engine's start event to the first right answer | {spread(after_event)} |",
            f"| `docker start` returning to the first right answer | {spread(after_return)} |",
        ]
    )
    print(table)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "attach.md").write_text(table + "\n")
    gates = [
        ("attach", statistics.median(attach), ATTACH_GATE_MS),
        ("start event to answer", statistics.median(after_event), ANSWER_GATE_MS),
    ]
    failed = [f"{what}: median {value:.1f} ms is over {gate:.0f} ms" for what, value, gate in gates if value > gate]
    print("\n".join(failed) or "all gates hold")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
