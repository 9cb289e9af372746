"""What `weavedns export` writes is taken by three other implementations, and by `--zones` as the same records."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.served import ROOT, served
from tests.conformance.zonedata import DEADLINE_S, DOMAIN, ZONE, command, run, weavedns

CHECKERS = [
    ("nsd-checkzone", DOMAIN),
    ("named-checkzone", "-i", "local", DOMAIN),
    ("kzonecheck", "-o", DOMAIN),
]
_BY_ID = [checker[0] for checker in CHECKERS]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of a daemon with a rich zone, and records that people added to it."""
    directory = tmp_path_factory.mktemp("daemon")
    with served(directory, zone=ZONE):
        weavedns(directory, "add", "added", "192.0.2.1", "2001:db8::1")
        weavedns(directory, "add", "link", "added", "--type", "CNAME", "--ttl", "60")
        weavedns(directory, "add", "*.added", "192.0.2.2")
        weavedns(directory, "add", "db", "10.2.0.5", "10.2.0.6")
        yield directory


def rows(directory: Path) -> set[tuple[str, ...]]:
    """Name, type, data and TTL of each record that a daemon lists."""
    listed = weavedns(directory, "ls", "--format", "json").splitlines()
    return {tuple(str(json.loads(line)[key]) for key in ("name", "type", "data", "ttl")) for line in listed}


@pytest.mark.parametrize("checker", CHECKERS, ids=_BY_ID)
def test_other_servers_take_the_exported_file(daemon: Path, tmp_path: Path, checker: tuple[str, ...]) -> None:
    path = tmp_path / "exported.zone"
    path.write_text(weavedns(daemon, "export"))
    run(*checker, str(path))


@pytest.mark.parametrize("checker", CHECKERS, ids=_BY_ID)
def test_they_take_the_file_of_a_daemon_with_no_record_at_all(tmp_path: Path, checker: tuple[str, ...]) -> None:
    with served(tmp_path, zone="ready A 10.2.0.9"):
        path = tmp_path / "exported.zone"
        path.write_text(weavedns(tmp_path, "export"))
    run(*checker, str(path))


@pytest.mark.parametrize("checker", CHECKERS, ids=_BY_ID)
def test_they_would_refuse_a_broken_file(daemon: Path, tmp_path: Path, checker: tuple[str, ...]) -> None:
    path = tmp_path / "exported.zone"
    path.write_text(weavedns(daemon, "export") + "redis CNAME web\n")
    run(*checker, str(path), fails=True)


def test_an_exported_file_gives_another_daemon_the_same_records(daemon: Path, tmp_path: Path) -> None:
    exported = weavedns(daemon, "export")
    with served(tmp_path, zone=exported):
        assert rows(tmp_path) == rows(daemon)
        again = weavedns(tmp_path, "export")
    assert _without_serial(again) == _without_serial(exported)


def test_an_alias_where_a_name_has_data_is_refused_by_name_and_nothing_changes(daemon: Path) -> None:
    before = rows(daemon)
    told = weavedns(daemon, "add", "redis", "web", "--type", "CNAME", fails=True)
    assert "redis.weave.local has A 10.2.0.1" in told
    assert "CNAME web.weave.local. cannot stand beside it" in told
    assert "stands alone" in weavedns(daemon, "add", "www", "192.0.2.1", fails=True)
    assert rows(daemon) == before


def test_lookup_follows_aliases_and_wildcards_and_prints_the_soa(daemon: Path) -> None:
    assert weavedns(daemon, "lookup", "anyapp").split() == ["10.2.3.1"]
    assert weavedns(daemon, "lookup", "anyapp", "CNAME").split() == ["any.apps.weave.local."]
    soa = weavedns(daemon, "lookup", DOMAIN, "SOA")
    assert soa.startswith("weavedns.weave.local. hostmaster.weave.local. ")


@pytest.mark.parametrize(
    "words",
    [
        ("ls",),
        ("ls", "--format", "json"),
        ("ls", "-q"),
        ("export",),
        ("status",),
        ("status", "--format", "json"),
        ("lookup", "redis"),
    ],
    ids=" ".join,
)
def test_output_that_cannot_be_written_is_told_in_one_line_and_a_reader_that_left_in_none(
    daemon: Path, words: tuple[str, ...]
) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command(daemon, *words), stdout=full, stderr=subprocess.PIPE, cwd=ROOT, timeout=DEADLINE_S, check=False
        )
    assert done.returncode == 1
    assert done.stderr == b"Error: the output cannot be written: No space left on device; make room for it\n"
    reader, writer = os.pipe()
    os.close(reader)
    gone = subprocess.run(
        command(daemon, *words), stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, timeout=DEADLINE_S, check=False
    )
    os.close(writer)
    assert (gone.returncode, gone.stderr) == (0, b"")


TYPES = [
    ("A", "10.2.6.1"),
    ("AAAA", "2001:db8::6"),
    ("PTR", "redis.weave.local."),
    ("SRV", "1 2 80 redis.weave.local."),
    ("TXT", '"one" "two words"'),
    ("CNAME", "redis.weave.local."),
    ("MX", "10 redis.weave.local."),
    ("NS", "redis.weave.local."),
    ("TYPE65280", r"\# 3 000102"),
    ("TYPE1", "10.2.6.2"),
    ("TYPE257", r"\# 7 00056973737565"),
]


def test_each_type_can_be_added_is_listed_exported_and_removed(daemon: Path) -> None:
    before = rows(daemon)
    for rtype, data in TYPES:
        weavedns(daemon, "add", f"typed-{rtype}", data, "--type", rtype, "--ttl", "77")
    added = rows(daemon) - before
    assert {(name, data, ttl) for name, _, data, ttl in added} == {
        (f"typed-{rtype}.weave.local".lower(), data, "77") for rtype, data in TYPES
    }
    exported = weavedns(daemon, "export")
    for _, rtype, data, _ in added:
        assert f"77 IN {rtype} {data}" in exported
    for rtype, _ in TYPES:
        weavedns(daemon, "remove", f"typed-{rtype}")
    assert rows(daemon) == before


def _without_serial(text: str) -> list[str]:
    return [line for line in text.splitlines() if "; serial" not in line]
