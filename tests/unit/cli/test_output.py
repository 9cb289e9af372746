"""How listings are printed: tables for people, plain text without a terminal or colours, objects and keys."""

import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest

from weavenet.cli.output import listing

ROWS: list[dict[str, Any]] = [
    {"name": "app", "addresses": ["10.2.0.1/16", "10.2.67.1/24"], "mac": None, "ttl": 1, "extra": "x"},
    {"name": "a-longer-name", "addresses": [], "mac": "02:00", "ttl": 30, "extra": "[red]y[/red]"},
    {"name": "app", "addresses": ["10.2.0.2/16"], "mac": "02:01", "ttl": 1, "extra": "z"},
]
COLUMNS = ["name", "addresses", "mac", "ttl"]
SHOW = "from weavenet.cli.output import listing; listing([{}], {}, form='table', quiet=False, key='name')"


def test_a_table_has_a_head_aligned_columns_and_no_trailing_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    listing(ROWS, COLUMNS, form="table", quiet=False, key="name")
    assert capsys.readouterr().out == (
        "NAME           ADDRESSES                 MAC    TTL\n"
        "app            10.2.0.1/16 10.2.67.1/24         1\n"
        "a-longer-name                            02:00  30\n"
        "app            10.2.0.2/16               02:01  1\n"
    )


def test_an_empty_table_is_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    listing([], COLUMNS, form="table", quiet=False, key="name")
    assert capsys.readouterr().out == "NAME  ADDRESSES  MAC  TTL\n"
    for form, quiet in (("json", False), ("table", True)):
        listing([], COLUMNS, form=form, quiet=quiet, key="name")
        assert capsys.readouterr().out == ""


def test_programs_get_whole_objects_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    listing(ROWS, COLUMNS, form="json", quiet=False, key="name")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == ROWS


@pytest.mark.parametrize("form", ["table", "json"])
def test_quiet_prints_each_key_once(capsys: pytest.CaptureFixture[str], form: str) -> None:
    listing(ROWS, COLUMNS, form=form, quiet=True, key="name")
    assert capsys.readouterr().out == "app\na-longer-name\n"


def on_a_terminal(columns: int, env: dict[str, str]) -> str:
    """What a table looks like to a person."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns)} | env
    code = SHOW.format({"name": "[red]app[/red]", "data": "x" * 60}, ["name", "data"])
    process = subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:
        pass  # how Linux tells that the other end was closed
    finally:
        os.close(ours)
    assert process.wait(20) == 0, shown
    return shown.decode()


def test_a_person_gets_bold_heads_and_long_cells_folded_with_nothing_lost_or_interpreted() -> None:
    shown = on_a_terminal(40, {"NO_COLOR": ""})
    assert "\x1b[1mNAME" in shown
    assert shown.count("x") == 60
    assert "[red]app" in shown
    assert max(len(line) for line in shown.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()) <= 40


def test_no_color_gives_plain_text_on_a_terminal_too() -> None:
    assert "\x1b" not in on_a_terminal(40, {"NO_COLOR": "1"})
