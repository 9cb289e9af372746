"""A lab host: a sandbox on the lab's network with a Docker engine, and the product's daemon when asked."""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.lab import images
from tests.lab.engine import Engine
from tests.lab.sandbox import LabError, Sandbox
from tests.lab.wait import wait_until

DAEMON_DEADLINE_S = 60.0
DNS_ADDRESS = "10.2.254.1"  # of the first host, when nothing else is asked for
HTTP_READY = "http://127.0.0.1:6782/ready"


class Daemon:
    """A ``weavedns launch`` in a host."""

    def __init__(self, process: subprocess.Popen[str], sandbox: Sandbox, log: str) -> None:
        self.process = process
        self._sandbox = sandbox
        self._log = log

    @property
    def log(self) -> str:
        """What it printed so far, on both streams."""
        return self._sandbox.log(self._log)

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def end(self, with_signal: signal.Signals, deadline_s: float = DAEMON_DEADLINE_S) -> int:
        """Signal it and wait for its end; its exit code, negative for the signal that ended it."""
        if self.is_running:
            self.process.send_signal(with_signal)
        return self.process.wait(deadline_s)

    def stop(self) -> int:
        return self.end(signal.SIGTERM)

    def kill(self) -> int:
        return self.end(signal.SIGKILL)


class Host(Sandbox):
    """A machine of the lab: ``address`` on the lab's network, ``engine``, and commands run on it."""

    def __init__(self, name: str, *, netns_name: str, directory: Path, nameserver: str, address: str) -> None:
        super().__init__(name, netns_name=netns_name, directory=directory, nameserver=nameserver)
        self.address = address
        self.engine = Engine(self)
        self.daemon: Daemon | None = None
        self.state_dir = directory / "state"
        self.environment |= {
            "DOCKER_CONFIG": str(directory / "home" / ".docker"),  # nobody's contexts and credentials
            "DOCKER_BUILDKIT": "0",
            "WEAVEDNS_STATE_DIR": str(self.state_dir),
        }
        self._daemons = 0
        self._rules = ""

    # Docker

    def docker(self, *args: str | Path, timeout_s: float = 60.0) -> str:
        """Run a ``docker`` command; what it printed, stripped. Raises LabError when it fails.

        ``host.run("docker", ..., check=False)`` has the exit code and the error text.
        """
        return self.engine.docker(*args, timeout_s=timeout_s)

    def inspect(self, container: str) -> dict[str, Any]:
        return self.engine.inspect(container)

    def container_pid(self, container: str) -> int:
        """This host's number of a container's first process, as the daemon sees it."""
        return int(self.inspect(container)["State"]["Pid"])

    def load(self, *names: str) -> None:
        """Have test images in the engine: ``busybox``, ``glibc``, ``musl``; built on their first use."""
        for name in names:
            self.engine.load(name, images.archive(name))

    # The product

    def start_daemon(self, *flags: str, env: Mapping[str, str] | None = None, wait: bool = True) -> Daemon:
        """``weavedns launch FLAGS`` of the working tree; with ``wait``, done when its control socket answers.

        The socket and the HTTP port are the defaults (this host has its own ``/run`` and network), the state
        directory is ``state_dir``. Raises LabError with the log when it ends early.
        """
        if self.daemon is not None and self.daemon.is_running:
            raise LabError(f"{self.name} has a daemon already")
        self._daemons += 1
        log = f"weavedns-{self._daemons}"
        self.daemon = Daemon(self.popen("weavedns", "launch", *flags, log=log, env=env), self, log)
        if wait:
            self.wait_for_daemon()
        return self.daemon

    def wait_for_daemon(self) -> None:
        """Return when the daemon's control socket answers ``weavedns status``."""
        daemon = self._the_daemon()
        wait_until(self._daemon_answers, DAEMON_DEADLINE_S, what=lambda: f"weavedns launch:\n{daemon.log}")

    def kill_daemon(self, with_signal: signal.Signals = signal.SIGKILL) -> int:
        """End the daemon, by default as a crash would; its exit code."""
        return self._the_daemon().end(with_signal)

    def dig(self, *args: str, server: str = DNS_ADDRESS) -> list[str]:
        """The lines of ``dig +short``, asked from this host; such as ``host.dig("redis.weave.local", "A")``.

        Raises LabError when no reply comes.
        """
        return self.run("dig", f"@{server}", "+short", "+time=2", "+tries=2", *args).stdout.splitlines()

    # Between tests

    def restore_etc(self) -> None:
        super().restore_etc()
        self.engine.configure()

    def sweep(self) -> None:
        """Make it as it was after its start: no daemon, containers, networks, volumes, rules or files of a test."""
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon = None
        if self.engine.is_running:
            self.engine.remove_everything()
        self._remove_links()
        self.run("iptables-restore", stdin=self._rules)
        shutil.rmtree(self.state_dir, ignore_errors=True)
        shutil.rmtree(self.directory / "run" / "weavedns", ignore_errors=True)
        self.restore_etc()

    def remember_rules(self) -> None:
        """Take the packet filter's rules of now as those that a sweep restores."""
        self._rules = self.run("iptables-save").stdout

    def _remove_links(self) -> None:
        """Interfaces that a test or the daemon made; the engine's own and the lab's stay."""
        listed = self.run("ip", "-json", "link", "show").stdout
        for link in json.loads(listed):
            if link["ifname"] not in {"lo", "eth0", "docker0"}:
                self.run("ip", "link", "delete", link["ifname"], check=False)  # a pair goes together

    def _the_daemon(self) -> Daemon:
        if self.daemon is None:
            raise LabError(f"{self.name} has no daemon")
        return self.daemon

    def _daemon_answers(self) -> bool:
        daemon = self._the_daemon()
        if not daemon.is_running:
            raise LabError(f"weavedns launch ended with {daemon.process.returncode}:\n{daemon.log}")
        return self._daemon_listens() and self.run("weavedns", "status", check=False).returncode == 0

    def _daemon_listens(self) -> bool:
        """Whether it is worth asking: a command that is started again and again costs more than the launch."""
        if (self.directory / "etc" / "weavedns").exists():
            return True  # its settings may say that the socket is elsewhere
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
            probe.connect(str(self.directory / "run" / "weavedns" / "weavedns.sock"))
            return True
        return False
