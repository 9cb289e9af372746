"""What people added, on disk: the one thing that exists nowhere else. Durable before `save` or `append` returns.

The file is an ordinary zone file; names given to containers stand in it as comments of a fixed form. Changes are
appended to it, a line each, with what was removed as a comment, until the whole is written anew. Never overwrites a
file that it could not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from weavedns.errors import RecordError, StoreError, ZoneFileError
from weavedns.records import names, zonefile
from weavedns.records.record import Origin, Record

log = logging.getLogger(__name__)

HOLDER = "added"

_HEAD = """\
; Records added with "weavedns add". The daemon writes this file: edit it only while the daemon is stopped.
"""
_CONTAINERS_HEAD = """
; Names given with "weavedns add NAME --container": the name, and the ID of the container.
"""
_CONTAINER_MARK = ";container"
_CHANGES_HEAD = """
; Changes since this file was written, in their order:
"""
_REMOVED_MARK = ";removed "
# From so many changes on the file is written anew, so that it stays in proportion to what it says.
_MAX_CHANGES = 1000
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
        # The file as this daemon left it, how many records were in it then, and how many changes it had since.
        self._left: tuple[int, int] | None = None
        self._written = 0
        self._changes = 0
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

    async def append(self, coming: Sequence[Record], going: Sequence[Record]) -> bool:
        """Store one more change, on disk before it returns; False: nothing was done, as a `save` of all is due.

        Raises StoreError, and then the file is as it was.
        """
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._append, coming, going)

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
        whole, mark, changes = data.partition(_CHANGES_HEAD.encode())
        records = {record: record for record in self._parse_records(whole)}
        lines = enumerate(whole.decode().split("\n"), 1)
        extras = [self._parse_container(line, at) for at, line in lines if line.startswith(_CONTAINER_MARK)]
        *complete, torn = changes.split(b"\n")
        if torn:
            # Of a command that was never reported done, as the machine went down before.
            log.warning("%s ends with half a line, which is left out: %r", self._path, torn[:80])
        first = (whole + mark).count(b"\n") + 1
        for number, line in enumerate(complete, first):
            self._repeat(line, number, records)
        return list(records.values()), tuple(dict.fromkeys(extras))

    def _repeat(self, line: bytes, number: int, records: dict[Record, Record]) -> None:
        """Make one of the changes at the end of the file."""
        text = line.removeprefix(_REMOVED_MARK.encode())
        try:
            found = self._parse_records(text)
        except ZoneFileError as exc:
            raise ZoneFileError(f"{self._path}:{number}: {str(exc).partition(': ')[2]}") from None
        for record in found:
            records.pop(record, None)
            if text is line:
                records[record] = record

    def _parse_records(self, data: bytes) -> list[Record]:
        return zonefile.parse(
            data,
            file=str(self._path),
            origin=self._domain,
            default_ttl_s=self._default_ttl_s,
            owner=self._owner,
            holder=HOLDER,
            origin_kind=Origin.ADDED,
        )

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
        data = (text + _CHANGES_HEAD).encode()
        if len(data) > zonefile.MAX_FILE_BYTES:
            raise StoreError(
                f"all that is added is over {zonefile.MAX_FILE_BYTES >> 20} MiB; remove some of it first"
            )
        self._left = None
        try:
            state = _replace_durably(self._path, data)
        except OSError as exc:
            raise StoreError(f"{self._path} cannot be written: {exc.strerror}; {_cure(exc)}") from exc
        self._left, self._written, self._changes = state, len(records), 0

    def _append(self, coming: Sequence[Record], going: Sequence[Record]) -> bool:
        if self._left is None or self._changes >= max(_MAX_CHANGES, self._written):
            return False
        lines = [_REMOVED_MARK + zonefile.render_line(record) for record in going]
        lines += [zonefile.render_line(record) for record in coming]
        data = "".join(f"{line}\n" for line in lines).encode()
        if self._left[1] + len(data) > zonefile.MAX_FILE_BYTES:
            return False
        before, self._left = self._left, None
        try:
            self._left = _append_durably(self._path, data, before)
        except OSError as exc:
            raise StoreError(f"{self._path} cannot be written: {exc.strerror}; {_cure(exc)}") from exc
        self._changes += len(lines)
        return self._left is not None


def _cure(exc: OSError) -> str:
    return _CURES.get(exc.errno or 0, "see to its disk, or give another directory with --state-dir")


def _replace_durably(path: Path, data: bytes) -> tuple[int, int]:
    """Put `data` in the place of the file at once: after a crash there is the old file or the new one, whole.

    Returns what `_append_durably` knows the file by.
    """
    _make_directory(path.parent)
    # Always the same name: what a killed daemon left behind is overwritten, and never piles up.
    fresh = path.with_name(path.name + ".new")
    try:
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            inode = os.fstat(file.fileno()).st_ino
        fresh.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    _sync_directory(path.parent)
    return inode, len(data)


def _append_durably(path: Path, data: bytes, left: tuple[int, int]) -> tuple[int, int] | None:
    """Add `data` to the file, or leave it as it is: also, with None, when it is not as it was `left`."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        inode, size = left
        state = os.fstat(handle)
        if (state.st_ino, state.st_size) != left:
            return None
        try:
            _write_durably(handle, data)
        except BaseException:
            os.ftruncate(handle, size)
            raise
        return inode, size + len(data)
    finally:
        os.close(handle)


def _write_durably(handle: int, data: bytes) -> None:
    if os.write(handle, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fdatasync(handle)


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
