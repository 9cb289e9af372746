"""The commands themselves: their help, their settings, and what each asks of the daemon."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import weavedns.cli
import weavenet.cli
from weavedns import daemon
from weavedns.config import Settings
from weavenet import control
from weavenet.cli import group
from weavenet.errors import ControlError, NoDaemonError

MAINS: dict[str, group.Group] = {"weavedns": weavedns.cli.main, "weavenet": weavenet.cli.main}
COMMANDS = [(name, sub) for name, main in MAINS.items() for sub in main.commands]


class FakeDaemon:
    """Stands in the place of the control client: what it was asked, and what it is to answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any, Mapping[str, str] | None]] = []
        self.answers: list[Any] = []

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        self.asked.append((method, path, body, query))
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeDaemon:
    fake = FakeDaemon()
    monkeypatch.setattr(control.Client, "call", fake.call)
    return fake


@pytest.fixture(autouse=True)
def no_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "DEFAULT_CONFIG", tmp_path / "weavedns.toml")


def call(line: str, *more: str, env: Mapping[str, str] | None = None) -> Result:
    main, *args = line.split()
    return CliRunner().invoke(MAINS[main], [*args, *more], env=env, prog_name=main)


# Help


@pytest.mark.parametrize(("main", "command"), COMMANDS)
def test_every_command_has_help_with_an_example_of_itself(main: str, command: str) -> None:
    result = call(f"{main} {command} --help")
    assert result.exit_code == 0
    assert f"Usage: {main} {command} " in result.output
    assert re.search(rf"Examples?:\n +{main} {'remove' if command == 'rm' else command}\b", result.output)
    for param in MAINS[main].commands[command].params:
        assert not isinstance(param, click.Option) or param.help, f"{param.name} is not explained"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("launch", "this host's share of the addresses and where other peers were"),
        ("join", "The next launch looks for all that were joined, too"),
        ("forget", "PEER|ADDRESS[:PORT]"),
    ],
)
def test_the_help_says_what_is_kept_and_what_drops_it(command: str, told: str) -> None:
    assert told in " ".join(call(f"weavedns {command} --help").output.split())


@pytest.mark.parametrize("main", MAINS)
def test_the_list_of_commands_is_whole_and_not_cut_off(main: str) -> None:
    result = call(f"{main} --help")
    assert "Examples:" in result.output
    assert "..." not in result.output.partition("Commands:")[2]
    assert call(main).exit_code == 2  # without a command there is nothing to be done
    assert "Commands:" in call(main).stderr


@pytest.mark.parametrize("main", MAINS)
def test_both_tell_the_version(main: str) -> None:
    assert call(f"{main} --version").output == f"{main}, version {weavedns.__version__}\n"


@pytest.mark.parametrize(
    ("line", "told"),
    [("weavedns statsu", "'status'"), ("weavedns lauch", "'launch'"), ("weavenet atach", "'attach'")],
)
def test_a_mistyped_command_is_answered_with_the_right_one(line: str, told: str) -> None:
    result = call(line)
    assert result.exit_code == 2
    assert "Did you mean" in result.stderr
    assert told in result.stderr


# Settings


def options(main: str, command: str) -> list[click.Option]:
    found = MAINS[main].commands[command].params
    return [param for param in found if isinstance(param, click.Option) and param.name != "help"]


def test_every_flag_of_launch_has_a_variable_and_a_key() -> None:
    keys = weavedns.cli.main.keys()
    for option in options("weavedns", "launch"):
        flag = option.opts[0]
        assert option.envvar == "WEAVEDNS_" + flag[2:].upper().replace("-", "_")
        assert option.show_envvar
        assert flag[2:].replace("-", "_") in keys


@pytest.mark.parametrize(("main", "command"), COMMANDS)
def test_one_flag_means_one_variable_everywhere(main: str, command: str) -> None:
    for option in options(main, command):
        flag = next(opt for opt in option.opts if opt.startswith("--"))
        assert option.envvar in {None, "WEAVEDNS_" + flag[2:].upper().replace("-", "_")}


def test_both_commands_know_the_same_keys_as_they_share_the_file() -> None:
    of_weavenet = weavenet.cli.main.keys() | weavenet.cli._DAEMON_KEYS
    assert of_weavenet == weavedns.cli.main.keys()
    assert not weavenet.cli._DAEMON_KEYS & weavenet.cli.main.keys()


