from __future__ import annotations

from pathlib import Path

import pytest

from weavedns.cluster.passwords import PasswordFile
from weavedns.gossip.seal import Key, Keyring


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "password"
    made.write_text("old\n")
    return made


def followed(path: Path) -> PasswordFile:
    return PasswordFile(path, "weave", ("old",), lambda _keyring: None)


def test_what_the_file_says_anew_is_taken_in_once(path: Path) -> None:
    file = followed(path)
    assert file.poll() is None
    path.write_text("old\nnew\n")
    assert file.poll() == Keyring((Key.from_password("old", "weave"), Key.from_password("new", "weave")))
    assert file.poll() is None
    path.write_text("new\nold\n")
    keyring = file.poll()
    assert keyring is not None
    assert keyring.keys[0] == Key.from_password("new", "weave")


@pytest.mark.parametrize("text", ["", "\n\n", "1\n2\n3\n", None])
def test_a_file_that_is_of_no_use_changes_nothing_and_is_told_once(
    path: Path, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = followed(path)
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    assert file.poll() is None
    assert file.poll() is None
    assert len(caplog.records) == 1
    assert "the passwords of before stay valid" in caplog.text
    path.write_text("old\n")
    assert file.poll() is None
    path.write_text("new\n")
    assert file.poll() is not None
