"""Zone files on disk: reads them, notices when they change, and says which records came and went.

Never touches the catalog: whoever follows the watcher applies what it reports, a slice at a time.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from weavedns.errors import ConfigError, RecordError
from weavedns.records import zonefile
from weavedns.records.catalog import Change
from weavedns.records.record import Origin, Record

POLL_S = 1.0
MAX_FILES = 1000
# Half a millisecond's work.
CHANGES_A_SLICE = 50

Signature = tuple[int, int, int, int] | None
"""What changes when a file does; None when there is no such file."""


@dataclass(frozen=True, slots=True)
class ZoneRead:
    """A file was read, or is gone: how many records it gives now, and the changes that make it so.

    What comes stands before what goes, so that nothing that stays in some form is missing in between.
    """

    path: Path
    holder: str
    records: int
    changes: tuple[Change, ...]

    def slices(self, size: int = CHANGES_A_SLICE) -> Iterator[tuple[Change, ...]]:
        """The changes in portions, so that whoever applies them can see to other work in between."""
        for start in range(0, len(self.changes), size):
            yield self.changes[start : start + size]


@dataclass(frozen=True, slots=True)
class ZoneRejected:
    """A file could not be read; what it held before still stands. The message starts with where it is wrong."""

    path: Path
    message: str


ZoneEvent = ZoneRead | ZoneRejected


@dataclass(frozen=True, slots=True)
class ZoneStatus:
    """A file as it stands: how many records it gives, what is wrong with it, and when it was last read well."""

    path: Path
    records: int
    error: str | None
    loaded_at: float | None  # seconds since 1970; None when it never was


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    records: tuple[Record, ...] = ()
    error: str | None = None
    loaded_at: float | None = None
    # Of the file and of every file that it includes, each as it was just before it was read.
    signatures: dict[Path, Signature] = field(default_factory=dict)


class ZoneWatcher:
    """Follows zone files and directories of ``*.zone`` files; records of a file have the holder ``zone:PATH``."""

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        owner: str,
        domain: bytes,
        default_ttl_s: int,
        poll_s: float = POLL_S,
        max_records: int = zonefile.MAX_RECORDS,
    ) -> None:
        self._paths = tuple(paths)
        self._owner = owner
        self._domain = domain
        self._default_ttl_s = default_ttl_s
        self._poll_s = poll_s
        self._max_records = max_records
        self._files: dict[Path, _File] = {}
        self._problems: dict[Path, str] = {}
        self._started = False

    async def poll(self) -> list[ZoneEvent]:
        """Read what is new or has changed since the last call, in a thread, and say what came of it.

        The first call raises ConfigError, naming it, for a path that does not exist.
        """
        if not self._started:
            await asyncio.to_thread(_check, self._paths)
            self._started = True
        self._files, self._problems, events = await asyncio.to_thread(self._scan, self._files, self._problems)
        return events

    async def events(self) -> AsyncGenerator[ZoneEvent, None]:
        """Everything that happens to the files from now on, until the iterator is closed."""
        while True:
            for event in await self.poll():
                yield event
            await asyncio.sleep(self._poll_s)

    def status(self) -> list[ZoneStatus]:
        """Every file that is followed, in the order of the paths given, and then every path that cannot be."""
        files = [
            ZoneStatus(each.path, len(each.records), each.error, each.loaded_at) for each in self._files.values()
        ]
        return [*files, *(ZoneStatus(path, 0, message, None) for path, message in self._problems.items())]

    def _scan(self, known: Mapping[Path, _File], known_problems: Mapping[Path, str]) -> _Scan:
        paths, problems = _listing(self._paths, known)
        files: dict[Path, _File] = {}
        events: list[ZoneEvent] = []
        for path in paths:
            before = known.get(path, _File(path))
            files[path] = after = self._refresh(before)
            if after is before:
                continue
            if after.error is None:
                events.append(_read(path, before.records, after.records))
            elif after.signatures != before.signatures:
                events.append(ZoneRejected(path, after.error))
        events += [_read(path, gone.records, ()) for path, gone in known.items() if path not in files]
        fresh = [path for path, message in problems.items() if known_problems.get(path) != message]
        events += [ZoneRejected(path, problems[path]) for path in fresh]
        return files, problems, events

    def _refresh(self, before: _File) -> _File:
        """The file as it is now; one that has not changed, or is just being written, stays as it was."""
        if before.signatures and all(_signature(path) == was for path, was in before.signatures.items()):
            return before
        signatures: dict[Path, Signature] = {}

        def contents(path: Path) -> bytes:
            signatures[path] = _signature(path)
            return _contents(path)

        def include(name: str, included_by: str) -> tuple[str, bytes]:
            path = Path(included_by).parent / name
            return str(path), contents(path)

        try:
            records = zonefile.parse(
                contents(before.path),
                file=str(before.path),
                origin=self._domain,
                default_ttl_s=self._default_ttl_s,
                owner=self._owner,
                holder=holder_of(before.path),
                origin_kind=Origin.ZONE,
                include=include,
                max_records=self._max_records,
            )
        except _BeingWrittenError:
            return before
        except RecordError as exc:
            return replace(before, error=str(exc), signatures=signatures)
        return _File(before.path, _same_objects(before.records, records), None, time.time(), signatures)


_Scan = tuple[dict[Path, _File], dict[Path, str], list[ZoneEvent]]


class _BeingWrittenError(Exception):
    """A file changed while it was read; half of it is no reason to drop the other half's records."""