def test_what_is_asked_of_one_call_is_no_setting(tmp_path: Path) -> None:
    for key in ("clean", "type", "container", "quiet", "config", "help", "version"):
        path = tmp_path / "own.toml"
        path.write_text(f"{key} = true")
        assert f"unknown key '{key}'" in call(f"weavedns --config {path} ls").stderr


def test_the_daemons_ttl_is_not_that_of_added_records(fake: FakeDaemon, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("ttl = 30")
    assert call(f"weavedns --config {path} add db 192.0.2.10").exit_code == 0
    assert fake.asked[0][2] == {"name": "db", "data": ["192.0.2.10"], "type": "", "ttl": None, "container": ""}


def test_launch_hands_its_settings_to_the_daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    launched: list[tuple[Settings, str]] = []
    monkeypatch.setattr(daemon, "main", lambda settings, level: launched.append((settings, level)))
    path = tmp_path / "own.toml"
    path.write_text('range = "10.32.0.0/16"\nno-http = true\nlisten = ["192.0.2.1"]\n')
    (tmp_path / "password").write_text("new\nold\n")
    flags = f"--cluster shop --max-peer-records 5000 --password-file {tmp_path}/password "
    flags += "--ttl 9 --zones /one --zones /two --log-level debug --attach none --state-dir /s --socket /run/s"
    result = call(f"weavedns --config {path} launch {flags}", env={"WEAVEDNS_DOMAIN": "shop.example"})
    assert result.exit_code == 0, result.output
    ((settings, level),) = launched
    assert (level, settings.ttl_s, settings.http) == ("debug", 9, None)
    assert (settings.domain, str(settings.weave_range)) == (b"\x04shop\x07example\0", "10.32.0.0/16")
    assert settings.listen == (("192.0.2.1", 53),)
    assert settings.zones == (Path("/one"), Path("/two"))
    assert (settings.state_dir, settings.socket) == (Path("/s"), Path("/run/s"))
    assert settings.name == socket.gethostname()
    assert (settings.cluster, settings.max_peer_records) == ("shop", 5000)
    assert (settings.passwords, settings.password_file) == (("new", "old"), tmp_path / "password")


@pytest.mark.parametrize(
    "flags", ["--range nonsense", "--attach some", "--ttl soon", "--no-network", "not/a/host", "host1:0"]
)
def test_a_wrong_flag_of_launch_is_wrong_usage(monkeypatch: pytest.MonkeyPatch, flags: str) -> None:
    monkeypatch.setattr(daemon, "main", lambda *_: pytest.fail("it must not start"))
    result = call(f"weavedns launch {flags}")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: weavedns launch")


# What is asked of the daemon


@pytest.mark.parametrize(
    ("line", "request_made"),
    [
        ("weavedns stop --clean", ("POST", "/v1/stop", {"clean": True}, None)),
        (
            "weavedns add web 10.2.1.7 10.2.1.8 --ttl 30",
            (
                "POST",
                "/v1/records",
                {"name": "web", "data": ["10.2.1.7", "10.2.1.8"], "type": "", "ttl": 30, "container": ""},
                None,
            ),
        ),
        (
            "weavedns add cache --container redis",
            (
                "POST",
                "/v1/records",
                {"name": "cache", "data": [], "type": "", "ttl": None, "container": "redis"},
                None,
            ),
        ),
        ("weavedns remove web 10.2.1.8", ("DELETE", "/v1/records", {"name": "web", "data": ["10.2.1.8"]}, None)),
        ("weavedns rm web", ("DELETE", "/v1/records", {"name": "web", "data": []}, None)),
        ("weavenet detach app", ("POST", "/v1/net/detach", {"ContainerID": "app", "Endpoint": ""}, None)),
    ],
)
def test_a_command_is_one_request(fake: FakeDaemon, line: str, request_made: object) -> None:
    fake.answers = [{"Addresses": []}, NoDaemonError("gone")]
    result = call(line)
    assert (result.exit_code, result.output) == (0, "")
    assert fake.asked[0] == request_made


def test_add_takes_either_data_or_a_container(fake: FakeDaemon) -> None:
    for line in ("add x", "add x 192.0.2.1 --container redis", "add x --container redis --ttl 5"):
        assert call(f"weavedns {line}").exit_code == 2
    assert fake.asked == []


def test_lookup_prints_one_value_a_line_and_fails_for_none(fake: FakeDaemon) -> None:
    fake.answers = [["10.2.0.1", "10.2.0.2"], []]
    result = call("weavedns lookup redis")
    assert (result.exit_code, result.output) == (0, "10.2.0.1\n10.2.0.2\n")
    assert fake.asked == [("GET", "/v1/lookup", None, {"name": "redis", "type": "A"})]
    result = call("weavedns lookup redis aaaa")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: nothing of type AAAA is known for redis; 'weavedns ls' shows what is\n"


def test_attach_prints_each_address_and_passes_the_spellings_on(fake: FakeDaemon) -> None:
    fake.answers = [{"IP": "10.2.45.3", "Addresses": ["10.2.45.3/24", "10.2.67.1/24"]}]
    result = call("weavenet attach app 10.2.45.3/24 net:10.2.67.0/24")
    assert result.output == "10.2.45.3/24\n10.2.67.1/24\n"
    assert fake.asked[0][2] == {"ContainerID": "app", "Endpoint": "10.2.45.3/24 net:10.2.67.0/24"}


def test_listings_are_tables_objects_or_keys(fake: FakeDaemon) -> None:
    row = {
        "container": "ca88a6e",
        "name": "app",
        "addresses": ["10.2.0.1/16", "10.2.67.1/24"],
        "mac": "",
        "names": [],
    }
    fake.answers = [[row]] * 3
    assert call("weavenet ps").output == (
        "CONTAINER  NAME  ADDRESSES                 MAC  NAMES\nca88a6e    app   10.2.0.1/16 10.2.67.1/24\n"
    )
    assert json.loads(call("weavenet ps --format json").output) == row
    assert call("weavenet ps -q").output == "ca88a6e\n"


def test_status_prints_the_text_as_it_is_or_the_report(fake: FakeDaemon) -> None:
    fake.answers = ["all is well\n", "dns is well\n", {"dns": {"records": 3}}]
    assert call("weavedns status").output == "all is well\n"
    assert json.loads(call("weavedns status dns --format json").output) == {"records": 3}


def test_the_status_of_peers_has_what_gossip_counted(fake: FakeDaemon) -> None:
    fake.answers = ["peers: none\n", {"peers": [], "gossip": {"syncs": 3}, "dns": {}}]
    assert json.loads(call("weavedns status peers --format json").output) == {"peers": [], "gossip": {"syncs": 3}}


def test_stop_waits_until_nobody_answers(fake: FakeDaemon) -> None:
    fake.answers = [{}, "weave.local.\n", "weave.local.\n", NoDaemonError("gone")]
    assert call("weavedns stop").exit_code == 0
    assert [path for _, path, _, _ in fake.asked] == ["/v1/stop", "/domain", "/domain", "/domain"]


def test_stop_of_a_daemon_that_hangs_or_is_not_there_is_a_failure(
    fake: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.answers = [NoDaemonError("no daemon listens")]
    assert call("weavedns stop").stderr == "Error: no daemon listens\n"
    fake.answers = [{}, ControlError("no answer within 60 s")]
    assert call("weavedns stop").exit_code == 1
    monkeypatch.setattr(weavedns.cli.daemon, "_STOP_S", 0.0)
    result = call("weavedns stop")
    assert (result.exit_code, result.stderr) == (1, "Error: the daemon still answers after 0 s; look at its log\n")


def test_a_refusal_of_the_daemon_is_one_line_and_exit_code_1(fake: FakeDaemon) -> None:
    fake.answers = [ControlError("10.2.0.1 is in use by container redis (ca88a6e) on host h1")]
    result = call("weavenet attach app 10.2.0.1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: 10.2.0.1 is in use by container redis (ca88a6e) on host h1\n"


def test_commands_do_not_load_what_only_the_daemon_needs() -> None:
    code = (
        "import sys, weavedns.cli, weavenet.cli\n"
        "print(sorted({'aiohttp', 'docker', 'pyroute2', 'dnslib', 'rich', 'prometheus_client'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert loaded.stdout == "[]\n"
