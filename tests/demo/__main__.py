"""``python -m tests.demo``: makes the lab, has the story told, and leaves nothing. `make demo` sets up first."""

import contextlib
import os
import signal
import sys

from tests.demo.stage import Clock, Stage, StepFailedError, wants_colour
from tests.demo.story import tell
from tests.lab import Lab, LabError

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def perform() -> None:
    """Three hosts, the story, and the end of the hosts. Raises StepFailedError, LabError, TimeoutError."""
    stage = Stage(sys.stdout, colour=wants_colour(sys.stdout))
    clock = Clock()
    stage.why("Three hosts are made; this takes some seconds. Ctrl-C ends and removes them.")
    with Lab(hosts=3) as lab:
        try:
            tell(lab, stage)
        finally:
            # Whoever is impatient now would leave namespaces behind.
            for number in ENDS:
                signal.signal(number, signal.SIG_IGN)
            with contextlib.suppress(BrokenPipeError):  # Ctrl-C has ended what we are piped into, too
                stage.why("Removing the three hosts.")
    stage.good(f"all steps came true, in {clock}; nothing is left of the hosts")


def main() -> int:
    if os.geteuid() != 0:
        print("error: the demonstration makes hosts, which needs root: sudo make demo", file=sys.stderr)
        return 1
    try:
        perform()
    except (StepFailedError, LabError, TimeoutError) as exc:
        print(f"\nfailed: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as exc:
        number = signal.Signals[str(exc)] if str(exc) else signal.SIGINT
        print("\nended early; nothing is left of the hosts", file=sys.stderr)
        return 128 + number
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to be flushed to nobody
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
