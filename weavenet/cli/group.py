"""The frame of both command lines: the settings file, the options that many commands share, errors in one line."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from weavenet.control import DEFAULT_SOCKET, Client
from weavenet.errors import WeaveNetError

DEFAULT_CONFIG = Path("/etc/weavedns/weavedns.toml")
ENV_PREFIX = "WEAVEDNS_"
# Questions about one call, not settings of a machine: they have no key and no variable.
_NOT_SETTINGS = frozenset({"help", "config", "version"})

Command = TypeVar("Command", bound=Callable[..., Any])


def setting(flag: str, *more: str, **attributes: Any) -> Callable[[Command], Command]:
    """An option that also has an environment variable and a key in the settings file, as all of ours have."""
    name = flag.lstrip("-")
    variable = ENV_PREFIX + name.upper().replace("-", "_")
    attributes.setdefault("show_default", True)
    return click.option(flag, *more, envvar=variable, show_envvar=True, **attributes)


class Group(click.Group):
    """A command group that reads the settings file first and tells its package's errors in one line, exit code 1.

    The file's keys are the long flags of all the group's commands, with `-` or `_`; flags beat the environment,
    which beats the file.
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
                type=click.Path(path_type=Path),
                envvar=ENV_PREFIX + "CONFIG",
                show_envvar=True,
                help=f"The settings file.  [default: {DEFAULT_CONFIG}]",
            )
        )

    def keys(self) -> frozenset[str]:
        """Every key that the settings file may have for this group."""
        names: set[str] = set()
        commands: list[click.Command] = list(self.commands.values())
        while commands:
            command = commands.pop()
            if isinstance(command, click.Group):
                commands += command.commands.values()
            names |= {_key(param) for param in command.params if isinstance(param, click.Option)}
        return frozenset(names - _NOT_SETTINGS)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command with the settings file as its defaults."""
        given = ctx.params.pop("config", None)
        try:
            values = _read(given or DEFAULT_CONFIG, must_exist=given is not None, keys=self.keys() | self._known_keys)
            ctx.default_map = {name: self._defaults(command, values) for name, command in self.commands.items()}
            return super().invoke(ctx)
        except Exception as exc:
            if not isinstance(exc, self._errors):
                raise
            raise click.ClickException(" ".join(str(exc).split())) from exc
        except BrokenPipeError:
            # The reader of a listing went away, as `head` does: nothing to tell.
            ctx.exit(0)

    def _defaults(self, command: click.Command, values: Mapping[str, Any]) -> dict[str, Any]:
        if isinstance(command, click.Group):
            return {name: self._defaults(sub, values) for name, sub in command.commands.items()}
        return {param.name or "": values[_key(param)] for param in command.params if _key(param) in values}


def _key(param: click.Parameter) -> str:
    """The key of an option in the settings file: its long flag, whatever the command calls the value."""
    flag = next((opt for opt in param.opts if opt.startswith("--")), param.name or "")
    return flag.lstrip("-").replace("-", "_")


def _read(path: Path, *, must_exist: bool, keys: frozenset[str]) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as exc:
        if not must_exist:
            return {}
        raise SettingsFileError(f"there is no settings file {path}; correct --config or make the file") from exc
    except OSError as exc:
        raise SettingsFileError(f"the settings file {path} cannot be read: {exc.strerror}; check its mode") from exc
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
        if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, (dict, list)) for v in value)):
            raise SettingsFileError(f"{path}: {key} takes a value or a list of values, not a table")
        settings[name] = value
    return settings


class SettingsFileError(WeaveNetError):
    """The settings file is unreadable, malformed, or has a key that is not known."""


def socket_option(command: Command) -> Command:
    """The `--socket` option; the command gets a `client`."""
    option = setting(
        "--socket",
        "client",
        type=click.Path(path_type=Path),
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
