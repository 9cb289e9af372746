"""Network namespaces, held by file descriptor and entered one thread at a time. Never changes what is inside one.

A process ID may be another's by the time it is used; the descriptor is opened once and stays the same namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from weavenet.errors import ContainerGoneError, NetworkError

_CLONE_NEWNET = 0x40000000
_PROC = Path("/proc")
_OWN = _PROC / "thread-self/ns/net"
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")

_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """One network namespace; it lives at least until `close`."""

    def __init__(self, path: Path) -> None:
        """Open the namespace that a path leads to; raises OSError."""
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._inode = os.fstat(self.fd).st_ino

    @classmethod
    def own(cls) -> Namespace:
        """The namespace that the calling thread is in."""
        return cls(_OWN)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be in this namespace with the calling thread, which must not run an event loop, and come back.

        Whatever is opened meanwhile (a netlink socket, a file of /proc/sys/net) belongs to this namespace.
        Everything of this package that depends on a namespace enters it this way, so even a thread that could not
        come back would do no harm. Raises NetworkError.
        """
        _refuse_loop_thread()
        home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(self.fd)
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(home)

    def is_of(self, pid: int) -> bool:
        """Whether the process is (still) in this namespace."""
        try:
            return _namespace_path(pid).stat().st_ino == self._inode
        except OSError:
            return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Namespace) and other._inode == self._inode

    def __hash__(self) -> int:
        return hash(self._inode)

    def close(self) -> None:
        """Let go of the namespace."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def of_container(pid: int, container_id: str, name: str, host: Namespace) -> Namespace:
    """The namespace of a container whose first process is `pid`.

    Raises ContainerGoneError when that process has ended, also when its number has gone to another process since.
    """
    gone = ContainerGoneError(f"container {name} ended while it was being looked at: start it and try again")
    if pid <= 0:
        raise gone
    try:
        namespace = Namespace(_namespace_path(pid))
    except PermissionError as exc:
        raise NetworkError(f"may not look into container {name}: run as root, or with CAP_SYS_PTRACE") from exc
    except OSError as exc:
        raise gone from exc
    # Looked at after the opening: a process that is the container's now was so when the namespace was opened.
    if namespace == host or not namespace.is_of(pid) or _is_of_another_container(pid, container_id):
        namespace.close()
        raise gone
    return namespace


def _is_of_another_container(pid: int, container_id: str) -> bool:
    # Not every engine names its control groups after containers; only a name that is another's tells something.
    try:
        groups = (_PROC / str(pid) / "cgroup").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    named = set(_CONTAINER_ID.findall(groups))
    return bool(named) and container_id not in named


def _namespace_path(pid: int) -> Path:
    return _PROC / str(pid) / "ns/net"


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise NetworkError(
            f"cannot enter a network namespace ({os.strerror(code)}): run as root, or with CAP_SYS_ADMIN"
        )


def _refuse_loop_thread() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("a thread that runs an event loop must not leave its network namespace")
