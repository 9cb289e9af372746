from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weavedns import zonereader, zones
from weavedns.errors import ConfigError
from weavedns.records import names
from weavedns.records.catalog import Catalog, Change
from weavedns.records.record import Origin
from weavedns.turns import Turns
from weavedns.zones import ZoneEvent, ZoneRead, ZoneRejected, ZoneWatcher

DOMAIN = names.parse("weave.local")
EXAMPLE = Path(__file__).parents[2] / "zones" / "example.zone"


class Follower:
    """A catalog that follows a watcher, one poll at a time, as the daemon does."""

    def __init__(self, *paths: Path, max_records: int = 1000) -> None:
        self.catalog = Catalog("peer")
        self.published: list[list[Change]] = []
        self.watcher = ZoneWatcher(
            paths,
            self.catalog,
            self.published.append,
            Turns(),
            owner="peer",
            domain=DOMAIN,
            default_ttl_s=1,
            poll_s=0.01,
            max_records=max_records,
        )

    async def poll(self) -> list[ZoneEvent]:
        self.published.clear()
        events = await self.watcher.poll()
        for event in events:
            if isinstance(event, ZoneRead):
                assert len(self.catalog.of_holder(f"zone:{event.path}")) == event.records
        return events

    def changes(self) -> list[Change]:
        return [change for part in self.published for change in part]

    def portions(self) -> list[int]:
        return [len(part) for part in self.published if part]

    async def rejected(self) -> str:
        (event,) = await self.poll()
        assert isinstance(event, ZoneRejected)
        return event.message

    def names(self) -> list[str]:
        return sorted(names.render(one.name).removesuffix(".weave.local") for one in self.catalog)

    def status(self) -> list[tuple[str, int, str | None]]:
        return [(each.path.name, each.records, each.error) for each in self.watcher.status()]


def zone(*hosts: str) -> str:
    return "".join(f"{host} A 10.2.1.7\n" for host in hosts)


async def test_a_file_is_read_and_its_records_belong_to_it(tmp_path: Path) -> None:
    path = tmp_path / "any-name"
    path.write_text(zone("redis"))
    follower = Follower(path)
    (event,) = await follower.poll()
    assert isinstance(event, ZoneRead)
    assert (event.path, event.records) == (path, 1)
    (record,) = follower.catalog
    assert (record.owner, record.holder, record.origin) == ("peer", f"zone:{path}", Origin.ZONE)
    (status,) = follower.watcher.status()
    assert (status.path, status.records, status.error) == (path, 1, None)
    assert status.loaded_at is not None
    assert status.loaded_at >= path.stat().st_mtime - 1


async def test_a_directory_stands_for_its_zone_files(tmp_path: Path) -> None:
    for name in ("b.zone", "a.zone", ".hidden.zone", "c.inc", "d.zone~"):
        (tmp_path / name).write_text(zone(name[0].replace(".", "h")))
    (tmp_path / "sub.zone").mkdir()
    follower = Follower(tmp_path)
    events = await follower.poll()
    assert [event.path.name for event in events] == ["a.zone", "b.zone", "sub.zone"]
    assert follower.names() == ["a", "b"]
    assert follower.status()[2] == (
        "sub.zone",
        0,
        f"{tmp_path}/sub.zone cannot be read: Is a directory; correct its path or its permissions",
    )


async def test_a_path_that_does_not_exist_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "a.zone").write_text(zone("a"))
    for missing in (tmp_path / "nowhere", tmp_path / "a.zone" / "x"):
        with pytest.raises(ConfigError, match=f"--zones {missing} does not exist"):
            await Follower(tmp_path, missing).poll()


async def test_a_bad_file_at_the_start_is_told_and_the_others_serve(tmp_path: Path) -> None:
    (tmp_path / "a.zone").write_text("a A nowhere\n")
    (tmp_path / "b.zone").write_text(zone("b"))
    follower = Follower(tmp_path)
    rejected, read = await follower.poll()
    assert isinstance(rejected, ZoneRejected)
    assert rejected.message.startswith(f"{tmp_path}/a.zone:1: 'nowhere' is no IPv4 address")
    assert isinstance(read, ZoneRead)
    assert follower.names() == ["b"]
    assert follower.status() == [("a.zone", 0, rejected.message), ("b.zone", 1, None)]


async def test_nothing_is_told_while_nothing_changes(tmp_path: Path) -> None:
    (tmp_path / "a.zone").write_text(zone("a"))
    (tmp_path / "b.zone").write_text("b A nowhere\n$INCLUDE missing")
    follower = Follower(tmp_path)
    assert len(await follower.poll()) == 2
    for _ in range(3):
        assert await follower.poll() == []


