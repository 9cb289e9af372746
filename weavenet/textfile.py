"""Reads and overwrites a small file in place: a bind mount of it shows the new text. Never replaces the file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from weavenet.errors import NetworkError, ResolverMovedError

# A resolv.conf is some hundred bytes; this is far more than any resolver reads.
MAX_BYTES = 1 << 20


def read(path: Path) -> bytes:
    """The file's bytes; raises OSError, also for a symbolic link and for a file larger than `MAX_BYTES`."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return _read(fd)
    finally:
        os.close(fd)


def overwrite(path: Path, text: bytes, before: bytes) -> None:
    """Make the file say `text`, provided that it still says `before`.

    All of it goes out in one write, and a shorter text is first written with blank lines up to the old length. So
    whoever reads meanwhile, and whoever comes after a crash, finds the old text or the new one, never a mixture.
    Raises ResolverMovedError when the file says something else by now, NetworkError when it cannot be written.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if _read(fd) != before:
                raise ResolverMovedError(f"{path} was changed by somebody else just now: try again")
            padded = text.ljust(len(before), b"\n")
            written = os.pwrite(fd, padded, 0)
            if written != len(padded):
                os.pwrite(fd, before.ljust(written, b"\n"), 0)
                os.ftruncate(fd, len(before))
                raise NetworkError(f"cannot write {path}: only {written} of {len(padded)} bytes fit; make room")
            os.ftruncate(fd, len(text))
        finally:
            os.close(fd)
    except OSError as exc:
        raise NetworkError(f"cannot write {path}: {exc.strerror}") from exc


def _read(fd: int) -> bytes:
    text = os.pread(fd, MAX_BYTES + 1, 0)
    if len(text) > MAX_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return text
