"""A sandbox: namespaces for network, processes, mounts and host name, and running things inside.

Every process in it is a child of its process 1 or of ours, so that it can be signalled, waited for and ended by
the kernel with process 1. It must never touch a namespace that it did not make.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from tests.lab import netns
from tests.lab.processes import ProcessIdentity, identify

ETC_FILES = {
    "resolv.conf": "nameserver {nameserver}\n",
    "hosts": "127.0.0.1 localhost\n127.0.1.1 {hostname}\n",
    "hostname": "{hostname}\n",
}
END_DEADLINE_S = 20.0
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LabError(Exception):
    """A lab could not be made, or a command in it failed; the message holds what it said."""


class Sandbox:
    """One set of namespaces, named ``netns``, with private ``/etc``, ``/run`` and ``/proc``."""

    def __init__(self, name: str, *, netns_name: str, directory: Path, nameserver: str) -> None:
        self.name = name
        self.netns = netns_name
        self.directory = directory
        self.environment: dict[str, str] = {
            "PATH": f"{Path(sys.executable).parent}:{SYSTEM_PATH}",
            "HOME": str(directory / "home"),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._nameserver = nameserver
        self._children: list[subprocess.Popen[str]] = []
        self._init: subprocess.Popen[str] | None = None
        self._pid = 0

    # Life

    def start(self) -> None:
        """Make the namespaces and start process 1. Raises LabError."""
        self._furnish()
        netns.add(self.netns)
        inside = [sys.executable, "-IS", str(Path(__file__).with_name("init.py")), str(self.directory), self.name]
        self._init = subprocess.Popen(
            [
                *("nsenter", f"--net=/run/netns/{self.netns}"),
                *("unshare", "--mount", "--propagation", "slave", "--pid", "--fork", "--kill-child", "--uts", "--"),
                *inside,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._init.stdout is not None
        assert self._init.stderr is not None
        (self.directory / "init.json").write_text(json.dumps(asdict(identify(self._init.pid))), encoding="utf-8")
        line = self._init.stdout.readline()
        if not line:
            raise LabError(f"{self.netns} did not start: {self._init.stderr.read().strip()}")
        self._pid = int(line)

    @property
    def pid(self) -> int:
        """This machine's number of the sandbox's process 1."""
        if not self._pid:
            raise LabError(f"{self.netns} is not started")
        return self._pid

    @property
    def root(self) -> Path:
        """The sandbox's file system, seen from here."""
        return Path(f"/proc/{self.pid}/root")

    def close(self) -> None:
        """End every process inside. The namespace's name and the directory are the lab's to remove."""
        if self._init is None:
            return
        init, self._init, self._pid = self._init, None, 0
        assert init.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            init.stdin.close()
        # The kernel keeps process 1 until our own children in there are reaped: they first.
        for child in self._children:
            self._reap(child)
        self._children.clear()
        try:
            init.wait(END_DEADLINE_S)
        except subprocess.TimeoutExpired:
            init.kill()  # unshare takes process 1 with it
            init.wait(END_DEADLINE_S)
        for pipe in (init.stdout, init.stderr):
            if pipe is not None:
                pipe.close()

    # Running things

    def popen(
        self,
        *argv: str | Path,
        log: str = "",
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> subprocess.Popen[str]:
        """Start a program inside; signals and exit code are its own. It leads a process group of its own.

        Output goes to ``log`` in the sandbox's log folder, unless ``stdout``/``stderr`` are given as for
        subprocess.Popen; input is empty unless given. The sandbox ends it at the latest.
        """
        command = [str(arg) for arg in argv]
        full = [
            "nsenter",
            f"--target={self.pid}",
            "--mount",
            "--net",
            "--uts",
            f"--wdns={Path.cwd()}",
            "--",
            *command,
        ]
        with contextlib.ExitStack() as stack:
            if "stdout" not in options:
                out: IO[bytes] = stack.enter_context(self.log_path(log or Path(command[0]).name).open("ab"))
                options["stdout"] = out
                options.setdefault("stderr", subprocess.STDOUT)
            stack.enter_context(self._children_go_inside())
            child = subprocess.Popen(
                full,
                stdin=options.pop("stdin", subprocess.DEVNULL),
                env={**self.environment, **(env or {})},
                text=True,
                start_new_session=True,
                **options,
            )
        self._children = [old for old in self._children if old.poll() is None]
        self._children.append(child)
        return child

    def run(
        self,
        *argv: str | Path,
        check: bool = True,
        timeout_s: float = 30.0,
        stdin: str | IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside to its end. Raises LabError when it fails (unless ``check`` is false) or hangs.

        ``stdin`` is text, or an open file.
        """
        source: int | IO[bytes] = subprocess.DEVNULL
        if stdin is not None:
            source = subprocess.PIPE if isinstance(stdin, str) else stdin
        child = self.popen(*argv, env=env, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        shown = " ".join(str(arg) for arg in argv)
        with child:
            try:
                out, err = child.communicate(stdin if isinstance(stdin, str) else None, timeout=timeout_s)
            except subprocess.TimeoutExpired as exc:
                self._reap(child)
                raise LabError(f"{self.name}: {shown}: not done within {timeout_s:g} s") from exc
        if check and child.returncode:
            raise LabError(f"{self.name}: {shown}: exit code {child.returncode}\n{out}{err}")
        return subprocess.CompletedProcess(list(map(str, argv)), child.returncode, out, err)

    def log_path(self, name: str) -> Path:
        """Where the output of a program goes that was started with ``log=name``."""
        return self.directory / "log" / f"{name}.log"

    def log(self, name: str) -> str:
        """That output so far; empty when there is none."""
        path = self.log_path(name)
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    @staticmethod
    def _reap(child: subprocess.Popen[str]) -> None:
        """End a child and its process group; the group's number is the child's until it is reaped."""
        if child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait(END_DEADLINE_S)
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    @contextlib.contextmanager
    def _children_go_inside(self) -> Iterator[None]:
        """Children that this thread starts belong to the sandbox's process tree.

        nsenter could do that only by a fork of its own, which would hide the program's process from us.
        """
        with Path(f"/proc/{self.pid}/ns/pid").open("rb") as inside, Path("/proc/self/ns/pid").open("rb") as own:
            _set_namespace(inside.fileno())
            try:
                yield
            finally:
                _set_namespace(own.fileno())

    def _furnish(self) -> None:
        for folder in ("run/lock", "log", "home", "docker"):
            (self.directory / folder).mkdir(parents=True)
        etc = self.directory / "etc"
        # Not shutil: it reads special files, and a copied /etc must keep its owners.
        subprocess.run(["cp", "-a", "/etc", str(etc)], check=True, timeout=60)
        for name in ETC_FILES:
            (etc / name).unlink(missing_ok=True)  # it may be a link that leads out of here
        self.restore_etc()

    def restore_etc(self) -> None:
        """Write the files of ``/etc`` that make this a host of its own, in place, and remove what is not its own."""
        etc = self.directory / "etc"
        for name in ("docker", "weavedns"):
            shutil.rmtree(etc / name, ignore_errors=True)
        for name, text in ETC_FILES.items():
            (etc / name).write_text(text.format(hostname=self.name, nameserver=self._nameserver), encoding="ascii")


def _set_namespace(descriptor: int) -> None:
    """setns(2) for the calling thread; os.setns came with Python 3.12."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def read_identity(directory: Path) -> ProcessIdentity | None:
    """The process that holds a sandbox's process 1, as recorded in its directory."""
    try:
        return ProcessIdentity(**json.loads((directory / "init.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
