"""What the daemon's process needs of the system it runs on: limits, memory, its claim on the host, systemd."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
from pathlib import Path

from weavedns.errors import ConfigError

FILES = 8192
_M_MMAP_THRESHOLD = -3
_PR_SET_PDEATHSIG = 1
_LARGE_BYTES = 128 * 1024


def claim_host() -> socket.socket:
    """Be the one daemon that has the bridge of this network namespace; raises ConfigError when another is.

    The claim is an abstract socket, which lives in the network namespace and ends with the process (unix(7)).
    """
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        claim.bind("\0weavedns")
        claim.listen()
    except OSError:
        who = "another process"
        with claim, contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect("\0weavedns")
            pid = int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), sys.byteorder)
            who = f"another daemon (process {pid})"
        raise ConfigError(
            f"{who} has the weave network of this host; stop it first, or launch with --no-network"
        ) from None
    return claim


def allow_files() -> None:
    """Let as many files be open as connections and forwarded queries may take, where the host allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def give_memory_back() -> None:
    """Keep large tables out of the C library's heap, where what they leave behind when they grow stays ours.

    With 100,000 records that is a tenth of all memory (mallopt(3): glibc raises its bound at each free; fixed, it
    does not). Other C libraries do without.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def end_with(parent: int) -> None:
    """Let this process end as soon as its parent does, whatever becomes of that (prctl(2), PR_SET_PDEATHSIG)."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def read_text(path: Path) -> str:
    """What a file says; nothing when it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def notify(state: str) -> None:
    """Tell systemd, when it started us and asked for it (sd_notify(3)); nothing else depends on it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(state.encode(), address)
