"""Zone files on disk: notices when they change, and brings this peer's records in step with them, bit by bit.

Knows nothing of what stands in a file but its CNAME records, which another file must not contradict.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from weavedns import zonereader
from weavedns.errors import ConfigError, RecordError
from weavedns.records import zonefile
from weavedns.records.alias import check_alone
from weavedns.records.catalog import MAX_TUPLE_RECORDS, Catalog, Change
from weavedns.records.entries import failure
from weavedns.records.record import Origin, Record, RecordType
from weavedns.turns import Turns
from weavedns.zonereader import RECORDS_A_SLICE, Alias, BeingWrittenError, Job, Signature, reason, signature

log = logging.getLogger(__name__)

POLL_S = 1.0
MAX_FILES = 1000
# Published together: more between two looks at the clock would make slices longer than they should be.
_STEPS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class ZoneRead:
    """A file was read, or is gone: how many records it gives now."""

    path: Path
    records: int


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
    records: int = 0
    error: str | None = None
    loaded_at: float | None = None
    # Of the file and of every file that it includes, each as it was just before it was read.
    signatures: dict[Path, Signature] = field(default_factory=dict)
    aliases: tuple[Alias, ...] = ()
    # If it was refused because of another file: how many had been read by then.
    refused_after: int | None = None


class ZoneWatcher:
    """Follows zone files and directories of ``*.zone`` files; records of a file have the holder ``zone:PATH``.

    `publish` gets the changes to the catalog, a slice at a time: what comes before what goes, so that nothing that
    stays in some form is missing in between.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        catalog: Catalog,
        publish: Callable[[list[Change]], None],
        turns: Turns,
        *,
        owner: str,
        domain: bytes,
        default_ttl_s: int,
        poll_s: float = POLL_S,
        max_records: int = zonefile.MAX_RECORDS,
    ) -> None:
        self._paths = tuple(paths)
        self._catalog = catalog
        self._publish = publish
        self._turns = turns
        self._owner = owner
        self._domain = domain
        self._default_ttl_s = default_ttl_s
        self._poll_s = poll_s
        self._max_records = max_records
        self._files: dict[Path, _File] = {}
        self._problems: dict[Path, str] = {}
        self._reads = 0
        self._started = False

    async def poll(self) -> list[ZoneEvent]:
        """Take in what is new or has changed since the last call, and say what came of it; what is wrong is logged.

        The first call raises ConfigError, naming it, for a path that does not exist.
        """
        first = not self._started
        if first:
            await asyncio.to_thread(_check, self._paths)
            self._started = True
        paths, problems, changed = await asyncio.to_thread(self._look)
        gone = [file for path, file in self._files.items() if path not in paths]
        self._files = {path: self._files.get(path, _File(path)) for path in [*paths, *(each.path for each in gone)]}
        events: dict[Path, ZoneEvent] = {}
        # At the start nobody waits for answers yet.
        await self._refresh(changed, events, here=first)
        # What is gone goes last: the same name in another file may be what takes its place.
        for file in gone:
            events[file.path] = await self._drop(file)
        # Now those may be good that did not go with one of these as it was before.
        await self._refresh([path for path in paths if self._waits(self._files[path])], events, here=first)
        fresh = [path for path, message in problems.items() if self._problems.get(path) != message]
        told = [*events.values(), *(ZoneRejected(path, problems[path]) for path in fresh)]
        self._problems = problems
        for event in told:
            if isinstance(event, ZoneRejected):
                log.error("%s; what the file said before is still served", event.message)
        return told

    async def follow(self) -> None:
        """Keep the records in step with the files from now on, until cancelled."""
        while True:
            await asyncio.sleep(self._poll_s)
            await self.poll()

    def status(self) -> list[ZoneStatus]:
        """Every file that is followed, in the order of the paths given, and then every path that cannot be."""
        files = [ZoneStatus(each.path, each.records, each.error, each.loaded_at) for each in self._files.values()]
        return [*files, *(ZoneStatus(path, 0, message, None) for path, message in self._problems.items())]

    def _look(self) -> tuple[list[Path], dict[Path, str], list[Path]]:
        """The files there are, what is wrong with the paths, and which files are to be read."""
        paths, problems = _listing(self._paths, self._files)
        return paths, problems, [path for path in paths if self._is_due(self._files.get(path))]

    def _is_due(self, file: _File | None) -> bool:
        if file is None or not file.signatures or self._waits(file):
            return True
        return any(signature(path) != was for path, was in file.signatures.items())

    def _waits(self, file: _File) -> bool:
        """Whether a file was refused because of another one, and one was read since."""
        return file.refused_after not in {None, self._reads}

    async def _refresh(self, paths: Iterable[Path], events: dict[Path, ZoneEvent], *, here: bool) -> None:
        """Read files and take them in; one that is just being written stays as it was."""
        for path in paths:
            before = self._files[path]
            try:
                after = await self._read(before, here=here)
            except BeingWrittenError:
                continue
            except RecordError as exc:
                after = replace(before, error=str(exc))
            self._files[path] = after
            if after.error is None:
                events[path] = ZoneRead(path, after.records)
            elif (after.error, after.signatures) != (before.error, before.signatures):
                events[path] = ZoneRejected(path, after.error)

    async def _read(self, before: _File, *, here: bool) -> _File:
        job = self._job(before.path)
        reading = await zonereader.read(job, here=here)
        try:
            refused = replace(before, signatures=reading.signatures)
            if reading.error is not None:
                # Maybe because of a CNAME elsewhere.
                return replace(refused, error=reading.error, refused_after=self._reads if job.elsewhere else None)
            conflict = await self._conflict(reading.aliases, job)
            if conflict:
                return replace(refused, error=conflict, refused_after=self._reads)
            count = await self._replace(job.holder, reading.slices(job))
        finally:
            await reading.close()
        self._reads += 1
        return _File(before.path, count, None, time.time(), reading.signatures, tuple(reading.aliases))

    async def _drop(self, file: _File) -> ZoneEvent:
        await self._replace(zonereader.holder_of(file.path), _nothing())
        del self._files[file.path]
        self._reads += 1
        return ZoneRead(file.path, 0)

    async def _replace(self, holder: str, slices: AsyncIterator[Sequence[Record]]) -> int:
        """Make these all that `holder` has, answering queries between slices; how many they are."""
        catalog, count = self._catalog, 0
        if not catalog.of_holder(holder):
            async for part in slices:
                await self._in_slices(part, catalog.add)
                count += len(part)
            return count
        wanted: dict[Record, Record] = {}
        async for part in slices:
            wanted.update(zip(part, part, strict=True))
            await self._turns.take()
        count = len(wanted)
        renewed: set[bytes] = set()
        await self._in_slices(wanted, lambda record: self._renew(record, wanted, renewed))
        if len(catalog.of_holder(holder)) > count:
            # Nobody else changes what this holder has while it is looked through.
            going: dict[Record, None] = {}
            for some in _sliced(catalog.of_holder(holder), RECORDS_A_SLICE):
                going.update((record, None) for record in some if record not in wanted)
                await self._turns.take()
            await self._in_slices(going, catalog.remove)
        # Bit by bit as well: to free all of it at once takes long.
        while wanted:
            for _ in range(min(len(wanted), RECORDS_A_SLICE)):
                wanted.popitem()
            await self._turns.take()
        return count

    async def _in_slices(self, records: Iterable[Record], step: Callable[[Record], list[Change]]) -> None:
        ends = await self._turns.take()
        for some in _sliced(records, _STEPS_AT_ONCE):
            self._publish([change for record in some for change in step(record)])
            if time.perf_counter() >= ends:
                ends = await self._turns.take()

    def _renew(self, record: Record, wanted: Mapping[Record, Record], renewed: set[bytes]) -> list[Change]:
        """Add a record, and remove what the file does not give its name any more: no answer shows both.

        `renewed` are the names with many records that this was done for.
        """
        changes = self._catalog.add(record)
        beside = self._catalog.own.of_name(record.name)
        if len(beside) > MAX_TUPLE_RECORDS:
            if record.name in renewed:
                return changes
            renewed.add(record.name)
        for known in beside:
            if known.holder == record.holder and known not in wanted:
                changes += self._catalog.remove(known)
        return changes

    def _job(self, path: Path) -> Job:
        others = [
            Alias(each.name, each.rdata, each.line, os.fsencode(file.path))
            for file in self._files.values()
            if file.path != path
            for each in file.aliases
        ]
        return Job(os.fsencode(path), self._domain, self._default_ttl_s, self._owner, self._max_records, others)

    async def _conflict(self, aliases: Iterable[Alias], job: Job) -> str:
        """What is wrong when another file has something else at the name of a CNAME, naming both; else nothing."""
        for number, alias in enumerate(aliases):
            if number % RECORDS_A_SLICE == 0:
                await self._turns.take()
            mine = Record(self._owner, job.holder, alias.name, RecordType.CNAME, alias.rdata, 0, Origin.ZONE)
            known = self._catalog.own.of_name(alias.name)
            try:
                check_alone(
                    mine, [each for each in known if each.origin == Origin.ZONE and each.holder != job.holder]
                )
            except RecordError as exc:
                return str(failure(os.fsdecode(alias.file), alias.line, str(exc)))
        return ""


async def _nothing() -> AsyncIterator[Sequence[Record]]:
    """The slices of a file that is gone."""
    nothing: tuple[Sequence[Record], ...] = ()
    for part in nothing:
        yield part


def _sliced(records: Iterable[Record], count: int) -> Iterator[Sequence[Record]]:
    pending = iter(records)
    while some := tuple(islice(pending, count)):
        yield some


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


def _listing(paths: Sequence[Path], known: Mapping[Path, _File]) -> tuple[list[Path], dict[Path, str]]:
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
            problems[path] = f"{path} cannot be read: {reason(exc)}; what was read from it before stays"
        found.update(dict.fromkeys(inside))
        if len(found) > MAX_FILES:
            problems[path] = f"{path} makes more than {MAX_FILES} zone files, and the rest is not read; join some"
            break
    return list(found)[:MAX_FILES], problems
