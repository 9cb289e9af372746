"""What people added, on disk: the one thing that exists nowhere else. Durable before `save` returns.

The file is an ordinary zone file; names given to containers stand in it as comments of a fixed form. Never
overwrites a file that it could not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from weavedns.errors import RecordError, StoreError, ZoneFileError
from weavedns.records import names, zonefile
from weavedns.records.record import Origin, Record

HOLDER = "added"

_HEAD = """\
; Records added with "weavedns add". The daemon writes this file anew at every change: edit it only while the
; daemon is stopped.
"""
_CONTAINERS_HEAD = """
; Names given with "weavedns add NAME --container": the name, and the ID of the container.
"""
_CONTAINER_MARK = ";container"
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
_CURES = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.EROFS: "mount it writable, or give another directory with --state-dir",
    errno.EACCES: "run as a user who may, or give another directory with --state-dir",
    errno.EPERM: "run as a user who may, or give another directory with --state-dir",
}


@dataclass(frozen=True, slots=True)
class ContainerName:
    """One more name, in wire form, that a person gave to a container, known by its full ID."""

    name: bytes
    container_id: str


class AddedStore:
    """The file of added records; `load` it once before the first `save`."""

    def __init__(self, path: Path, *, owner: str, domain: bytes, default_ttl_s: int) -> None:
        self._path = path
        self._owner = owner
        self._domain = domain
        self._default_ttl_s = default_ttl_s
        self._loaded = False
        # One thread: saves happen one after the other, in the order in which they were asked for, and one that
        # nobody waits for any more still comes before the next.
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="added")

    async def load(self) -> tuple[list[Record], tuple[ContainerName, ...]]:
        """Read what was saved; nothing when there is no file yet.

        Raises ZoneFileError for a damaged file and StoreError for one that cannot be read.
        """
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._load)

    async def save(self, records: Iterable[Record], container_names: Iterable[ContainerName] = ()) -> None:
        """Make these all that is stored, on disk before it returns.

        Raises StoreError, and then the file is as it was; only when the directory itself cannot be synced after
        the new file took its place may either of the two be there after a power failure.
        """
        wanted = list(records), list(container_names)
        await asyncio.get_running_loop().run_in_executor(self._writer, self._save, *wanted)

    async def close(self) -> None:
        """Finish what is being saved."""
        await asyncio.to_thread(self._writer.shutdown)

    def _load(self) -> tuple[list[Record], tuple[ContainerName, ...]]:
        try:
            with self._path.open("rb") as file:
                data = file.read(zonefile.MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            self._loaded = True
            return [], ()
        except OSError as exc:
            raise StoreError(f"{self._path} cannot be read: {exc.strerror}; {_cure(exc)}") from exc
        try:
            found = self._parse(data)
        except ZoneFileError as exc:
            raise ZoneFileError(f"{exc}; the file was left as it is: correct it, or move it away") from None
        self._loaded = True
        return found

    def _parse(self, data: bytes) -> tuple[list[Record], tuple[ContainerName, ...]]:
        if not data:
            raise ZoneFileError(f"{self._path}:1: the file is empty, and no daemon writes it so")
        records = zonefile.parse(
            data,
            file=str(self._path),
            origin=self._domain,
            default_ttl_s=self._default_ttl_s,
            owner=self._owner,
            holder=HOLDER,
            origin_kind=Origin.ADDED,
        )
        lines = enumerate(data.decode().split("\n"), 1)
        extras = [self._parse_container(line, at) for at, line in lines if line.startswith(_CONTAINER_MARK)]
        return records, tuple(dict.fromkeys(extras))

    def _parse_container(self, line: str, number: int) -> ContainerName:
        where = f"{self._path}:{number}"
        fields = line.split()
        if len(fields) != 3 or not _CONTAINER_ID.fullmatch(fields[2]):  # noqa: PLR2004 - mark, name, ID
            raise ZoneFileError(f"{where}: {line[:80]!r} is no name of a container; write {_CONTAINER_MARK} NAME ID")
        try:
            return ContainerName(names.parse_host(fields[1], self._domain), fields[2])
        except RecordError as exc:
            raise ZoneFileError(f"{where}: {exc}") from None

    def _save(self, records: Sequence[Record], container_names: Sequence[ContainerName]) -> None:
        if not self._loaded:
            raise StoreError(f"{self._path} has not been read and is not overwritten; correct it, or move it away")
        text = _HEAD + zonefile.render_records(records, domain=self._domain, ttl_s=self._default_ttl_s)
        if container_names:
            lines = [f"{_CONTAINER_MARK} {names.render(each.name)} {each.container_id}\n" for each in container_names]
            text += _CONTAINERS_HEAD + "".join(lines)
        try:
            _replace_durably(self._path, text.encode())
        except OSError as exc:
            raise StoreError(f"{self._path} cannot be written: {exc.strerror}; {_cure(exc)}") from exc


def _cure(exc: OSError) -> str:
    return _CURES.get(exc.errno or 0, "see to its disk, or give another directory with --state-dir")


def _replace_durably(path: Path, data: bytes) -> None:
    """Put `data` in the place of the file at once: after a crash there is the old file or the new one, whole."""
    _make_directory(path.parent)
    # Always the same name: what a killed daemon left behind is overwritten, and never piles up.
    fresh = path.with_name(path.name + ".new")
    try:
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    _sync_directory(path.parent)


def _make_directory(directory: Path) -> None:
    if directory.is_dir():
        return
    _make_directory(directory.parent)
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o755)
    _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
