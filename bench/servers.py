"""The servers that are compared: how each is given the same names, started on one core, watched and ended."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

DOMAIN = "weave.local"
KINDS = ("floor", "weavedns", "dnsmasq", "unbound")
_START_S = 60.0
_STOP_S = 5.0
_BASE = 0x0A000000  # 10.0.0.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: what it is, how many names it has, and how long it took until it answered for the last."""

    kind: str
    names: int
    port: int
    pid: int
    started_s: float

    def cpu_s(self) -> float:
        """CPU time used so far, by all threads: the kernel's count in nanoseconds."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def memory_mib(self) -> tuple[float, float]:
        """Resident memory now, and at its highest."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        fields = {name: value for name, _, value in (line.partition(":") for line in lines)}
        now, peak = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
        return now, peak


def address(number: int) -> str:
    """The address of a name by its number."""
    return socket.inet_ntoa((_BASE + number + 1).to_bytes(4, "big"))


@contextlib.contextmanager
def running(
    kind: str, names: int, folder: Path, core: int, *, command_of: Callable[[Path, int], list[str]] | None = None
) -> Iterator[Server]:
    """A server with so many names, pinned to a core; ended on the way out, whatever happens.

    `command_of` makes the command, from the server's folder and port, of a kind that is not one of KINDS.
    """
    port = _free_port()
    place = folder / f"{Path(kind).name}-{names}"
    place.mkdir()
    started = command_of(place, port) if command_of else _COMMANDS[kind](names, place, port)
    command = ["taskset", "-c", str(core), *started]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    with (place / "log").open("w") as log:
        began = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        try:
            _wait_for_answer(process, port, f"n{names - 1}", place / "log")
            yield Server(kind, names, port, process.pid, time.monotonic() - began)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def query(name: str) -> bytes:
    """A plain query for the address of a name of the domain."""
    labels = (*name.split("."), *DOMAIN.split("."), "")
    wire = b"".join(bytes((len(label),)) + label.encode() for label in labels)
    return b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + wire + b"\x00\x01\x00\x01"


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_answer(process: subprocess.Popen[bytes], port: int, name: str, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(0.02)
        asker.connect(("127.0.0.1", port))
        while time.monotonic() < deadline and process.poll() is None:
            try:
                asker.send(query(name))
                # Answered when the code is NOERROR: a server that is still loading may say NXDOMAIN.
                if asker.recv(512)[3] & 0xF == 0:
                    return
            except TimeoutError:
                continue
            except ConnectionRefusedError:
                time.sleep(0.005)
    raise SystemExit(f"{' '.join(map(str, process.args))} does not answer: {log.read_text()[-2000:]}")  # type: ignore[arg-type]


def _floor(_: int, __: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "bench.floor", str(port)]


def _weavedns(names: int, place: Path, port: int) -> list[str]:
    zone = place / "bench.zone"
    lines = (f"n{number} A {address(number)}\n" for number in range(names))
    zone.write_text(f"$ORIGIN {DOMAIN}.\n$TTL 1\n" + "".join(lines))
    start = [sys.executable, "-c", "from weavedns.cli import main; main()", "launch", "--no-network", "--no-http"]
    where = ["--listen", f"127.0.0.1:{port}", "--socket", str(place / "socket"), "--state-dir", str(place / "state")]
    return [*start, *where, "--domain", DOMAIN, "--range", "10.0.0.0/8", "--zones", str(zone)]


def _dnsmasq(names: int, place: Path, port: int) -> list[str]:
    hosts = place / "hosts"
    hosts.write_text("".join(f"{address(number)} n{number}.{DOMAIN}\n" for number in range(names)))
    config = place / "dnsmasq.conf"
    config.write_text(
        f"port={port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\nno-poll\nuser=root\n"
        f"addn-hosts={hosts}\nlocal=/{DOMAIN}/\nlocal-ttl=1\npid-file\n"
    )
    return ["dnsmasq", "--keep-in-foreground", f"--conf-file={config}"]


def _unbound(names: int, place: Path, port: int) -> list[str]:
    data = "".join(f'local-data: "n{number}.{DOMAIN}. 1 IN A {address(number)}"\n' for number in range(names))
    soa = f"{DOMAIN}. 1 IN SOA ns.{DOMAIN}. hostmaster.{DOMAIN}. 1 3600 600 86400 1"
    config = place / "unbound.conf"
    config.write_text(
        f"server:\ninterface: 127.0.0.1@{port}\naccess-control: 127.0.0.0/8 allow\ndo-daemonize: no\nnum-threads: 1\n"
        f'chroot: ""\nusername: ""\ndirectory: "{place}"\npidfile: ""\nuse-syslog: no\nlogfile: ""\n'
        f'module-config: "iterator"\nso-rcvbuf: 4m\nso-sndbuf: 4m\nlocal-zone: "{DOMAIN}." static\n'
        f'local-data: "{soa}"\n{data}remote-control:\ncontrol-enable: no\n'
    )
    return ["unbound", "-d", "-c", str(config)]


_COMMANDS = {"floor": _floor, "weavedns": _weavedns, "dnsmasq": _dnsmasq, "unbound": _unbound}
