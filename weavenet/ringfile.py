"""What a peer must never forget about the ring, on disk: its life, its ring, and to whom it left the seeding.

Durable before `save` returns. A gift that only giver and receiver know of exists nowhere else: a giver that forgot it
would give the same addresses out again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from weavenet.errors import RingFileError

_FORMAT = 1
_CURES = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.EROFS: "mount it writable, or give another directory with --state-dir",
    errno.EACCES: "run as a user who may, or give another directory with --state-dir",
    errno.EPERM: "run as a user who may, or give another directory with --state-dir",
}


class Kept(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """What is kept: whose it is, its life, the encoded ring, and the members and promise of the seeding."""

    name: str
    life: str
    ring: bytes = b""
    members: tuple[str, ...] = ()
    promised_to: str = ""
    format: int = _FORMAT


class RingFile:
    """The file; one at a time reads or writes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ring")

    async def load(self) -> Kept | None:
        """Read what was kept; None when there is no file yet. RingFileError when it is damaged or cannot be read."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._load)

    async def save(self, kept: Kept) -> None:
        """Make this what is kept, on disk before it returns; RingFileError, and then the file is as it was."""
        await asyncio.get_running_loop().run_in_executor(self._worker, self._save, kept)

    async def close(self) -> None:
        """Wait until what was asked for is done."""
        await asyncio.to_thread(self._worker.shutdown)

    def _load(self) -> Kept | None:
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise self._error("read", exc) from exc
        try:
            kept = msgspec.msgpack.decode(raw, type=Kept)
        except msgspec.MsgspecError as exc:
            raise self.damaged(str(exc)) from exc
        if kept.format != _FORMAT:
            raise self.damaged(f"format {kept.format}, not {_FORMAT}")
        return kept

    def damaged(self, why: str) -> RingFileError:
        """The error for a file that does not say what it should."""
        return RingFileError(
            f"{self._path} is damaged ({why}): remove it, launch, and let 'weavenet ipam takeover' on another host "
            "inherit the addresses that this one owned"
        )

    def _save(self, kept: Kept) -> None:
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("wb") as file:
                file.write(msgspec.msgpack.encode(kept))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as exc:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise self._error("write", exc) from exc

    def _error(self, what: str, exc: OSError) -> RingFileError:
        cure = _CURES.get(exc.errno or 0, "see that the disk is sound")
        return RingFileError(f"cannot {what} {self._path} ({exc.strerror}): {cure}")
