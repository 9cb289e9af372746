"""Process 1 of a sandbox: makes the private mounts, reaps orphans, and ends when its creator does.

Run as a script by the sandbox, with the standard library only. It must never outlive its standard input: the
other end of that pipe is held by the process that made the lab, so even ``kill -9`` of a test run ends every
process in the sandbox (the kernel ends them with process 1).
"""

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path


def mount(*args: str) -> None:
    subprocess.run(["mount", *args], check=True)


def reap() -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def main(directory: str, hostname: str) -> None:
    # Read before the sandbox's own /proc covers the machine's: the creator needs the machine's number for us.
    outer_pid = Path("/proc/self").readlink()
    mount("-t", "proc", "proc", "/proc")
    mount("--bind", f"{directory}/etc", "/etc")
    mount("--bind", f"{directory}/run", "/run")
    # In memory: engines sync their layers to disk at every turn, which on a busy disk takes them seconds.
    mount("-t", "tmpfs", "-o", "mode=0710", "tmpfs", f"{directory}/docker")
    socket.sethostname(hostname)
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    print(outer_pid, flush=True)
    while True:
        reap()
        ready, _, _ = select.select([sys.stdin.fileno(), wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 4096)
        if sys.stdin.fileno() in ready and not os.read(sys.stdin.fileno(), 4096):
            os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
