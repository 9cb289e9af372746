"""A lab: a switch, some hosts on it, and the end of them all, whatever happens to whoever made them."""

import atexit
import contextlib
import json
import os
import secrets
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from tests.lab import netns
from tests.lab.host import Host
from tests.lab.processes import ProcessIdentity, end, identify, is_alive
from tests.lab.sandbox import LabError, Sandbox, read_identity
from tests.lab.upstream import Upstream
from tests.lab.wait import wait_until

FOLDER = Path("/var/tmp/wd-labs")  # on a disk; short, for the paths of Unix sockets
CGROUPS = Path("/sys/fs/cgroup")
NETWORK = "10.99.0"
GATEWAY = f"{NETWORK}.254"
BRIDGE = "br0"
MAX_HOSTS = 200
NEWBORN_S = 60.0


class Lab:
    """``with Lab(hosts=2) as lab:`` gives two hosts, ``lab.hosts``, at 10.99.0.1 and 10.99.0.2.

    ``images`` are in each engine; ``engine=False`` makes hosts without one; ``names`` are what the upstream DNS
    server at 10.99.0.254 answers. Ending the ``with``, an exception, Ctrl-C, SIGTERM or the end of the program
    removes every process, namespace, control group and file. Only ``kill -9`` leaves names and files (never a
    process), for ``python -m tests.lab clean``.
    """

    def __init__(
        self,
        hosts: int = 1,
        *,
        engine: bool = True,
        images: Sequence[str] = ("busybox",),
        names: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.hosts: list[Host] = []
        self._wanted = hosts
        self._engine = engine
        self._images = tuple(images)
        self.name, self.directory = _new_directory()
        switch_directory = self.directory / "switch"
        self.switch = Sandbox(
            "switch", netns_name=f"wd-{self.name}-sw", directory=switch_directory, nameserver=GATEWAY
        )
        self.upstream = Upstream(self.switch, GATEWAY, names)

    # Life

    def start(self) -> Self:
        """Make it all; after a failure, nothing is left. Raises LabError."""
        if os.geteuid() != 0:
            self.close()
            raise LabError("a lab needs root: it makes network namespaces and starts Docker engines")
        atexit.register(self.close)
        _end_on_signals()
        try:
            self.switch.start()
            netns.add_bridge(self.switch.netns, BRIDGE, f"{GATEWAY}/24")
            self.upstream.start()
            self.add_hosts(self._wanted)
        except BaseException:
            self.close()
            raise
        return self

    def add_hosts(self, count: int = 1) -> list[Host]:
        """Plug in more hosts; their engines start side by side."""
        new = [self._new_host() for _ in range(count)]
        if self._engine:
            for host in new:
                host.engine.start(wait=False)
            for host in new:
                host.engine.wait_until_up()
                host.load(*self._images)
        for host in new:
            host.remember_rules()
        return new

    @contextlib.contextmanager
    def bad_wires(
        self, *, loss: float, delay_ms: tuple[float, float], overtaken: float, seed: int = 1
    ) -> Iterator[dict[str, int]]:
        """Lose, delay and reorder frames on every host's link until the block ends, each way and each for itself.

        `loss` and `overtaken` are shares of the frames. What it did is in the yielded dict when the block has ended:
        frames, lost, overtaken.
        """
        done: dict[str, int] = {}
        ports = [host.name for host in self.hosts]
        for port in ports:
            # The host's port leaves the bridge, and the process carries its frames to and from a new one.
            netns.add_pair(self.switch.netns, f"{port}-a", f"{port}-b")
            self.switch.run("ip", "link", "set", port, "nomaster")
            self.switch.run("ip", "link", "set", f"{port}-b", "master", BRIDGE)
        log = f"wires-{seed}"
        told = [str(each) for each in (loss, *delay_ms, overtaken, seed)]
        pairs = [f"{port}={port}-a" for port in ports]
        script = Path(__file__).with_name("rough_wire.py")
        process = self.switch.popen(sys.executable, script, *told, *pairs, log=log)
        try:
            wait_until(lambda: "ready" in self.switch.log(log), what=lambda: self.switch.log(log))
            yield done
        finally:
            process.terminate()
            process.wait(10)
            for port in ports:
                self.switch.run("ip", "link", "delete", f"{port}-a")
                self.switch.run("ip", "link", "set", port, "master", BRIDGE)
        done.update(json.loads(self.switch.log(log).splitlines()[-1]))

    def close(self) -> None:
        """End and remove everything. Goes on past what fails, and says it at the end. Twice is once."""
        atexit.unregister(self.close)
        failures: list[Exception] = []
        for sandbox in [*self.hosts, self.switch]:
            try:
                sandbox.close()
            except Exception as exc:  # noqa: BLE001 - whatever it is, the rest must go too
                failures.append(exc)
        try:
            dismantle(self.directory)
        except Exception as exc:  # noqa: BLE001 - as above
            failures.append(exc)
        if failures:
            raise ExceptionGroup(f"lab {self.name} could not be removed cleanly", failures)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _new_host(self) -> Host:
        number = len(self.hosts) + 1
        if number > MAX_HOSTS:
            raise LabError(f"a lab has at most {MAX_HOSTS} hosts")
        name, address = f"h{number}", f"{NETWORK}.{number}"
        host = Host(
            name,
            netns_name=f"wd-{self.name}-{name}",
            directory=self.directory / name,
            nameserver=GATEWAY,
            address=address,
        )
        self.hosts.append(host)
        host.start()
        netns.add_link(
            switch=self.switch.netns,
            bridge=BRIDGE,
            port=name,
            netns=host.netns,
            address=f"{address}/24",
            gateway=GATEWAY,
        )
        return host


def clean() -> list[str]:
    """Remove what labs left whose makers were killed; the names of those labs. Labs in use are not touched."""
    removed = []
    for directory in sorted(FOLDER.glob("*")):
        if _is_in_use(directory):
            continue
        dismantle(directory)
        removed.append(directory.name)
    return removed


def dismantle(directory: Path) -> None:
    """Remove a lab by its directory alone: recorded processes, namespaces, control groups, files."""
    name = directory.name
    for record in directory.glob("*/init.json"):
        init = read_identity(record.parent)
        if init is not None:
            end(init)
    netns.remove_all(f"wd-{name}-")
    for group in CGROUPS.glob(f"**/wd-{name}-*"):
        _remove_cgroup(group)
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        shutil.rmtree(directory)  # once more, for the reason


def _new_directory() -> tuple[str, Path]:
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    if FOLDER.stat().st_uid != os.geteuid():
        raise LabError(f"{FOLDER} belongs to somebody else: remove it")
    while True:
        name = secrets.token_hex(2)
        directory = FOLDER / name
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            break
    (directory / "owner.json").write_text(json.dumps(asdict(identify(os.getpid()))), encoding="utf-8")
    return name, directory


def _is_in_use(directory: Path) -> bool:
    try:
        owner = ProcessIdentity(**json.loads((directory / "owner.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        # Its maker may be about to write that file.
        with contextlib.suppress(FileNotFoundError):
            return time.time() - directory.stat().st_mtime < NEWBORN_S
        return True
    return is_alive(owner)


def _remove_cgroup(group: Path) -> None:
    """Control groups of killed containers stay; each goes when its last process is really gone."""
    for folder, _, _ in os.walk(group, topdown=False):
        path = Path(folder)

        def gone(path: Path = path) -> bool:
            with contextlib.suppress(FileNotFoundError):
                path.rmdir()
            return True

        wait_until(gone, ignore=(OSError,), what=f"an empty control group {path}")


def _end_on_signals() -> None:
    """Let SIGTERM and SIGHUP unwind as Ctrl-C does, so that ``with`` blocks and fixtures end."""
    if threading.current_thread() is not threading.main_thread():
        return

    def end(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)
