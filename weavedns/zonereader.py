"""Reads one zone file and what it includes: a small one here, a large one in a process of its own.

A thread that parses 100,000 records holds the interpreter again and again, and queries wait each time. The process
has the lowest priority, hands the records over in slices when all of the file has been found good, and ends with the
daemon. Never touches the catalog.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from weavedns import process
from weavedns.errors import RecordError
from weavedns.records import zonefile
from weavedns.records.record import Origin, Record, RecordType
from weavedns.turns import stand_aside

SMALL_BYTES = 64 * 1024
# What is handed over, looked at or let go of at once: less than a slice of work.
RECORDS_A_SLICE = 50
_LENGTH_BYTES = 4
# The lowest priority (sched(7), SCHED_IDLE) from its first moment, where there is one: when the daemon wakes, it runs
# at once. A process that is merely nice keeps a core for some milliseconds.
_IDLY = ["sh", "-c", 'chrt -i -p 0 $$ >/dev/null 2>&1; exec "$@"', "weavedns-zonereader"]
# The child has this process's own path, wherever it came from. It stands aside for a moment every 0.3 ms: some
# kernels take a processor away from the lowest priority only at their next tick, milliseconds after somebody woke. It
# ends before cycles would matter, and to look for them takes longer than that.
_CHILD = """
import gc, signal, sys, time
gc.disable()
def stand_aside(*_):
    time.sleep(0.000001)
    # Only now, as on a busy processor the moment is a long one: the next one then comes before any work is done.
    signal.setitimer(signal.ITIMER_REAL, 0.0003)
signal.signal(signal.SIGALRM, stand_aside)
stand_aside()
sys.path[:] = sys.argv[2:]
try:
    from weavedns import zonereader
    zonereader.main(int(sys.argv[1]))
finally:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
"""

Signature = tuple[int, int, int, int] | None
"""What changes when a file does; None when there is no such file."""


class BeingWrittenError(Exception):
    """A file changed while it was read; half of it is no reason to drop the other half's records."""


class _TooLargeError(Exception):
    """There is more to read than is read here."""


class Alias(msgspec.Struct, frozen=True, array_like=True):
    """A CNAME of a zone file: its name, its data and the line where it stands."""

    name: bytes
    rdata: bytes
    line: int = 0
    file: bytes = b""  # as the system spells its name


class Job(msgspec.Struct, frozen=True, array_like=True):
    """What is to be read, and the CNAME records of other files, which nothing may stand beside."""

    file: bytes
    domain: bytes
    default_ttl_s: int
    owner: str
    max_records: int
    elsewhere: list[Alias]

    @property
    def path(self) -> Path:
        """The file."""
        return Path(os.fsdecode(self.file))

    @property
    def holder(self) -> str:
        """Under whose name its records stand in the catalog."""
        return holder_of(self.path)


class _Head(msgspec.Struct, frozen=True, array_like=True):
    """What the child says before the records: the files that were read, and what is wrong with them, if anything."""

    signatures: list[tuple[bytes, Signature]]
    aliases: list[Alias]
    error: bytes | None
    being_written: bool


_Row = tuple[bytes, int, bytes, int]
_decode_head = msgspec.msgpack.Decoder(_Head).decode
_decode_rows = msgspec.msgpack.Decoder(list[_Row]).decode
_encode = msgspec.msgpack.Encoder().encode


@dataclass(slots=True)
class Reading:
    """What came of reading a file; `slices` gives the records, once. The signatures are of each file as it was just
    before it was read. An error's message starts with where it is wrong.
    """

    signatures: dict[Path, Signature] = field(default_factory=dict)
    aliases: list[Alias] = field(default_factory=list)
    error: str | None = None
    records: Sequence[Record] = ()
    child: Process | None = None

    async def slices(self, job: Job) -> AsyncIterator[Sequence[Record]]:
        """The records in portions; raises RecordError when the process that reads them ended too soon."""
        if self.child is None:
            for start in range(0, len(self.records), RECORDS_A_SLICE):
                yield self.records[start : start + RECORDS_A_SLICE]
            return
        ttls: dict[int, int] = {}  # one object for each TTL, not one for each record
        holder = job.holder
        while rows := _decode_rows(await _frame(self.child, job)):
            yield [
                Record(job.owner, holder, name, rtype, rdata, ttls.setdefault(ttl_s, ttl_s), Origin.ZONE)
                for name, rtype, rdata, ttl_s in rows
            ]

    async def close(self) -> None:
        """End the process, if there is one."""
        if self.child is not None:
            await _end(self.child)


async def read(job: Job, *, here: bool) -> Reading:
    """Read a file, in this process when it is small or `here` is set; raises BeingWrittenError.

    The result has to be closed.
    """
    try:
        return await asyncio.to_thread(read_here, job, None if here else SMALL_BYTES)
    except _TooLargeError:
        pass
    try:
        child = await asyncio.create_subprocess_exec(
            *_IDLY, sys.executable, "-c", _CHILD, str(os.getpid()), *sys.path, stdin=PIPE, stdout=PIPE
        )
    except OSError:  # no more processes may be started: late answers are better than old records
        return await asyncio.to_thread(read_here, job, None)
    try:
        head = await _ask(child, job)
    except BaseException:
        await _end(child)
        raise
    signatures = {Path(os.fsdecode(path)): signature for path, signature in head.signatures}
    error = None if head.error is None else os.fsdecode(head.error)
    return Reading(signatures, head.aliases, error, child=child)