async def test_only_what_changed_comes_and_goes(tmp_path: Path) -> None:
    path = tmp_path / "a.zone"
    path.write_text("$TTL 1\n" + zone("a", "b") + "c 5 A 10.2.1.7\n")
    follower = Follower(path)
    await follower.poll()
    stays = follower.catalog.of_name(names.parse("b", DOMAIN))[0]
    path.write_text("$TTL 1\n" + zone("b") + "c 6 A 10.2.1.7\nd A 10.2.1.8\n")
    (event,) = await follower.poll()
    assert isinstance(event, ZoneRead)
    told = [(names.render(change.record.name)[0], change.record.ttl_s, change.added) for change in follower.changes()]
    assert told == [("c", 5, False), ("c", 6, True), ("d", 1, True), ("a", 1, False)]
    assert follower.catalog.of_name(stays.name)[0] is stays


def edit_in_place(path: Path, text: str) -> None:
    path.write_text(text)


def replace_by_rename(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)


def edit_and_put_the_time_back(path: Path, text: str) -> None:
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("edit", [edit_in_place, replace_by_rename, edit_and_put_the_time_back])
async def test_a_changed_file_is_read_again_however_it_was_changed(
    tmp_path: Path, edit: Callable[[Path, str], None]
) -> None:
    path = tmp_path / "a.zone"
    path.write_text(zone("a"))
    follower = Follower(path)
    await follower.poll()
    edit(path, zone("b"))
    await follower.poll()
    assert follower.names() == ["b"]


async def test_a_file_that_went_bad_is_told_once_and_its_last_good_records_serve(tmp_path: Path) -> None:
    path = tmp_path / "a.zone"
    path.write_text(zone("a"))
    follower = Follower(path)
    await follower.poll()
    path.write_text(zone("b") + "c A nowhere\n")
    message = await follower.rejected()
    assert message.startswith(f"{path}:2: ")
    assert await follower.poll() == []
    assert follower.names() == ["a"]
    assert follower.status() == [("a.zone", 1, message)]
    path.write_text(zone("b") + "cc A nowhere\n")
    assert (await follower.rejected()).startswith(f"{path}:2: ")
    path.write_text(zone("b"))
    await follower.poll()
    assert follower.names() == ["b"]
    assert follower.status() == [("a.zone", 1, None)]


async def test_records_go_with_their_file_and_come_back_with_it(tmp_path: Path) -> None:
    path = tmp_path / "a.zone"
    path.write_text(zone("a"))
    follower = Follower(path)
    await follower.poll()
    path.unlink()
    gone, told = await follower.poll()
    assert isinstance(gone, ZoneRead)
    assert gone.records == 0
    assert isinstance(told, ZoneRejected)
    assert told.message.startswith(f"{path} is gone")
    assert follower.names() == []
    assert follower.status() == [("a.zone", 0, told.message)]
    assert await follower.poll() == []
    path.write_text(zone("a"))
    await follower.poll()
    assert follower.names() == ["a"]
    assert follower.status() == [("a.zone", 1, None)]


