"""The product as it is run without a network: `weavedns launch --no-network` as a process on loopback."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance import packets
from tests.lab.wait import wait_until

ROOT = Path(__file__).parents[2]
LAUNCH = (sys.executable, "-c", "from weavedns.cli import main; main()", "launch")
START_DEADLINE_S = 20.0
MANY = 40
HUGE = 120
TEXTS = 150
TTL_S = 3
NAME = "host1"

_MANY = "\n".join(f"many A 10.2.8.{number}" for number in range(MANY))
_HUGE = "\n".join(f"huge A 10.2.9.{number}" for number in range(HUGE))
_TEXTS = "\n".join(f'texts TXT "{number:0200}"' for number in range(TEXTS))
ZONE = f"""
$TTL {TTL_S}
redis A 10.2.0.1
web 30 A 10.2.0.2
web 20 A 10.2.0.3
web 10 A 10.2.0.4
db A 10.2.0.5
db AAAA 2001:db8::5
alias A 10.2.0.1
far A 192.0.2.10
app.project A 10.2.0.7
_http._tcp.web SRV 0 1 80 web
text TXT one two
mail MX 10 web
odd TYPE65280 \\# 3 000102
ready A 10.2.0.9
{_MANY}
{_HUGE}
{_TEXTS}
"""


@dataclass
class Served:
    """A daemon that answers at each of `addresses`."""

    process: subprocess.Popen[bytes]
    addresses: list[packets.Address]
    log_path: Path

    @property
    def address(self) -> packets.Address:
        return self.addresses[0]

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @property
    def rss_bytes(self) -> int:
        """The memory it has in use."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()


@dataclass
class Upstream:
    """A server for all other names, which says 192.0.2.80 to everything and remembers what it was asked."""

    address: packets.Address
    asked: list[bytes] = field(default_factory=list)
    packets: list[bytes] = field(default_factory=list)


@contextlib.contextmanager
def upstream() -> Iterator[Upstream]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        made = Upstream(sock.getsockname())
        thread = threading.Thread(target=_answer, args=(sock, made), daemon=True)
        thread.start()
        yield made
        # An empty datagram is the word to end.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stop:
            stop.sendto(b"", made.address)
        thread.join(packets.DEADLINE_S)
        assert not thread.is_alive()


def _answer(sock: socket.socket, made: Upstream) -> None:
    while True:
        packet, client = sock.recvfrom(65535)
        if not packet:
            return
        end = packet.index(b"\0", 12) + 5
        made.asked.append(packet[12 : end - 4].lower())
        made.packets.append(packet)
        reply = bytearray(packet[:12])
        reply[2:4] = b"\x85\x80"  # with AA, which is not ours to give on
        reply[6:12] = b"\0\1\0\0\0\0"
        record = b"\xc0\x0c" + packet[end - 4 : end] + b"\0\0\0\x3c\0\4\xc0\0\2\x50"
        sock.sendto(bytes(reply) + packet[12:end] + record, client)


@contextlib.contextmanager
def served(
    directory: Path,
    *flags: str,
    hosts: Sequence[str] = ("127.0.0.1",),
    zone: str = ZONE,
    under: Sequence[str] = (),
) -> Iterator[Served]:
    """Run a daemon with the usual names in `directory`, from when it answers until the end of the `with`.

    `under` is a command that runs it, such as one that limits what it may have.
    """
    (directory / "names.zone").write_text(zone)
    port = free_port()
    addresses = [(host, port) for host in hosts]
    listen = [part for host, port in addresses for part in ("--listen", f"{host}:{port}")]
    command = [*under, *LAUNCH, "--no-network", "--no-http", "--name", NAME, "--ttl", str(TTL_S)]
    command += ["--socket", str(directory / "w.sock"), "--state-dir", str(directory / "state")]
    command += ["--zones", str(directory / "names.zone"), *listen, *flags]
    log = directory / "log"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WEAVEDNS_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment | {"PYTHONPATH": str(ROOT)},
        )
    made = Served(process, addresses, log)
    try:
        wait_until(lambda: _is_ready(made), START_DEADLINE_S, what=log.read_text, ignore=(OSError,))
        yield made
        assert process.poll() is None, made.log
        assert "Traceback" not in made.log
    finally:
        process.terminate()
        try:
            process.wait(packets.DEADLINE_S)
        finally:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port of loopback that nobody has, for UDP and TCP."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, socket.socket() as streams:
            datagrams.bind(("127.0.0.1", 0))
            port = int(datagrams.getsockname()[1])
            with contextlib.suppress(OSError):
                streams.bind(("127.0.0.1", port))
                return port


def _is_ready(made: Served) -> bool:
    if made.process.poll() is not None:
        raise RuntimeError(made.log)
    asked = packets.query("ready.weave.local")
    return all(packets.tcp(asked, address).addresses == ["10.2.0.9"] for address in made.addresses)