def holder_of(path: Path) -> str:
    """Under whose name the records of a zone file stand in the catalog."""
    return f"zone:{path}"


def _check(paths: Sequence[Path]) -> None:
    for path in paths:
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise ConfigError(
                f"--zones {path} does not exist; give a zone file or a directory of *.zone files"
            ) from None
        except (OSError, ValueError):
            continue  # reported with its reason when it is read


def _listing(paths: Sequence[Path], known: Iterable[Path]) -> tuple[list[Path], dict[Path, str]]:
    """The zone files at the paths, and what is wrong with paths that cannot be followed."""
    found: dict[Path, None] = {}
    problems: dict[Path, str] = {}
    for path in paths:
        inside = [path]
        try:
            inside = sorted(each for each in path.iterdir() if each.match("*.zone") and each.name[0] != ".")
        except NotADirectoryError:
            pass
        except FileNotFoundError:
            inside = []
            problems[path] = f"{path} is gone, and its records with it; put it back, or start without it"
        except (OSError, ValueError) as exc:
            inside = [each for each in known if path in {each, each.parent}]
            problems[path] = f"{path} cannot be read: {_reason(exc)}; what was read from it before stays"
        found.update(dict.fromkeys(inside))
        if len(found) > MAX_FILES:
            problems[path] = f"{path} makes more than {MAX_FILES} zone files, and the rest is not read; join some"
            break
    return list(found)[:MAX_FILES], problems


def _reason(exc: OSError | ValueError) -> str:
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc)


def _signature(path: Path) -> Signature:
    try:
        state = path.stat()
    except (OSError, ValueError):
        return None
    # The change time too: a copy that keeps size and modification time is still seen.
    return state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino


def _open_without_waiting(path: str, flags: int) -> int:
    """Opening a pipe would wait for somebody to write to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _contents(path: Path) -> bytes:
    """Everything in a regular file, or a byte more than is ever read; raises RecordError."""
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise RecordError(f"{path} is no regular file; give a zone file")
            data = file.read(zonefile.MAX_FILE_BYTES + 1)
            after = os.fstat(file.fileno())
    except (OSError, ValueError) as exc:
        raise RecordError(f"{path} cannot be read: {_reason(exc)}; correct its path or its permissions") from exc
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise _BeingWrittenError
    return data


def _same_objects(before: Iterable[Record], after: Sequence[Record]) -> tuple[Record, ...]:
    """What is there after, as the objects of before where nothing changed: the catalog holds those already."""
    old = {record: record for record in before}
    same = ((record, old.get(record, record)) for record in after)
    return tuple(was if was.ttl_s == record.ttl_s else record for record, was in same)


def _read(path: Path, before: Iterable[Record], after: Sequence[Record]) -> ZoneRead:
    old = {record: record.ttl_s for record in before}
    coming = [Change(record, added=True) for record in after if old.pop(record, None) != record.ttl_s]
    going = [Change(record, added=False) for record in old]
    return ZoneRead(path, holder_of(path), len(after), (*coming, *going))
