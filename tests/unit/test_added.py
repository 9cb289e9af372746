from __future__ import annotations

import asyncio
import errno
import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from weavedns import added
from weavedns.added import AddedStore, ContainerName
from weavedns.errors import StoreError, WeaveError, ZoneFileError
from weavedns.records import names, rdata, zonefile
from weavedns.records.record import Origin, Record

DOMAIN = names.parse("weave.local")
ID = "ca88a6e0" * 8


def record(host: str, address: str = "10.2.1.7", *, ttl_s: int = 1) -> Record:
    data = rdata.parse(1, [address], DOMAIN)
    return Record("peer", "added", names.parse(host, DOMAIN), 1, data, ttl_s, Origin.ADDED)


def store_at(path: Path) -> AddedStore:
    return AddedStore(path, owner="peer", domain=DOMAIN, default_ttl_s=1)


def bytes_of(path: Path) -> bytes:
    return path.read_bytes()


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def files_in(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "added.zone"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[AddedStore]:
    made = store_at(path)
    await made.load()
    yield made
    await made.close()


async def reloaded(path: Path) -> tuple[list[tuple[Record, int, Origin]], tuple[ContainerName, ...]]:
    fresh = store_at(path)
    found, extras = await fresh.load()
    await fresh.close()
    return [(one, one.ttl_s, one.origin) for one in found], extras


async def test_nothing_was_added_when_there_is_no_file(path: Path) -> None:
    assert await reloaded(path) == ([], ())
    assert not path.parent.exists()


async def test_what_was_saved_is_there_after_a_restart(store: AddedStore, path: Path) -> None:
    extra = ContainerName(names.parse("db", DOMAIN), ID)
    await store.save([record("redis"), record("nas", ttl_s=60)], [extra])
    assert await reloaded(path) == (
        [(record("nas"), 60, Origin.ADDED), (record("redis"), 1, Origin.ADDED)],
        (extra,),
    )
    await store.save([], [])
    assert await reloaded(path) == ([], ())


async def test_the_file_is_a_zone_file_that_says_what_it_is(store: AddedStore, path: Path) -> None:
    await store.save([record("redis")], [ContainerName(names.parse("db", DOMAIN), ID)])
    text = bytes_of(path).decode()
    assert text.splitlines()[0].startswith('; Records added with "weavedns add".')
    assert "redis IN A 10.2.1.7" in text.splitlines()
    assert f";container db.weave.local {ID}" in text.splitlines()
    parsed = zonefile.parse(
        text.encode(),
        file="x",
        origin=DOMAIN,
        default_ttl_s=9,
        owner="peer",
        holder="added",
        origin_kind=Origin.ADDED,
    )
    assert parsed == [record("redis")]


async def test_a_missing_directory_is_made(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "added.zone"
    store = store_at(deep)
    await store.load()
    await store.save([record("redis")])
    await store.close()
    assert stat.S_IMODE(deep.parent.stat().st_mode) == 0o755
    assert files_in(deep.parent) == ["added.zone"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", ":1: the file is empty"),
        (b"redis A 10.2.1.7\nnas A 10.2\n", ":2: '10.2' is no IPv4 address"),
        (b"\0" * 100, ":1: "),
        (b"redis A \xff\n", ":1: byte 0xff is not UTF-8"),
        (b"redis.example. A 10.2.1.7\n", ":1: redis.example is outside the domain"),
        (b"\n;container db\n", ":2: ';container db' is no name of a container; write ;container NAME ID"),
        (b";container db ca88\n", ":1: "),
        (b";container d..b " + ID.encode() + b"\n", ":1: 'd..b' has an empty label"),
        (b";containerdb " + ID.encode() + b"\n", ":1: "),
        (b"$INCLUDE /etc/passwd\n", ":1: '/etc/passwd' cannot be included here"),
    ],
)
async def test_a_damaged_file_is_told_with_its_line_and_left_as_it_is(path: Path, data: bytes, says: str) -> None:
    put(path, data)
    store = store_at(path)
    with pytest.raises(ZoneFileError) as caught:
        await store.load()
    assert str(caught.value).startswith(f"{path}{says}")
    assert "correct it, or move it away" in str(caught.value)
    with pytest.raises(StoreError, match="is not overwritten"):
        await store.save([record("redis")])
    assert bytes_of(path) == data
    assert files_in(path.parent) == ["added.zone"]
    put(path, b"nas A 10.2.1.7\n")
    await store.load()
    await store.save([record("redis")])
    await store.close()
    assert [one for one, *_ in (await reloaded(path))[0]] == [record("redis")]


async def test_a_file_that_cannot_be_read_is_told_with_its_reason(path: Path) -> None:
    put(path / "a-file-in-it", b"")
    store = store_at(path)
    with pytest.raises(StoreError, match=f"{path} cannot be read: Is a directory; .*--state-dir"):
        await store.load()
    with pytest.raises(StoreError):
        await store.save([record("redis")])
    await store.close()


async def test_nothing_is_overwritten_that_was_never_read(path: Path) -> None:
    store = store_at(path)
    with pytest.raises(StoreError, match="has not been read"):
        await store.save([])
    await store.close()


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "No space left on device; make room there"),
        (errno.EROFS, "Read-only file system; mount it writable"),
        (errno.EACCES, "Permission denied; run as a user who may"),
        (errno.EIO, "Input/output error; see to its disk"),
    ],
)
async def test_a_failed_save_leaves_the_old_file_and_nothing_else(
    store: AddedStore, path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, cure: str
) -> None:
    await store.save([record("redis")])
    before = bytes_of(path)

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        match call:
            case "write":
                patch.setattr(Path, "open", fail)
            case "fsync":
                patch.setattr(os, "fsync", fail)
            case "rename":
                patch.setattr(Path, "rename", fail)
        with pytest.raises(StoreError) as caught:
            await store.save([record("nas")])
    assert str(caught.value).startswith(f"{path} cannot be written: {cure}")
    assert bytes_of(path) == before
    assert files_in(path.parent) == ["added.zone"]
    await store.save([record("nas")])
    assert b"nas" in bytes_of(path)