def read_here(job: Job, most_bytes: int | None) -> Reading:
    """Read a file in this thread; raises BeingWrittenError, and _TooLargeError past `most_bytes`."""
    reading = Reading()
    left = most_bytes

    def contents(path: Path) -> bytes:
        nonlocal left
        reading.signatures[path] = signature(path)
        data = _contents(path, left)
        if left is not None:
            left -= len(data)
        return data

    def include(name: str, included_by: str) -> tuple[str, bytes]:
        path = Path(included_by).parent / name
        return str(path), contents(path)

    def alias(record: Record, file: str, line: int) -> None:
        reading.aliases.append(Alias(record.name, record.rdata, line, os.fsencode(file)))

    try:
        reading.records = zonefile.parse(
            contents(job.path),
            file=str(job.path),
            origin=job.domain,
            default_ttl_s=job.default_ttl_s,
            owner=job.owner,
            holder=job.holder,
            origin_kind=Origin.ZONE,
            include=include,
            max_records=job.max_records,
            elsewhere=[_record_elsewhere(job, each) for each in job.elsewhere],
            alias=alias,
            # Beside an event loop, and neither in a process of its own nor at the start, when nobody waits.
            pause=None if most_bytes is None else stand_aside,
        )
    except RecordError as exc:
        reading.error = str(exc)
    return reading


def holder_of(path: Path) -> str:
    """Under whose name the records of a zone file stand in the catalog."""
    return f"zone:{path}"


def signature(path: Path) -> Signature:
    """What a file is known by, to see whether it has changed."""
    try:
        state = path.stat()
    except (OSError, ValueError):
        return None
    # The change time too: a copy that keeps size and modification time is still seen.
    return state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino


def reason(exc: OSError | ValueError) -> str:
    """Why a file cannot be read, in a few words."""
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc)


def main(parent: int) -> None:
    """Be the process: read what the job on the standard input says, and write head and records."""
    process.end_with(parent)
    job = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Job)
    for part in _answer(job):
        _write(sys.stdout.buffer, part)
    sys.stdout.buffer.flush()


def _answer(job: Job) -> Iterator[bytes]:
    try:
        reading = read_here(job, None)
    except BeingWrittenError:
        yield _encode(_Head([], [], None, being_written=True))
        return
    signatures = [(os.fsencode(path), was) for path, was in reading.signatures.items()]
    error = None if reading.error is None else os.fsencode(reading.error)
    yield _encode(_Head(signatures, reading.aliases, error, being_written=False))
    records = reading.records
    for start in range(0, len(records), RECORDS_A_SLICE):
        some = records[start : start + RECORDS_A_SLICE]
        yield _encode([(each.name, each.rtype, each.rdata, each.ttl_s) for each in some])
    yield _encode([])


def _write(out: BinaryIO, part: bytes) -> None:
    out.write(len(part).to_bytes(_LENGTH_BYTES, "big") + part)


async def _ask(child: Process, job: Job) -> _Head:
    to = cast("asyncio.StreamWriter", child.stdin)
    to.write(_encode(job))
    to.close()
    head = _decode_head(await _frame(child, job))
    if head.being_written:
        raise BeingWrittenError
    return head


async def _frame(child: Process, job: Job) -> bytes:
    out = cast("asyncio.StreamReader", child.stdout)
    try:
        size = int.from_bytes(await out.readexactly(_LENGTH_BYTES), "big")
        return await out.readexactly(size)
    except (EOFError, OSError) as exc:
        raise RecordError(
            f"{job.path} cannot be read: the process that reads it was ended; it is tried again"
        ) from exc


async def _end(child: Process) -> None:
    if child.returncode is None:
        child.kill()
    # Also what it still had to say, or the pipe stays open.
    await child.communicate()


def _record_elsewhere(job: Job, alias: Alias) -> Record:
    holder = holder_of(Path(os.fsdecode(alias.file)))
    return Record(job.owner, holder, alias.name, RecordType.CNAME, alias.rdata, 0, Origin.ZONE)


def _open_without_waiting(path: str, flags: int) -> int:
    """Opening a pipe would wait for somebody to write to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _contents(path: Path, most_bytes: int | None) -> bytes:
    """Everything in a regular file, or a byte more than is ever read; raises RecordError."""
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise RecordError(f"{path} is no regular file; give a zone file")
            if most_bytes is not None and before.st_size > most_bytes:
                raise _TooLargeError
            data = file.read(zonefile.MAX_FILE_BYTES + 1)
            after = os.fstat(file.fileno())
    except (OSError, ValueError) as exc:
        raise RecordError(f"{path} cannot be read: {reason(exc)}; correct its path or its permissions") from exc
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise BeingWrittenError
    return data
