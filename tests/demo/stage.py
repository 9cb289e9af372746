"""Where the demonstration is told: prints each command and what it really said, and checks it.

It knows how a step is shown and when it has failed, and must never know what the steps are.
"""

import os
import re
import shlex
import time
from collections.abc import Mapping
from subprocess import CompletedProcess
from typing import Protocol, TextIO

from tests.lab import wait_until

SOON_S = 30.0
COMMAND_S = 120.0
NOTHING = r"\A\Z"  # what a look-up says that finds nothing
INDENT = "    "
BOLD, DIM, GREEN, CYAN, RESET = "\033[1m", "\033[2m", "\033[32m", "\033[36m", "\033[0m"


class Machine(Protocol):
    """What a command is run on."""

    name: str

    def run(self, *argv: str, check: bool = True, timeout_s: float = 30.0) -> CompletedProcess[str]: ...


class StepFailedError(Exception):
    """A step did not come true; the message says what was expected and what was seen."""


def wants_colour(out: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Only for a terminal, and not where NO_COLOR is set (no-color.org) or the terminal is a dumb one."""
    return out.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


class Stage:
    """Tells a story of commands on ``out``."""

    def __init__(self, out: TextIO, *, colour: bool) -> None:
        self._out = out
        self._colour = colour
        self._steps = 0
        self._after_good = False

    # Words

    def step(self, title: str) -> None:
        """Begin the next step."""
        self._steps += 1
        self._after_good = True
        self._print(self._dyed(f"{self._steps}. {title}", BOLD))

    def why(self, text: str) -> None:
        self._print(self._dyed(text, DIM))

    def good(self, text: str) -> None:
        """Say what has been checked, or measured."""
        self._after_good = False
        self._print(f"{self._dyed('ok', GREEN)}  {text}")
        self._after_good = True

    def command(self, host: str, command: str, output: str = "") -> None:
        """Show a command as it is typed on a host, and what it printed."""
        self._print(f"{self._dyed(f'{host}#', CYAN)} {self._dyed(command, BOLD)}")
        for line in output.rstrip().splitlines():
            self._print(f"{INDENT}{line}".rstrip())

    # Deeds

    def do(self, host: Machine, command: str) -> str:
        """Run a command that changes something, once; what it printed. Raises StepFailedError unless it succeeds."""
        done = host.run(*shlex.split(command), check=False, timeout_s=COMMAND_S)
        said = done.stdout + done.stderr
        self.command(host.name, command, said)
        if done.returncode:
            raise StepFailedError(f"expected exit code 0 of '{command}' on {host.name}; it was {done.returncode}")
        return said

    def see(self, host: Machine, command: str, pattern: str, meaning: str, *, within_s: float = SOON_S) -> str:
        """Run a command that changes nothing until it prints ``pattern``; what it printed.

        Shown once, with its last output. ``meaning`` says what that proves. Raises StepFailedError when it does not
        come true in time.
        """
        last = ""

        def seen() -> bool:
            nonlocal last
            done = host.run(*shlex.split(command), check=False, timeout_s=COMMAND_S)
            last = done.stdout + done.stderr
            return re.search(pattern, last, re.MULTILINE) is not None

        failed = False
        try:
            wait_until(seen, within_s)
        except TimeoutError:
            failed = True
        self.command(host.name, command, last)
        if failed:
            shown = "nothing" if pattern == NOTHING else pattern
            raise StepFailedError(
                f"expected that {meaning}: '{command}' on {host.name} was to print {shown} within {within_s:g} s"
            )
        self.good(meaning)
        return last

    def _print(self, text: str) -> None:
        """With an empty line between what has been checked and what comes next."""
        print(f"\n{text}" if self._after_good else text, file=self._out, flush=True)
        self._after_good = False

    def _dyed(self, text: str, colour: str) -> str:
        return f"{colour}{text}{RESET}" if self._colour else text


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __str__(self) -> str:
        return f"{time.monotonic() - self._began:.1f} s"
