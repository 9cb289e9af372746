"""The frame of both command lines: the settings file, the options that many commands share, errors in one line."""

from __future__ import annotations

import difflib
import errno
import os
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from weavenet.control import DEFAULT_SOCKET, Client
from weavenet.errors import WeaveNetError

DEFAULT_CONFIG = Path("/etc/weavedns/weavedns.toml")
ENV_PREFIX = "WEAVEDNS_"

# What a write to a full disk, or one past a limit, ends with.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Command = TypeVar("Command", bound=Callable[..., Any])


class FilePath(click.Path):
    """A path that the daemon or the kernel judges, not the command line.

    Several of them in one environment variable are separated by blanks, as every other list is.
    """

    def __init__(self) -> None:
        super().__init__(readable=False, path_type=Path)

    def split_envvar_value(self, rv: str) -> list[str]:
        """The paths in an environment variable."""
        return rv.split()


def setting(flag: str, *more: str, **attributes: Any) -> Callable[[Command], Command]:
    """An option that also has an environment variable and a key in the settings file.

    Options that ask something of one call alone, such as `--clean`, are plain click options.
    """
    name = flag.lstrip("-")
    variable = ENV_PREFIX + name.upper().replace("-", "_")
    attributes.setdefault("show_default", True)
    return click.option(flag, *more, envvar=variable, show_envvar=True, **attributes)


def listed_argument(name: str, **attributes: Any) -> Callable[[Command], Command]:
    """An argument that may be given again and, as `setting`, has an environment variable and a key in the file."""
    return click.argument(name, nargs=-1, envvar=ENV_PREFIX + name.upper(), **attributes)


class Group(click.Group):
    """A command group that reads the settings file first and tells its package's errors in one line, exit code 1.

    The file's keys are the long flags of what `setting` made for the group's commands, and the names of what
    `listed_argument` made, with `-` or `_`; the command line beats the environment, which beats the file.
    """

    def __init__(
        self,
        *args: Any,
        errors: tuple[type[Exception], ...] = (),
        known_keys: frozenset[str] = frozenset(),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._errors: tuple[type[Exception], ...] = (WeaveNetError, *errors)
        self._known_keys = known_keys
        self.params.append(
            click.Option(
                ["--config"],
                type=FilePath(),
                envvar=ENV_PREFIX + "CONFIG",
                show_envvar=True,
                help=f"The settings file.  [default: {DEFAULT_CONFIG}]",
            )
        )

    def keys(self) -> frozenset[str]:
        """Every key that the settings file may have for this group."""
        return frozenset(_key(option) for option in self._settings())

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command with the settings file as its defaults."""
        given = ctx.params.pop("config", None)
        try:
            path = given or DEFAULT_CONFIG
            values = _read(path, must_exist=given is not None, keys=self.keys() | self._known_keys)
            ctx.default_map = {name: _defaults(command, values, path) for name, command in self.commands.items()}
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader of a listing went away, as `head` does: nothing to tell, also not when Python ends.
            _give_output_up()
            ctx.exit(0)
        except OSError as exc:
            if exc.errno not in _NO_ROOM or exc.filename is not None:
                raise
            _give_output_up()
            raise click.ClickException(f"the output cannot be written: {exc.strerror}; make room for it") from exc
        except self._errors as exc:
            raise click.ClickException(" ".join(str(exc).split())) from exc

    def _settings(self) -> Iterator[click.Parameter]:
        for command in self.commands.values():
            yield from filter(_is_setting, command.params)


def _give_output_up() -> None:
    """Let nothing that is still to be written be a second error when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_setting(param: click.Parameter) -> bool:
    return param.envvar is not None


def _key(param: click.Parameter) -> str:
    """The key in the settings file: the long flag, whatever the command calls the value, or an argument's name."""
    return max(param.opts, key=len).lstrip("-").replace("-", "_")


def _defaults(command: click.Command, values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    return {
        param.name or "": _checked(param, values[_key(param)], path)
        for param in filter(_is_setting, command.params)
        if _key(param) in values
    }


def _checked(option: click.Parameter, value: Any, path: Path) -> Any:
    """The value of a key, when it is of the kind that the option takes; a list of one needs no brackets."""
    several = option.multiple or option.nargs == -1
    each = value if several and isinstance(value, list) else [value]
    wanted: type = str
    kind = "a text in quotes"
    if isinstance(option, click.Option) and option.is_flag:
        wanted, kind = bool, "true or false"
    elif option.type is click.INT:
        wanted, kind = int, "a whole number"
    if any(type(one) is not wanted for one in each):
        more = ", or a list of them" if several else ""
        raise SettingsFileError(f"{path}: {_key(option).replace('_', '-')} = {value!r} is wrong; write {kind}{more}")
    try:
        for one in each:
            option.type.convert(one, option, None)
    except click.BadParameter as exc:
        raise SettingsFileError(f"{path}: {_key(option).replace('_', '-')}: {exc.message}") from exc
    return each if several else value


def _read(path: Path, *, must_exist: bool, keys: frozenset[str]) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as exc:
        if not must_exist:
            return {}
        raise SettingsFileError(f"there is no settings file {path}; correct --config or make the file") from exc
    except OSError as exc:
        cure = "run this as root" if isinstance(exc, PermissionError) else "correct --config"
        raise SettingsFileError(f"the settings file {path} cannot be read: {exc.strerror}; {cure}") from exc
    try:
        values = tomllib.loads(raw.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SettingsFileError(f"the settings file {path} is no valid TOML: {exc}") from exc
    settings = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in keys:
            close = difflib.get_close_matches(name, keys, n=1)
            cure = f"did you mean {close[0].replace('_', '-')!r}?" if close else "remove it"
            raise SettingsFileError(f"{path}: unknown key {key!r}; {cure}")
        settings[name] = value
    return settings


class SettingsFileError(WeaveNetError):
    """The settings file is unreadable, malformed, or has a key that is not known."""


def socket_option(command: Command) -> Command:
    """The `--socket` option; the command gets a `client`."""
    option = setting(
        "--socket",
        "client",
        type=FilePath(),
        default=DEFAULT_SOCKET,
        callback=lambda _ctx, _param, path: Client(path),
        help="The daemon's control socket.",
    )
    return option(command)


def listing_options(command: Command) -> Command:
    """The options of every listing: `--format` (`form`) and `-q` (`quiet`)."""
    form = setting(
        "--format",
        "form",
        type=click.Choice(["table", "json"]),
        default="table",
        help="A table for people, or one JSON object a line.",
    )
    quiet = click.option("-q", "--quiet", is_flag=True, help="Only the first column.")
    return form(quiet(command))
