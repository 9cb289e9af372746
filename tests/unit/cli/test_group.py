"""The frame of both command lines: flags, environment and settings file, errors in one line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from weavenet.cli import group
from weavenet.errors import WeaveNetError


class TeaError(Exception):
    pass


@click.group(cls=group.Group, errors=(TeaError,), known_keys=frozenset({"bread"}))
def tea() -> None:
    """Make tea."""


@tea.command()
@group.setting("--water", default="tap")
@group.setting("--cups", "number", type=int, default=1)
@group.setting("--no-milk", is_flag=True)
@group.setting("--leaf", multiple=True)
@group.setting("--shelf", multiple=True, type=group.FilePath())
@group.setting("--kind", type=click.Choice(["green", "black"]), default="black")
@click.option("--now", is_flag=True)
def brew(**given: Any) -> None:
    click.echo(json.dumps(given, default=str))


@tea.command()
@group.listed_argument("guests")
def invite(guests: tuple[str, ...]) -> None:
    click.echo(" ".join(guests))


@tea.command()
@click.argument("kind")
def spill(kind: str) -> None:
    raise {"net": WeaveNetError, "tea": TeaError, "bug": ZeroDivisionError}[kind]("in two\n  lines")


@pytest.fixture(autouse=True)
def default_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "weavedns.toml"
    monkeypatch.setattr(group, "DEFAULT_CONFIG", path)
    return path


def call(*args: str, env: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(tea, args, env=env, prog_name="tea")


def brewed(*args: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    result = call("brew", *args, env=env)
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.output))


def refused(*args: str, code: int = 1) -> str:
    result = call(*args)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    return result.stderr


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(default_file: Path) -> None:
    assert brewed()["water"] == "tap"
    default_file.write_text('water = "file"')
    environment = {"WEAVEDNS_WATER": "environment"}
    assert brewed()["water"] == "file"
    assert brewed(env=environment)["water"] == "environment"
    assert brewed("--water", "flag", env=environment)["water"] == "flag"


def test_an_empty_variable_is_no_variable(default_file: Path) -> None:
    default_file.write_text('water = "file"')
    assert brewed(env={"WEAVEDNS_WATER": "", "WEAVEDNS_LEAF": "", "WEAVEDNS_CONFIG": ""}) == {
        **brewed(),
        "water": "file",
    }


def test_the_file_gives_every_kind_of_value_under_either_spelling(default_file: Path) -> None:
    default_file.write_text(
        'water = "spring"\ncups = 3\nno-milk = true\nleaf = ["a b", "c"]\nshelf = "/s"\nkind = "green"\nbread = 5\n'
    )
    found = {"water": "spring", "number": 3, "no_milk": True, "leaf": ["a b", "c"], "shelf": ["/s"], "kind": "green"}
    assert brewed() == {**found, "now": False}
    default_file.write_text("no_milk = true")
    assert brewed()["no_milk"] is True


def test_arguments_that_are_settings_come_from_the_line_or_else_the_environment_or_else_the_file(
    default_file: Path,
) -> None:
    def invited(*args: str, env: Mapping[str, str] | None = None) -> list[str]:
        return call("invite", *args, env=env).stdout.split()

    assert invited() == []
    default_file.write_text('guests = ["ann", "bob"]')
    assert invited() == ["ann", "bob"]
    assert invited(env={"WEAVEDNS_GUESTS": "cid  dan"}) == ["cid", "dan"]
    assert invited(env={"WEAVEDNS_GUESTS": ""}) == ["ann", "bob"]
    assert invited("eve", env={"WEAVEDNS_GUESTS": "cid"}) == ["eve"]


def test_lists_in_the_environment_are_separated_by_blanks() -> None:
    found = brewed(env={"WEAVEDNS_LEAF": "a  b:c", "WEAVEDNS_SHELF": "/s:1 /t"})
    assert (found["leaf"], found["shelf"]) == (["a", "b:c"], ["/s:1", "/t"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("water = ", "is no valid TOML"),
        ('water = "\xff"', "is no valid TOML"),
        ('watr = "x"', "unknown key 'watr'; did you mean 'water'?"),
        ("nomilk = true", "did you mean 'no-milk'?"),
        ("zzz = 1", "unknown key 'zzz'; remove it"),
        ("now = true", "unknown key 'now'"),  # a question about one call is no setting
        ("config = 'x'", "unknown key 'config'"),
        ("[water]\nx = 1", "write a text in quotes"),
        ("water = 5", "water = 5 is wrong; write a text in quotes"),
        ("water = ['a']", "water = ['a'] is wrong"),
        ("cups = '5'", "cups = '5' is wrong; write a whole number"),
        ("cups = 1.5", "cups = 1.5 is wrong"),
        ("cups = true", "cups = True is wrong"),
        ("no-milk = 1", "no-milk = 1 is wrong; write true or false"),
        ("leaf = 5", "leaf = 5 is wrong; write a text in quotes, or a list of them"),
        ("leaf = [[]]", "leaf = [[]] is wrong"),
        ("shelf = [{}]", "shelf = [{}] is wrong"),
        ("guests = 5", "guests = 5 is wrong; write a text in quotes, or a list of them"),
        ("kind = 'blue'", "kind: 'blue' is not one of 'green', 'black'"),
    ],
)
def test_a_wrong_settings_file_fails_every_command_with_its_name_and_the_key(
    default_file: Path, text: str, told: str
) -> None:
    default_file.write_bytes(text.encode("latin-1"))
    for command in (["brew"], ["spill", "net"]):
        said = refused(*command)
        assert said.startswith("Error: ")
        assert said.count("\n") == 1
        assert told in said
        assert str(default_file) in said


def test_the_default_file_need_not_be_there_but_a_named_one_must(tmp_path: Path) -> None:
    assert brewed()["water"] == "tap"
    missing = tmp_path / "missing.toml"
    assert f"there is no settings file {missing}" in refused("--config", str(missing), "brew")
    assert "cannot be read: Is a directory; correct --config" in refused("--config", str(tmp_path), "brew")
    named = tmp_path / "named.toml"
    named.write_text('water = "named"')
    assert json.loads(call("--config", str(named), "brew").output)["water"] == "named"
    assert brewed(env={"WEAVEDNS_CONFIG": str(named)})["water"] == "named"


def test_an_unreadable_file_is_told_with_the_cure(default_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default_file.write_text("")

    def denied(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)  # root may read everything
    assert "cannot be read: Permission denied; run this as root" in refused("brew")


@pytest.mark.parametrize("kind", ["net", "tea"])
def test_an_error_of_ours_is_one_line_on_stderr_and_exit_code_1(kind: str) -> None:
    assert refused("spill", kind) == "Error: in two lines\n"


def test_a_bug_is_not_dressed_up_as_an_error_of_the_user() -> None:
    assert isinstance(call("spill", "bug").exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["brew", "--watr", "x"], "--water"),
        (["brew", "--cups", "many"], "'many' is not a valid integer"),
        (["brew", "--kind", "blue"], "is not one of 'green', 'black'"),
        (["brew", "extra"], "unexpected extra argument"),
        (["bew"], "Did you mean 'brew'?"),
        ([], "Usage: tea"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_is_right(args: list[str], told: str) -> None:
    assert told in refused(*args, code=2)


def test_the_keys_are_what_settings_there_are() -> None:
    assert tea.keys() == {"guests", "water", "cups", "no_milk", "leaf", "shelf", "kind"}
