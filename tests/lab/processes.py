"""Who a process is: its number together with the moment it started, since numbers are used again."""

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from tests.lab.wait import wait_until

START_TIME_FIELD = 19  # field 22 of proc(5) stat, counted after the command's closing parenthesis


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process of one boot of this machine."""

    pid: int
    started: int  # clock ticks since the boot
    boot: str


def identify(pid: int) -> ProcessIdentity:
    """Read who ``pid`` is now. Raises ProcessLookupError when it has gone or is a zombie."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except FileNotFoundError as exc:
        raise ProcessLookupError(f"no process {pid}") from exc
    if after_name[0] in "ZX":
        raise ProcessLookupError(f"process {pid} has ended")
    return ProcessIdentity(pid, int(after_name[START_TIME_FIELD]), boot)


def is_alive(process: ProcessIdentity) -> bool:
    """True while exactly that process runs, not another one with its number."""
    try:
        return identify(process.pid) == process
    except ProcessLookupError:
        return False


def end(process: ProcessIdentity) -> None:
    """SIGKILL to exactly that process, and wait until it has gone; nothing when it has already."""
    if is_alive(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(process), what=f"the end of process {process.pid}")
