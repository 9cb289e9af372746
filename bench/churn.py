"""What the tail bench lets a daemon do beside answering: zone files, commands and other peers change its records."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from bench.servers import DOMAIN, address, query

CHANGES_A_SECOND = 500
LARGE = 100_000
_VERSION_STEP = 1_000_000
_LOOK_EVERY_S = 0.02
_MERGED_S = 60.0
_RECORDS_A_REQUEST = 10


Work = Callable[[threading.Event], None]
"""What goes on in a thread of its own until the event is set."""


class Merges:
    """When each of the large changes came, and when its last name was answered; `port` is where to ask."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._spans: list[list[float]] = []

    def covers(self, at: float) -> bool:
        """Whether one of them was under way, by the monotonic clock."""
        return any(began <= at < ended for began, ended in self._spans)

    @property
    def took_s(self) -> list[float]:
        """How long each took."""
        return [ended - began for began, ended in self._spans]

    @contextlib.contextmanager
    def one(self, name: str, answer: str) -> Iterator[None]:
        """What the block begins is over when the name has this address; raises SystemExit when it takes too long."""
        began = time.monotonic()
        span = [began, math.inf]
        self._spans.append(span)
        yield
        wanted = socket.inet_aton(answer)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(1.0)
            asker.connect(("127.0.0.1", self._port))
            while time.monotonic() < began + _MERGED_S:
                asker.send(query(name))
                with contextlib.suppress(TimeoutError):
                    if asker.recv(512)[-4:] == wanted:
                        span[1] = time.monotonic()
                        return
                time.sleep(_LOOK_EVERY_S)
        raise SystemExit(f"{name} is not {answer} after {_MERGED_S:.0f} s")


@contextlib.contextmanager
def beside(*works: Work) -> Iterator[None]:
    """Do each in a thread of its own; each gets the event that ends it."""
    ended = threading.Event()
    failed: list[BaseException] = []

    def run(work: Work) -> None:
        try:
            work(ended)
        except BaseException as exc:  # noqa: BLE001 - raised again below
            failed.append(exc)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]


def zone_files(zones: Path, merges: Merges) -> Work:
    """One file changes 500 records each second; another gives 100,000 more, and then as many others."""

    def changing(ended: threading.Event) -> None:
        # Of this thread alone: who measures shares the core.
        give_way()
        # Of these names half go and as many come at each round.
        number = 0
        while not ended.wait(1.0):
            number += 1
            write_zone(zones / "changing.zone", "c", number, count=CHANGES_A_SECOND // 2)

    def large(ended: threading.Event) -> None:
        give_way()
        for version in (1, 2):
            with merges.one(f"m{LARGE - 1}", address(LARGE - 1 + version * _VERSION_STEP)):
                write_zone(zones / "second.zone", "m", version, step=_VERSION_STEP)

    def both(ended: threading.Event) -> None:
        with beside(changing):
            large(ended)
            ended.wait()

    return both


def commands(control: Path) -> Work:
    """500 records a second are added and removed over the control socket at a steady rate, ten by each request."""

    def work(ended: threading.Event) -> None:
        connection = _Unix(control)
        requests_a_second = CHANGES_A_SECOND // _RECORDS_A_REQUEST
        number, began = 0, time.monotonic()
        while not ended.wait(max(0.0, began + number / requests_a_second - time.monotonic())):
            rounds, name = divmod(number, requests_a_second)
            body: dict[str, object] = {"name": f"a{name}"}
            if rounds % 2 == 0:
                body["data"] = [address(name * _RECORDS_A_REQUEST + each) for each in range(_RECORDS_A_REQUEST)]
            connection.call("DELETE" if rounds % 2 else "POST", "/v1/records", body)
            number += 1
        connection.close()
        seconds = time.monotonic() - began
        if number < 0.9 * requests_a_second * seconds:
            raise SystemExit(f"only {number * _RECORDS_A_REQUEST / seconds:.0f} records a second were changed")

    return work


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("weavedns", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def call(self, method: str, path: str, body: object) -> None:
        self.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        response = self.getresponse()
        said = response.read()
        if response.status != http.client.OK:
            raise SystemExit(f"{method} {path} {body}: {response.status} {said!r}")


class Peers:
    """Another peer of the daemon whose gossip port is `gossip`, with 100,000 records, before and after a restart.

    Both are started and ready, not joined yet.
    """

    def __init__(self, gossip: int, core: int) -> None:
        self._gossip = gossip
        self._core = core
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        (port,) = free_ports(1)
        for version in (1, 2):
            self._start(port, version)
        for peer in self._processes:
            if not peer.stdout or peer.stdout.readline() != b"ready\n":
                self.__exit__()
                raise SystemExit("a peer does not start")
        return self

    def __exit__(self, *_: object) -> None:
        for peer in self._processes:
            peer.kill()
            peer.communicate()

    def come(self, merges: Merges) -> Work:
        """The peer comes, is killed, and comes as a new incarnation."""

        def work(ended: threading.Event) -> None:
            give_way()
            for number, peer in enumerate(self._processes, 1):
                with merges.one(f"big{LARGE - 1}", address(LARGE - 1 + number * _VERSION_STEP)):
                    self._join(peer)
                if peer is not self._processes[-1]:
                    peer.kill()
                    peer.wait()
            ended.wait()
            self.__exit__()

        return work

    def _join(self, peer: subprocess.Popen[bytes]) -> None:
        assert peer.stdin
        peer.stdin.write(b"\n")
        peer.stdin.flush()

    def _start(self, port: int, version: int) -> None:
        values = ["big", *map(str, (port, self._gossip, LARGE, version))]
        command = ["taskset", "-c", str(self._core), sys.executable, "-m", "bench.peer", *values]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
        peer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self._processes.append(peer)


def give_way() -> None:
    """Let whatever is not of this thread go first (sched(7), SCHED_IDLE); a merely nice one keeps a core for 4 ms."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at the moment, all different."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in socks]


def write_zone(path: Path, prefix: str, version: int, *, count: int = LARGE, step: int | None = None) -> None:
    """A zone file of so many addresses, put in place at once; each `version` has other ones."""
    path.parent.mkdir(exist_ok=True)
    first = version * (count if step is None else step)
    lines = (f"{prefix}{number} A {address(number + first)}\n" for number in range(count))
    fresh = path.with_suffix(".new")
    fresh.write_text(f"$ORIGIN {DOMAIN}.\n$TTL 1\n" + "".join(lines))
    fresh.rename(path)