async def test_a_save_is_on_disk_before_it_is_reported_done(
    store: AddedStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    real_sync, real_rename = os.fsync, Path.rename

    def sync(handle: int) -> None:
        state = os.fstat(handle)
        steps.append("sync directory" if stat.S_ISDIR(state.st_mode) else f"sync file, {state.st_size} bytes")
        real_sync(handle)

    def rename(old: Path, new: Path) -> Path:
        steps.append(f"rename {old.name} {new.name}")
        return real_rename(old, new)

    await store.save([])
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", rename)
    await store.save([record("redis")])
    size = len(bytes_of(path))
    assert steps == [f"sync file, {size} bytes", "rename added.zone.new added.zone", "sync directory"]


async def test_saves_end_in_the_order_in_which_they_were_asked_for(store: AddedStore, path: Path) -> None:
    saves = [asyncio.create_task(store.save([record(f"h{number}")])) for number in range(20)]
    await asyncio.gather(*saves)
    assert [one for one, *_ in (await reloaded(path))[0]] == [record("h19")]


async def test_a_save_takes_the_records_as_they_are_when_it_is_asked_for(store: AddedStore, path: Path) -> None:
    records = [record("redis")]
    saving = asyncio.ensure_future(store.save(records))
    await asyncio.sleep(0)
    records.append(record("nas"))
    await saving
    assert [one for one, *_ in (await reloaded(path))[0]] == [record("redis")]


async def test_changes_are_appended_and_said_again_in_their_order(store: AddedStore, path: Path) -> None:
    extra = ContainerName(names.parse("db", DOMAIN), ID)
    await store.save([record("redis"), record("nas")], [extra])
    before = bytes_of(path)
    assert await store.append([record("web"), record("web", "10.2.1.8")], [])
    assert await store.append([record("redis", ttl_s=60)], [])
    assert await store.append([], [record("web"), record("nas")])
    assert await store.append([record("nas", ttl_s=5)], [record("web", "10.2.1.8")])
    assert bytes_of(path).startswith(before)
    assert files_in(path.parent) == ["added.zone"]
    assert await reloaded(path) == (
        [(record("redis"), 60, Origin.ADDED), (record("nas"), 5, Origin.ADDED)],
        (extra,),
    )


async def test_a_change_is_on_disk_before_it_is_reported_done(
    store: AddedStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.save([])
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda handle: synced.append(os.fstat(handle).st_size))
    await store.append([record("redis")], [])
    assert synced == [len(bytes_of(path))]


async def test_the_whole_is_due_before_the_first_change_and_after_many(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(added, "_MAX_CHANGES", 3)
    store = store_at(path)
    await store.load()
    assert not await store.append([record("redis")], [])
    await store.save([])
    assert [await store.append([record(f"h{number}")], []) for number in range(5)] == [True] * 3 + [False] * 2
    await store.save([record(f"h{number}") for number in range(5)])
    assert await store.append([record("redis")], [])
    await store.close()


@pytest.mark.parametrize("other", ["gone", "edited", "another"])
async def test_nothing_is_appended_to_a_file_that_is_not_as_it_was_left(
    store: AddedStore, path: Path, other: str
) -> None:
    await store.save([record("redis")])
    match other:
        case "gone":
            await asyncio.to_thread(path.unlink)
        case "edited":
            put(path, bytes_of(path) + b"nas A 10.2.1.9\n")
        case "another":
            data = bytes_of(path)
            await asyncio.to_thread(path.rename, path.with_name("kept"))
            put(path, data)
    assert not await store.append([record("web")], [])
    assert not await store.append([record("web")], [])
    assert not await asyncio.to_thread(path.exists) or b"web" not in bytes_of(path)


@pytest.mark.parametrize("call", ["write", "fdatasync", "open"])
async def test_a_change_that_fails_leaves_the_file_as_it_was(
    store: AddedStore, path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    await store.save([record("redis")])
    before = bytes_of(path)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StoreError, match=f"{path} cannot be written: No space left on device; make room there"):
            await store.append([record("nas")], [])
    assert bytes_of(path) == before
    await store.save([record("nas")])
    assert await store.append([record("web")], [])


async def test_half_a_change_is_taken_back_when_the_disk_is_full(
    store: AddedStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.save([record("redis")])
    before, write = bytes_of(path), os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, data: write(handle, data[:5]))
        with pytest.raises(StoreError, match="No space left on device"):
            await store.append([record("nas")], [])
    assert bytes_of(path) == before


async def test_half_a_line_at_the_end_is_left_out_and_told(
    store: AddedStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await store.save([record("redis")])
    await store.append([record("nas")], [])
    put(path, bytes_of(path) + b"web.weave.local. 1 IN A 10.2.")
    assert [one for one, *_ in (await reloaded(path))[0]] == [record("redis"), record("nas")]
    assert "ends with half a line, which is left out: b'web.weave.local. 1 IN A 10.2.'" in caplog.text


@pytest.mark.parametrize("line", [b"web A 10.2", b";removed web A nowhere", b"web.example. A 10.2.1.7"])
async def test_a_damaged_change_is_told_with_its_line(store: AddedStore, path: Path, line: bytes) -> None:
    await store.save([record("redis")])
    await store.append([record("nas")], [])
    number = bytes_of(path).count(b"\n") + 1
    put(path, bytes_of(path) + line + b"\n")
    with pytest.raises(ZoneFileError, match=rf"{path}:{number}: .*; the file was left as it is"):
        await reloaded(path)


KILLED = """
    import asyncio, os, signal, sys
    from pathlib import Path
    from weavedns.added import AddedStore
    from weavedns.records import names
    from weavedns.records.record import Origin, Record

    domain = names.parse("weave.local")

    async def main():
        store = AddedStore(Path(sys.argv[1]), owner="peer", domain=domain, default_ttl_s=1)
        records, _ = await store.load()
        more = [Record("peer", "added", names.parse(f"h{n}", domain), 1, bytes(4), 1, Origin.ADDED) for n in range(9)]
        Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        await store.save([*records, *more])

    asyncio.run(main())
"""


async def test_a_kill_before_the_new_file_takes_its_place_loses_nothing(store: AddedStore, path: Path) -> None:
    await store.save([record("redis")])
    before = bytes_of(path)
    killed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", textwrap.dedent(KILLED), str(path)], timeout=30, check=False
    )
    assert killed.returncode == -9
    assert bytes_of(path) == before
    assert files_in(path.parent) == ["added.zone", "added.zone.new"]
    assert [one for one, *_ in (await reloaded(path))[0]] == [record("redis")]
    await store.save([record("nas")])
    assert files_in(path.parent) == ["added.zone"]
    assert [one for one, *_ in (await reloaded(path))[0]] == [record("nas")]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "weavedns-test", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.linux
async def test_a_full_disk_is_told_and_what_was_saved_stays(small_disk: Path) -> None:
    path = small_disk / "added.zone"
    store = store_at(path)
    await store.load()
    await store.save([record("redis")])
    before = bytes_of(path)
    many = [record(f"host-{number}") for number in range(5000)]
    with pytest.raises(StoreError) as caught:
        await store.save([record("redis"), *many])
    assert str(caught.value) == f"{path} cannot be written: No space left on device; make room there"
    assert "\n" not in str(caught.value)
    assert bytes_of(path) == before
    assert files_in(small_disk) == ["added.zone"]
    await store.save([record("redis"), record("nas")])
    await store.close()
    assert [one for one, *_ in (await reloaded(path))[0]] == [record("nas"), record("redis")]


@pytest.mark.linux
async def test_a_read_only_disk_is_told_and_can_still_be_read(small_disk: Path) -> None:
    path = small_disk / "added.zone"
    store = store_at(path)
    await store.load()
    await store.save([record("redis")])
    await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert [one for one, *_ in (await reloaded(path))[0]] == [record("redis")]
    with pytest.raises(StoreError, match=r"Read-only file system; mount it writable, or .*--state-dir"):
        await store.save([])
    await store.close()


def test_the_errors_are_of_the_one_tree() -> None:
    assert issubclass(StoreError, WeaveError)
    assert issubclass(ZoneFileError, WeaveError)
