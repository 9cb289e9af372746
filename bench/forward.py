"""Measures what an answer from the cache costs against an answer of our own, and against others' caches.

    python -m bench.forward [--quick]

One unbound knows the names. The servers that are measured forward to it, and have it all in their caches before the
rounds begin. Exits with 1 when the gate fails.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from os import sched_getaffinity
from pathlib import Path
from statistics import median

from bench import load
from bench.servers import DOMAIN, Server, address, running

RESULTS = Path(__file__).parent / "results"
NAMES = 50
OWN, CACHED = "weavedns, its own names", "weavedns, from the cache"
# CPU time of an answer from the cache, as a ratio to one of our own.
GATE = 2.0


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure answers from the cache, and check the gate.")
    parser.add_argument("--quick", action="store_true", help="short rounds: a hint, not a measurement")
    rounds, seconds = (3, 1.0) if parser.parse_args().quick else (7, 2.0)
    cores = sorted(sched_getaffinity(0))
    if len(cores) < 2:
        print("needs two cores", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="weavedns-bench-") as folder:
        measured = measure(Path(folder), rounds, seconds, cores)
    pairs = zip(measured[CACHED], measured[OWN], strict=True)
    ratio = median(cached.cpu_us / own.cpu_us for cached, own in pairs)
    text = render(measured, rounds, ratio)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "forward.md").write_text(text)
    print(text)
    if ratio > GATE:
        print(f"gate failed: {ratio:.2f}, at most {GATE:.2f}", file=sys.stderr)
    return int(ratio > GATE)


def measure(folder: Path, rounds: int, seconds: float, cores: Sequence[int]) -> dict[str, list[load.Measured]]:
    queries = folder / "queries"
    load.write_queries(queries, NAMES)
    measured: dict[str, list[load.Measured]] = {}
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(running("upstream", NAMES, folder, cores[0], command_of=_upstream))
        servers = {OWN: stack.enter_context(running("weavedns", NAMES, folder, cores[0]))}
        for kind, command_of in _forwarders(upstream).items():
            started = running(kind.replace(" ", "-"), NAMES, folder, cores[0], command_of=command_of)
            servers[kind] = stack.enter_context(started)
        for server in servers.values():
            load.saturate(server, queries, seconds / 4, cores[1])
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", flush=True)
            for kind, server in servers.items():
                measured.setdefault(kind, []).append(load.saturate(server, queries, seconds, cores[1]))
    return measured


def render(measured: dict[str, list[load.Measured]], rounds: int, ratio: float) -> str:
    lines = [f"Median of {rounds} rounds, {time.strftime('%Y-%m-%d')}; {NAMES} names.", ""]
    lines += ["| server | us CPU a query | q/s | lost |", "|---|---|---|---|"]
    for kind, each in measured.items():
        cpu, rate = (median(getattr(one, key) for one in each) for key in ("cpu_us", "per_second"))
        lines.append(f"| {kind} | {cpu:.2f} | {rate:,.0f} | {sum(one.lost for one in each)} |")
    verdict = "holds" if ratio <= GATE else "**fails**"
    lines += ["", "| gate | measured | at most | |", "|---|---|---|---|"]
    lines.append(f"| CPU per query, from the cache / our own names | {ratio:.2f} | {GATE:g} | {verdict} |")
    return "\n".join(lines) + "\n"


def _upstream(place: Path, port: int) -> list[str]:
    data = "".join(f'local-data: "n{number}.{DOMAIN}. 3600 IN A {address(number)}"\n' for number in range(NAMES))
    soa = f"{DOMAIN}. 3600 IN SOA ns.{DOMAIN}. hostmaster.{DOMAIN}. 1 3600 600 86400 3600"
    return _unbound(place, port, f'local-zone: "{DOMAIN}." static\nlocal-data: "{soa}"\n{data}')


def _unbound(place: Path, port: int, lines: str) -> list[str]:
    config = place / "unbound.conf"
    config.write_text(
        f"server:\ninterface: 127.0.0.1@{port}\naccess-control: 127.0.0.0/8 allow\ndo-daemonize: no\n"
        f'num-threads: 1\nchroot: ""\nusername: ""\ndirectory: "{place}"\npidfile: ""\nuse-syslog: no\n'
        'logfile: ""\nmodule-config: "iterator"\nso-rcvbuf: 4m\nso-sndbuf: 4m\ndo-not-query-localhost: no\n'
        f"{lines}\nremote-control:\ncontrol-enable: no\n"
    )
    return ["unbound", "-d", "-c", str(config)]


def _forwarders(upstream: Server) -> dict[str, Callable[[Path, int], list[str]]]:
    def ours(place: Path, port: int) -> list[str]:
        start = [sys.executable, "-c", "from weavedns.cli import main; main()", "launch", "--no-network", "--no-http"]
        where = ["--listen", f"127.0.0.1:{port}", "--socket", str(place / "socket"), "--state-dir", str(place)]
        return [*start, *where, "--domain", "elsewhere.local", "--upstream", f"127.0.0.1:{upstream.port}"]

    def dnsmasq(_: Path, port: int) -> list[str]:
        listen = [f"--port={port}", "--listen-address=127.0.0.1", "--bind-interfaces", "--user=root", "--pid-file="]
        quiet = ["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--no-poll"]
        return ["dnsmasq", *quiet, *listen, f"--server=127.0.0.1#{upstream.port}", "--cache-size=10000"]

    def unbound(place: Path, port: int) -> list[str]:
        zone = f'forward-zone:\nname: "{DOMAIN}"\nforward-addr: 127.0.0.1@{upstream.port}'
        return _unbound(place, port, zone)

    return {CACHED: ours, "dnsmasq, from its cache": dnsmasq, "unbound, from its cache": unbound}


if __name__ == "__main__":
    sys.exit(main())
