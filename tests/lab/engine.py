"""A real Docker engine inside a sandbox: started, restarted and killed by hand, its data in a directory."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.lab.sandbox import LabError, Sandbox
from tests.lab.wait import wait_until

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 40.0


class Engine:
    """The dockerd of one sandbox, at its usual socket ``/run/docker.sock`` as seen from inside."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.socket = sandbox.directory / "run" / "docker.sock"  # usable from outside too
        self._sandbox = sandbox
        self._process: subprocess.Popen[str] | None = None
        self._flags: tuple[str, ...] = ()

    def configure(self) -> None:
        """Write the host's ``/etc/docker/daemon.json``, so that any dockerd on it keeps to the lab's places."""
        config = {
            "data-root": str(self._sandbox.directory / "docker"),
            "exec-opts": ["native.cgroupdriver=cgroupfs"],  # systemd is out of reach in there
            "cgroup-parent": f"/{self._sandbox.netns}",
        }
        path = self._sandbox.directory / "etc" / "docker" / "daemon.json"
        path.parent.mkdir()
        path.write_text(json.dumps(config), encoding="utf-8")

    def start(self, *flags: str, wait: bool = True) -> None:
        """Start dockerd, with more flags if given; they stay for later starts."""
        if self._process is not None:
            raise LabError("the engine is running")
        self._flags = flags or self._flags
        for stale in ("docker.pid", "docker/containerd/containerd.pid"):
            # Numbers come again soon in a young process tree, and dockerd refuses when its old one is in use.
            (self._sandbox.directory / "run" / stale).unlink(missing_ok=True)
        self._process = self._sandbox.popen("dockerd", *self._flags, log="dockerd")
        if wait:
            self.wait_until_up()

    def wait_until_up(self) -> None:
        """Return when the engine answers. Raises LabError when dockerd ended, TimeoutError when it hangs."""
        wait_until(self.answers, START_DEADLINE_S, what=lambda: f"dockerd:\n{self._sandbox.log('dockerd')}")

    def answers(self) -> bool:
        """True when the engine answers now. Raises LabError when dockerd has ended."""
        if self._process is None or self._process.poll() is not None:
            raise LabError(f"dockerd ended:\n{self._sandbox.log('dockerd')}")
        return self.socket.exists() and self._sandbox.run("docker", "info", check=False).returncode == 0

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """End dockerd: SIGTERM stops its containers first, SIGKILL is a crash."""
        if self._process is None:
            return
        self._process.send_signal(with_signal)
        self._process.wait(STOP_DEADLINE_S)
        self._process = None

    def restart(self, with_signal: signal.Signals = signal.SIGTERM) -> None:
        self.stop(with_signal)
        self.start()

    def docker(self, *args: str | Path, timeout_s: float = 60.0) -> str:
        """Run a ``docker`` command on the host; what it printed, stripped. Raises LabError when it fails."""
        return self._sandbox.run("docker", *args, timeout_s=timeout_s).stdout.strip()

    def inspect(self, container: str) -> dict[str, Any]:
        """One container as the engine describes it."""
        found: list[dict[str, Any]] = json.loads(self.docker("container", "inspect", container))
        return found[0]

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def remove_everything(self) -> None:
        """Remove all containers, their volumes and all networks of one's own; the images stay."""
        containers = self.docker("ps", "--all", "--quiet", "--no-trunc").split()
        if containers:
            self.docker("rm", "--force", "--volumes", *containers)
        self.docker("network", "prune", "--force")
        self.docker("volume", "prune", "--force")

    def load(self, image: str, archive: Path) -> None:
        """Import a root file system as ``image``, unless the engine has it already."""
        if self.docker("image", "ls", "--quiet", image):
            return
        changes = ("--change", 'CMD ["/bin/idle"]', "--change", "ENV LANG=C.UTF-8")
        with archive.open("rb") as tar:
            self._sandbox.run("docker", "import", *changes, "-", image, stdin=tar, timeout_s=120)