async def test_files_come_and_go_in_a_directory(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    assert await follower.poll() == []
    (tmp_path / "a.zone").write_text(zone("a"))
    await follower.poll()
    assert follower.names() == ["a"]
    (tmp_path / "a.zone").rename(tmp_path / "b.zone")
    await follower.poll()
    assert follower.names() == ["a"]
    assert follower.status() == [("b.zone", 1, None)]
    (tmp_path / "b.zone").unlink()
    await follower.poll()
    assert follower.names() == []
    assert follower.status() == []


async def test_a_directory_that_goes_takes_its_records_along(tmp_path: Path) -> None:
    directory = tmp_path / "zones"
    directory.mkdir()
    (directory / "a.zone").write_text(zone("a"))
    follower = Follower(directory)
    await follower.poll()
    directory.rename(tmp_path / "elsewhere")
    await follower.poll()
    assert follower.names() == []
    assert follower.status() == [
        ("zones", 0, f"{directory} is gone, and its records with it; put it back, or start without it")
    ]


async def test_a_change_of_an_included_file_is_noticed(tmp_path: Path) -> None:
    path, included = tmp_path / "a.zone", tmp_path / "sub" / "more.inc"
    included.parent.mkdir()
    included.write_text(zone("b"))
    path.write_text(zone("a") + "$INCLUDE sub/more.inc\n")
    follower = Follower(path)
    await follower.poll()
    assert follower.names() == ["a", "b"]
    included.write_text(zone("c"))
    await follower.poll()
    assert follower.names() == ["a", "c"]
    included.unlink()
    assert (await follower.rejected()).startswith(f"{path}:2: {included} cannot be read: No such file")
    assert follower.names() == ["a", "c"]
    assert await follower.poll() == []
    included.write_text("d A nowhere")
    assert (await follower.rejected()).startswith(f"{included}:1: ")
    included.write_text(zone("e"))
    await follower.poll()
    assert follower.names() == ["a", "e"]


async def test_a_file_caught_while_it_is_written_is_read_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.zone"
    path.write_text(zone("a", "b"))
    follower = Follower(path)
    await follower.poll()
    path.write_text(zone("a"))

    real, calls = os.fstat, []

    def grows(handle: int) -> os.stat_result:
        calls.append(handle)
        if len(calls) == 2:
            path.write_text(zone("a", "b", "c"))
        return real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", grows)
        assert await follower.poll() == []
    assert follower.names() == ["a", "b"]
    await follower.poll()
    assert follower.names() == ["a", "b", "c"]


async def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    path = tmp_path / "a.zone"
    os.mkfifo(path)
    async with asyncio.timeout(10):
        assert "is no regular file" in await Follower(path).rejected()


async def test_a_file_includes_no_directory_and_no_impossible_path(tmp_path: Path) -> None:
    path = tmp_path / "a.zone"
    for name, says in ((".", "Is a directory"), ("x" * 300, "File name too long"), ("a\0b", "null byte")):
        path.write_text(f"$INCLUDE {name}\n")
        assert says in await Follower(path).rejected()


async def test_no_descriptor_stays_open_for_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.zone").mkdir()
    os.mkfifo(tmp_path / "b.zone")
    (tmp_path / "c.zone").write_text("$INCLUDE .")
    await Follower(tmp_path).poll()
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - names, not paths
    for _ in range(5):
        assert len(await Follower(tmp_path).poll()) == 3
    assert len(os.listdir("/proc/self/fd")) == len(before)  # noqa: PTH208 - as above


async def test_a_file_of_too_many_records_is_refused_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.zone"
    path.write_text(zone("a", "b", "c"))
    follower = Follower(path, max_records=2)
    assert (await follower.rejected()).startswith(f"{path}:3: this is more than 2 records")
    assert follower.names() == []


async def test_files_beyond_the_bound_are_told_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zones, "MAX_FILES", 2)
    for name in "abc":
        (tmp_path / f"{name}.zone").write_text(zone(name))
    follower = Follower(tmp_path)
    *_, told = await follower.poll()
    assert isinstance(told, ZoneRejected)
    assert told.message.startswith(f"{tmp_path} makes more than 2 zone files")
    assert follower.names() == ["a", "b"]
    assert await follower.poll() == []


async def test_a_path_that_can_no_longer_be_listed_keeps_what_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.zone").write_text(zone("a"))
    follower = Follower(tmp_path)
    await follower.poll()

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refuse)
        assert (await follower.rejected()).startswith(f"{tmp_path} cannot be read: Permission denied")
    assert follower.names() == ["a"]
    assert [status[:2] for status in follower.status()] == [("a.zone", 1), (tmp_path.name, 0)]
    assert await follower.poll() == []
    assert follower.status() == [("a.zone", 1, None)]


async def test_a_path_that_cannot_be_followed_is_told_with_its_reason(tmp_path: Path) -> None:
    follower = Follower(tmp_path / ("x" * 300))
    assert "cannot be read: File name too long" in await follower.rejected()
    assert await follower.poll() == []


async def test_changes_are_published_in_slices(tmp_path: Path) -> None:
    path = tmp_path / "a.zone"
    path.write_text(zone(*(f"h{number}" for number in range(121))))
    follower = Follower(path)
    await follower.poll()
    assert follower.portions() == [*[8] * 6, 2, *[8] * 6, 2, 8, 8, 5]
    path.write_text(zone("h0"))
    await follower.poll()
    assert sum(follower.portions()) == 120
    assert max(follower.portions()) == 8
    path.write_text("".join(f"h0 A 10.2.1.{number}\n" for number in range(100, 199)))
    await follower.poll()
    # With the first slice goes what is no longer said of its name.
    assert follower.portions()[:3] == [9, 8, 8]
    assert sum(follower.portions()) == 100
    assert follower.names() == ["h0"] * 99


LARGE = 5000


