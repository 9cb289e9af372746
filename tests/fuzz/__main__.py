"""Searches, led by coverage, for bytes that break what takes them: `python -m tests.fuzz TARGET [libFuzzer options]`.

Needs atheris (`.venv/bin/pip install -e .[fuzz]`). Goes on until it finds something or is stopped; with
`-max_total_time=60` for a minute. What it found is written to the working directory, and a run with that file as
argument shows it again.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["weavedns", "weavenet"]):
    from tests.fuzz.application import RING_KEY, Daemon
    from tests.fuzz.seeds import seeds
    from tests.fuzz.victim import PLAIN, SEALED, Victim

MAX_PIECES = 8


def pieces(data: bytes) -> list[bytes]:
    """Bytes cut where they say so: a length of two bytes before each piece."""
    found: list[bytes] = []
    while len(data) > 1 and len(found) < MAX_PIECES:
        size = int.from_bytes(data[:2], "big") & 0x3FF
        found.append(data[2 : 2 + size])
        data = data[2 + size :]
    return found


def datagrams(data: bytes) -> None:
    for keyring in (PLAIN, SEALED):
        victim = Victim(keyring)
        for piece in pieces(data):
            victim.hear(piece)
        victim.check()


def bodies(data: bytes) -> None:
    victim = Victim(PLAIN)
    for piece in pieces(data):
        victim.hear_from("evil", piece)
    victim.check()


def stream(data: bytes) -> None:
    for keyring in (PLAIN, SEALED):
        for hear in (Victim.hear_stream, Victim.hear_answer):
            victim = Victim(keyring)
            hear(victim, pieces(data))
            victim.check()


def frames(data: bytes) -> None:
    victim = Victim(PLAIN)
    victim.talk(pieces(data))
    victim.check()


def addresses(data: bytes) -> None:
    async def hear() -> None:
        daemon = await Daemon.start(ring=bool(data and data[0] & 1))
        for piece in pieces(data[1:]):
            await daemon.asked(piece)
            await daemon.answered(piece)
            await daemon.questioned(piece)
            await daemon.replied(piece)
            await daemon.told(RING_KEY, piece)
            await daemon.told(piece[:5], piece[5:])
            await daemon.asked_to_remove(piece)

    asyncio.run(hear())


TARGETS: dict[str, Callable[[bytes], None]] = {
    "datagrams": datagrams, "bodies": bodies, "stream": stream, "frames": frames, "addresses": addresses,
}  # fmt: skip


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz {'|'.join(TARGETS)} [libFuzzer options]")
    name = sys.argv.pop(1)
    with tempfile.TemporaryDirectory(prefix="weavedns-fuzz-") as folder:
        for number, seed in enumerate(seeds(name)):
            (Path(folder) / str(number)).write_bytes(seed)
        # A directory of the caller's comes first: what is new is kept there.
        known = [] if any(Path(argument).is_file() for argument in sys.argv[1:]) else [folder]
        atheris.Setup([*sys.argv, *known], TARGETS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
