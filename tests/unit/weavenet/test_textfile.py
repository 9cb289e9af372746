"""Files overwritten in place."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from weavenet import textfile
from weavenet.errors import NetworkError, ResolverMovedError

ORIGINAL = b"nameserver 192.0.2.53\nsearch example.com\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "resolv.conf"
    path.write_bytes(ORIGINAL)
    return path


@pytest.mark.parametrize("text", [b"", b"short\n", ORIGINAL + b"and more\n"])
def test_the_file_says_the_new_text_and_is_the_same_file(path: Path, text: bytes) -> None:
    inode = path.stat().st_ino
    textfile.overwrite(path, text, ORIGINAL)
    assert textfile.read(path) == text
    assert path.stat().st_ino == inode


def test_a_file_that_says_something_else_by_now_is_left_alone(path: Path) -> None:
    with pytest.raises(ResolverMovedError, match=r"resolv\.conf was changed by somebody else"):
        textfile.overwrite(path, b"new", b"something else")
    assert path.read_bytes() == ORIGINAL


def test_a_write_that_does_not_fit_is_taken_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwrite", first_write_short(os.pwrite))
    with pytest.raises(NetworkError, match="only 20 of 200 bytes fit"):
        textfile.overwrite(path, b"x" * 200, ORIGINAL)
    assert path.read_bytes() == ORIGINAL


def first_write_short(pwrite: Callable[[int, bytes, int], int]) -> Callable[[int, bytes, int], int]:
    lengths = iter([20])
    return lambda fd, text, offset: pwrite(fd, text[: next(lengths, len(text))], offset)


def test_whoever_reads_in_the_middle_of_a_shorter_write_sees_all_of_the_new_text(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    truncate = os.ftruncate

    def look_and_truncate(fd: int, length: int) -> None:
        seen.append(path.read_bytes())
        truncate(fd, length)

    monkeypatch.setattr(os, "ftruncate", look_and_truncate)
    textfile.overwrite(path, b"nameserver ::1\n", ORIGINAL)
    assert seen == [b"nameserver ::1\n".ljust(len(ORIGINAL), b"\n")]


def test_a_symbolic_link_is_never_followed(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    with pytest.raises(OSError, match="symbolic links"):
        textfile.read(link)
    with pytest.raises(NetworkError, match="symbolic links"):
        textfile.overwrite(link, b"new", ORIGINAL)
    assert path.read_bytes() == ORIGINAL


def test_a_file_too_large_for_a_resolver_is_not_read(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(textfile.MAX_BYTES + 1)
    with pytest.raises(OSError, match="too large"):
        textfile.read(path)