def large(first: int = 0, count: int = LARGE) -> str:
    return "".join(f"h{number} A 10.2.1.7\n" for number in range(first, first + count))


@pytest.fixture
async def follower_of_large(tmp_path: Path) -> Follower:
    """Follows a large file; what it reads from here on is read by another process."""
    (tmp_path / "a.zone").write_text(large())
    follower = Follower(tmp_path, max_records=20_000)
    await follower.poll()
    return follower


async def test_a_large_file_is_read_by_a_process_that_ends(
    follower_of_large: Follower, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    real = asyncio.create_subprocess_exec

    async def note(*args: Any, **options: Any) -> asyncio.subprocess.Process:
        started.append(await real(*args, **options))
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", note)
    (tmp_path / "a.zone").write_text(large(10) + "x 7 TXT hello\n$INCLUDE b.inc\n")
    (tmp_path / "b.inc").write_text("y CNAME h11\n")
    (event,) = await follower_of_large.poll()
    assert event == ZoneRead(tmp_path / "a.zone", LARGE + 2)
    (child,) = started
    assert child.returncode is not None
    catalog = follower_of_large.catalog
    (text,) = catalog.of_name(names.parse("x", DOMAIN))
    assert (text.owner, text.holder, text.ttl_s, text.origin) == ("peer", f"zone:{event.path}", 7, Origin.ZONE)
    assert not catalog.of_name(names.parse("h9", DOMAIN))
    assert catalog.of_name(names.parse("h5009", DOMAIN))
    assert max(follower_of_large.portions()) == 8
    (tmp_path / "b.inc").write_text("y CNAME h12\n")
    await follower_of_large.poll()
    assert len(follower_of_large.changes()) == 2
    assert len(started) == 2
    (tmp_path / "a.zone").write_text(zone("small"))
    await follower_of_large.poll()
    assert follower_of_large.names() == ["small"]
    assert len(started) == 2


async def test_what_is_wrong_in_a_large_file_is_told_as_for_a_small_one(
    follower_of_large: Follower, tmp_path: Path
) -> None:
    (tmp_path / "a.zone").write_text(large() + "x A nowhere\n")
    message = await follower_of_large.rejected()
    assert message.startswith(f"{tmp_path}/a.zone:{LARGE + 1}: 'nowhere' is no IPv4 address")
    assert len(follower_of_large.names()) == LARGE
    assert await follower_of_large.poll() == []


async def test_a_reader_that_is_killed_is_told_and_the_file_read_again(
    follower_of_large: Follower, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.zone").write_text(large(0, LARGE + 1))
    with monkeypatch.context() as patch:
        patch.setattr(zonereader, "_CHILD", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        message = await follower_of_large.rejected()
        assert message == f"{tmp_path}/a.zone cannot be read: the process that reads it was ended; it is tried again"
        assert await follower_of_large.poll() == []
    assert len(follower_of_large.names()) == LARGE
    await follower_of_large.poll()
    assert len(follower_of_large.names()) == LARGE + 1


async def test_a_reader_gets_on_where_each_moment_aside_is_a_long_one(
    follower_of_large: Follower, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = "import time; sleep = time.sleep; time.sleep = lambda _: sleep(0.002)\n"
    monkeypatch.setattr(zonereader, "_CHILD", slow + zonereader._CHILD)
    (tmp_path / "a.zone").write_text(large(0, LARGE + 1))
    assert await follower_of_large.poll() == [ZoneRead(tmp_path / "a.zone", LARGE + 1)]


async def test_a_large_file_is_read_here_when_no_process_can_be_started(
    follower_of_large: Follower, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    (tmp_path / "a.zone").write_text(large(0, LARGE + 1))
    await follower_of_large.poll()
    assert len(follower_of_large.names()) == LARGE + 1


async def test_a_reader_ends_when_the_daemon_is_killed(tmp_path: Path) -> None:
    # It is told that its parent is another one than it has, as is so when that was killed before it could look.
    reader = await asyncio.create_subprocess_exec(
        sys.executable, "-c", zonereader._CHILD, "1", *sys.path, stdin=subprocess.PIPE
    )
    async with asyncio.timeout(30):
        await reader.communicate()
    assert reader.returncode == 1


async def test_other_work_goes_on_while_a_large_file_is_read(follower_of_large: Follower, tmp_path: Path) -> None:
    turns = 0

    async def other_work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    (tmp_path / "a.zone").write_text(large(LARGE))
    task = asyncio.create_task(other_work())
    await follower_of_large.poll()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    # A turn for each slice that comes, and for each that goes.
    assert turns >= 2 * LARGE / 50


async def test_files_are_followed_until_cancelled(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.zone"
    path.write_text(zone("a"))
    follower = Follower(path)
    await follower.poll()

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - a condition of what is logged and published
                await asyncio.sleep(0)

    following = asyncio.create_task(follower.watcher.follow())
    path.write_text("a A nowhere")
    await until(lambda: f"{path}:1: 'nowhere' is no IPv4 address" in caplog.text)
    assert "what the file said before is still served" in caplog.text
    path.write_text(zone("b", "c"))
    await until(lambda: follower.names() == ["b", "c"])
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following


CONFLICTS = [
    ("web A 10.2.1.7\n", "web CNAME redis\n", "b.zone:1: web.weave.local has A 10.2.1.7 (of {}/a.zone) already"),
    ("web CNAME redis\n", "x A 10.2.1.7\nweb A 10.2.1.7\n", "b.zone:2: web.weave.local has CNAME redis.weave.local"),
    ("web CNAME redis\n", "web CNAME nas\n", "b.zone:1: web.weave.local has CNAME redis.weave.local"),
]


@pytest.mark.parametrize(("one", "other", "says"), CONFLICTS)
async def test_two_files_that_contradict_each_other_are_told_and_the_second_is_left_out(
    tmp_path: Path, one: str, other: str, says: str
) -> None:
    (tmp_path / "a.zone").write_text(one)
    (tmp_path / "b.zone").write_text(other)
    follower = Follower(tmp_path)
    read, rejected = await follower.poll()
    assert read == ZoneRead(tmp_path / "a.zone", 1)
    assert isinstance(rejected, ZoneRejected)
    assert rejected.message.startswith(f"{tmp_path}/{says.format(tmp_path)}")
    assert f"(of {tmp_path}/a.zone)" in rejected.message
    assert follower.names() == ["web"]
    assert await follower.poll() == []
    # When the first is corrected, the second is good as it stands.
    (tmp_path / "a.zone").write_text(zone("nas"))
    assert len(await follower.poll()) == 2
    assert sorted({"nas", "web"} - set(follower.names())) == []
    assert [error for *_, error in follower.status()] == [None, None]


async def test_a_conflict_ends_when_the_other_file_goes(tmp_path: Path) -> None:
    (tmp_path / "a.zone").write_text("web A 10.2.1.7\n")
    (tmp_path / "b.zone").write_text("web CNAME redis\n")
    follower = Follower(tmp_path)
    await follower.poll()
    (tmp_path / "a.zone").unlink()
    await follower.poll()
    await follower.poll()
    assert follower.status() == [("b.zone", 1, None)]


async def test_equal_aliases_in_two_files_are_no_conflict(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.zone").write_text("web CNAME redis\n")
    follower = Follower(tmp_path)
    assert await follower.poll() == [ZoneRead(tmp_path / f"{name}.zone", 1) for name in "ab"]


async def test_a_name_that_moves_between_two_files_is_no_conflict(tmp_path: Path) -> None:
    (tmp_path / "a.zone").write_text(zone("x"))
    (tmp_path / "b.zone").write_text("web CNAME x\n")
    follower = Follower(tmp_path)
    await follower.poll()
    (tmp_path / "a.zone").write_text(zone("x", "web"))
    (tmp_path / "b.zone").write_text(zone("y"))
    assert all(isinstance(event, ZoneRead) for event in await follower.poll())
    assert follower.names() == ["web", "x", "y"]


async def test_the_example_is_a_zone_file() -> None:
    follower = Follower(EXAMPLE)
    (event,) = await follower.poll()
    assert isinstance(event, ZoneRead)
    assert "printer" in follower.names()


async def test_a_large_file_is_read_where_no_lower_priority_is_given(
    follower_of_large: Follower, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "chrt").write_text("#!/bin/sh\nexit 1\n")
    (programs / "chrt").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    (tmp_path / "a.zone").write_text(large(10))
    assert await follower_of_large.poll() == [ZoneRead(tmp_path / "a.zone", LARGE)]


async def test_the_many_records_of_a_name_are_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.zone"
    follower = Follower(path)
    for version in (1, 2):
        path.write_text("".join(f"big A 10.{version}.{number >> 8}.{number & 255}\n" for number in range(900)))
        await follower.poll()
    (first, *rest) = (part for part in follower.published if part)
    # All that went did so with the first that came.
    assert sum(not change.added for change in first) == 900
    assert all(change.added for part in rest for change in part)
    assert len(follower.names()) == 900
