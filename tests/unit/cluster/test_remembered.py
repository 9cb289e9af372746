"""Where other peers were is a hint: what is broken is left out, and nothing keeps a daemon from starting."""

from __future__ import annotations

from pathlib import Path

import pytest

from weavedns.cluster.remembered import MAX_REMEMBERED, RememberedPeers

H2, H3 = ("10.99.0.2", 6783), ("10.99.0.3", 7000)


async def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    await RememberedPeers(tmp_path / "state" / "peers").save([H3, H2, H2])
    assert await RememberedPeers(tmp_path / "state" / "peers").load() == (H2, H3)


async def test_nothing_is_remembered_at_first_and_after_the_last_has_left(tmp_path: Path) -> None:
    peers = RememberedPeers(tmp_path / "peers")
    assert await peers.load() == ()
    await peers.save([H2])
    await peers.save([])
    assert await RememberedPeers(tmp_path / "peers").load() == ()


@pytest.mark.parametrize(
    "line",
    [
        b"host2 6783",
        b"10.99.0.2",
        b"10.99.0.2 0",
        b"10.99.0.2 65536",
        b"10.99.0.2 99999999999999999999",
        b"10.99.0.2 -1",
        b"10.99.0.2 6783 more",
        b"0.0.0.0 6783",
        b"\xff\xfe\x00",
        b"::1 6783",
    ],
)
async def test_a_line_that_is_no_address_is_left_out_and_the_others_are_not(
    tmp_path: Path, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "peers").write_bytes(b"# a comment\n\n" + line + b"\n10.99.0.3 7000\n")
    assert await RememberedPeers(tmp_path / "peers").load() == (H3,)
    assert "1 lines are no address" in caplog.text


async def test_no_more_are_read_or_written_than_are_of_use(tmp_path: Path) -> None:
    many = [(f"10.99.{number // 250}.{number % 250 + 1}", 6783) for number in range(3 * MAX_REMEMBERED)]
    await RememberedPeers(tmp_path / "peers").save(many)
    assert len((tmp_path / "peers").read_text().splitlines()) == MAX_REMEMBERED + 1
    (tmp_path / "peers").write_text("".join(f"{host} {port}\n" for host, port in many))
    assert len(await RememberedPeers(tmp_path / "peers").load()) == MAX_REMEMBERED


async def test_a_file_that_cannot_be_read_or_written_is_told_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "peers").mkdir()
    peers = RememberedPeers(tmp_path / "peers")
    assert await peers.load() == ()
    assert "cannot read" in caplog.text
    await peers.save([H2])
    await peers.save([H2])
    assert caplog.text.count("cannot write") == 1
    assert not peers._path.with_name("peers.new").exists()


async def test_a_host_name_is_not_remembered(tmp_path: Path) -> None:
    peers = RememberedPeers(tmp_path / "peers")
    await peers.save([("host2", 6783), H3])
    assert await peers.load() == (H3,)
