"""What `weavedns export` writes is taken by three other implementations, and by `--zones` as the same records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.served import served
from tests.conformance.zonedata import DOMAIN, ZONE, run, weavedns

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


def _without_serial(text: str) -> list[str]:
    return [line for line in text.splitlines() if "; serial" not in line]
