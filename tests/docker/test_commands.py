"""Every command and every path of the control socket, as README and docs/operating.md show them, on a real host."""

import json
import os
import pty
from collections.abc import Mapping
from typing import Any

import dns.zone
import pytest

from tests.docker.control_socket import ask
from tests.docker.test_quick_start import run, wait_for
from tests.lab import Host, Lab, wait_until

pytestmark = pytest.mark.docker

ESCAPE = "\x1b["


def done(host: Host, *command: str, env: Mapping[str, str] | None = None) -> str:
    """What a command prints that must succeed, without a word on stderr."""
    ran = host.run(*command, env=env)
    assert ran.stderr == ""
    return ran.stdout


def rows(host: Host, *command: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done(host, *command, "--format", "json").splitlines()]


def write_settings(host: Host, text: str) -> None:
    path = host.directory / "etc/weavedns/weavedns.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def start_with_redis(host: Host, *flags: str) -> None:
    host.start_daemon(*flags)
    run(host, "--name", "redis", "--hostname", "redis.weave.local")
    wait_for(host, "redis.weave.local", "10.2.0.1")


# weavedns


def test_what_is_added_is_on_disk_and_survives_a_crash_until_it_is_removed(host: Host) -> None:
    host.start_daemon()
    assert done(host, "weavedns", "add", "db", "192.0.2.10") == ""
    host.kill_daemon()
    host.start_daemon()
    assert host.dig("db.weave.local") == ["192.0.2.10"]
    assert done(host, "weavedns", "remove", "db") == ""
    assert host.dig("db.weave.local") == []
    host.kill_daemon()
    host.start_daemon()
    assert host.dig("db.weave.local") == []


def test_records_of_all_kinds_are_added_looked_up_and_removed_one_by_one(host: Host) -> None:
    host.start_daemon()
    done(host, "weavedns", "add", "web", "10.2.1.7", "10.2.1.8", "2001:db8::7", "--ttl", "30")
    done(host, "weavedns", "add", "_http._tcp.web.weave.local", "0 5 80 web", "--type", "SRV")
    done(host, "weavedns", "add", "web", '"two words" more', "--type", "txt")
    assert done(host, "weavedns", "lookup", "web") == "10.2.1.7\n10.2.1.8\n"
    assert done(host, "weavedns", "lookup", "web.weave.local.", "aaaa") == "2001:db8::7\n"
    assert done(host, "weavedns", "lookup", "web", "TXT") == '"two words" "more"\n'
    assert done(host, "weavedns", "lookup", "_http._tcp.web.weave.local", "SRV") == "0 5 80 web.weave.local.\n"
    assert done(host, "weavedns", "lookup", "10.2.1.7") == "web.weave.local.\n"
    answer = host.run("dig", "@10.2.254.1", "+noall", "+answer", "web.weave.local").stdout
    assert answer.split()[:3] == ["web.weave.local.", "30", "IN"]
    done(host, "weavedns", "rm", "web", "10.2.1.8", '"two words" "more"')
    assert done(host, "weavedns", "lookup", "web") == "10.2.1.7\n"
    done(host, "weavedns", "rm", "web")
    assert done(host, "weavedns", "ls", "-q") == "weavedns.weave.local\n_http._tcp.web.weave.local\n"


def test_a_lookup_of_nothing_is_a_failure_with_a_reason(host: Host) -> None:
    host.start_daemon()
    for name, kind in (("nobody", "A"), ("weavedns", "AAAA"), ("192.0.2.77", "A"), ("example.test", "A")):
        ran = host.run("weavedns", "lookup", name, kind, check=False)
        assert (ran.returncode, ran.stdout) == (1, "")
        assert ran.stderr.startswith(f"Error: nothing of type {kind} is known for {name}; ")


def test_ls_says_where_each_record_comes_from(host: Host) -> None:
    zone = host.directory / "run/our.zone"
    zone.write_text("fromfile 5 IN A 192.0.2.20\n")
    start_with_redis(host, "--zones", "/run/our.zone")
    done(host, "weavedns", "add", "cache", "--container", "redis")
    done(host, "weavedns", "add", "db", "192.0.2.10", "--ttl", "60")
    short_id = host.inspect("redis")["Id"][:12]
    assert [line.split() for line in done(host, "weavedns", "ls").splitlines()] == [
        ["NAME", "TYPE", "DATA", "TTL", "HEALTHY", "ORIGIN", "HOLDER"],
        ["cache.weave.local", "A", "10.2.0.1", "1", "yes", "added", short_id],
        ["db.weave.local", "A", "192.0.2.10", "60", "yes", "added", "added"],
        ["fromfile.weave.local", "A", "192.0.2.20", "5", "yes", "zone", "/run/our.zone"],
        ["redis.weave.local", "A", "10.2.0.1", "1", "yes", "container", short_id],
        ["weavedns.weave.local", "A", "10.2.254.1", "1", "yes", "peer", "peer"],
    ]
    listed = {row["name"]: row for row in rows(host, "weavedns", "ls")}
    db = {"name": "db.weave.local", "type": "A", "data": "192.0.2.10", "ttl": 60}
    assert listed["db.weave.local"] == {**db, "healthy": True, "origin": "added", "holder": "added", "peer": "h1"}
    assert done(host, "weavedns", "ls", "--quiet").splitlines() == list(listed)
    zone.unlink()


def test_status_tells_people_and_programs_how_the_daemon_is_doing(host: Host) -> None:
    start_with_redis(host)
    whole = done(host, "weavedns", "status")
    for line in ("peer h1", "Docker engine: connected", "DNS address: 10.2.254.1", "upstream: 10.99.0.254 port 53"):
        assert line in whole
    assert done(host, "weavedns", "status", "containers").strip() == "containers: 1 attached"
    report = json.loads(done(host, "weavedns", "status", "--format", "json"))
    assert report["dns"]["domain"] == "weave.local"
    assert report["containers"][0]["name"] == "redis"
    section = json.loads(done(host, "weavedns", "status", "upstream", "--format", "json"))
    assert section.keys() == report["upstream"].keys()
    assert [row["server"] for row in section["servers"]] == ["10.99.0.254 port 53"]
    ran = host.run("weavedns", "status", "weather", check=False)
    assert ran.returncode == 1
    assert "choose one of dns, upstream, containers, zones" in ran.stderr


def test_an_export_is_a_zone_file_that_others_can_read(host: Host) -> None:
    start_with_redis(host)
    done(host, "weavedns", "add", "web", "192.0.2.10", "2001:db8::7", "--ttl", "30")
    done(host, "weavedns", "add", "web", '"a \\"b\\" ; c"', "--type", "TXT")
    done(host, "weavedns", "add", "_http._tcp.web.weave.local", "0 5 80 web", "--type", "SRV")
    done(host, "weavedns", "add", "mail", "10 web", "--type", "MX")
    exported = done(host, "weavedns", "export")
    zone = dns.zone.from_text(exported)
    assert str(zone.origin) == "weave.local."
    found = {(str(name), rdata.to_text()) for name, _, rdata in zone.iterate_rdatas()}
    assert {("redis", "10.2.0.1"), ("web", "2001:db8::7"), ("_http._tcp.web", "0 5 80 web")} <= found
    assert {("web", '"a \\"b\\" ; c"'), ("mail", "10 web"), ("@", "weavedns")} <= found
    # And our own reader takes it too.
    host.kill_daemon()
    (host.directory / "run/all.zone").write_text(exported)
    daemon = host.start_daemon("--zones", "/run/all.zone", "--state-dir", "/run/weavedns")
    assert done(host, "weavedns", "lookup", "web", "AAAA") == "2001:db8::7\n", daemon.log
    (host.directory / "run/all.zone").unlink()


def test_stop_returns_when_the_daemon_has_ended_so_that_the_next_can_start(host: Host) -> None:
    start_with_redis(host)
    daemon = host.daemon
    assert daemon is not None
    assert done(host, "weavedns", "stop") == ""
    assert not (host.directory / "run/weavedns/weavedns.sock").exists()
    host.daemon = None  # it need not be reaped yet
    host.start_daemon()
    assert daemon.process.wait(10) == 0
    assert host.dig("redis.weave.local") == ["10.2.0.1"]
    ran = host.run("sh", "-c", "weavedns stop && weavedns stop", check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith("Error: no daemon listens on /run/weavedns/weavedns.sock")


def test_a_signal_ends_the_daemon_as_stop_does(host: Host) -> None:
    daemon = host.start_daemon()
    assert daemon.stop() == 0
    assert not (host.directory / "run/weavedns/weavedns.sock").exists()
    assert "Traceback" not in daemon.log


def test_a_command_during_the_launch_waits_for_its_end(host: Host) -> None:
    host.start_daemon(wait=False)
    path = host.directory / "run/weavedns/weavedns.sock"
    wait_until(path.is_socket)
    assert done(host, "weavedns", "lookup", "weavedns") == "10.2.254.1\n"


def test_what_other_servers_said_is_kept_until_it_is_flushed(host: Host, module_lab: Lab) -> None:
    host.start_daemon()

    def asked() -> int:
        return sum(name == "www.example.test" for name, _, _ in module_lab.upstream.queries())

    assert host.dig("www.example.test") == host.dig("www.example.test") == ["192.0.2.81"]
    once = asked()
    assert done(host, "weavedns", "flush", "other.test") == "0\n"
    assert done(host, "weavedns", "flush", "example.test") == "1\n"
    assert host.dig("www.example.test") == ["192.0.2.81"]
    wait_until(lambda: asked() == once + 1)
    assert done(host, "weavedns", "flush") == "1\n"
    ran = host.run("weavedns", "flush", "a..b", check=False)
    assert (ran.returncode, ran.stdout) == (1, "")


def test_the_query_log_is_switched_on_and_off(host: Host) -> None:
    daemon = host.start_daemon("--log-level", "error")
    host.dig("before.weave.local")
    assert done(host, "weavedns", "log-queries", "on") == ""
    host.dig("during.weave.local")
    assert done(host, "weavedns", "log-queries", "off") == ""
    host.dig("after.weave.local")
    assert "during.weave.local" in daemon.log
    assert "before.weave.local" not in daemon.log
    assert "after.weave.local" not in daemon.log
    assert host.run("weavedns", "log-queries", "maybe", check=False).returncode == 2


# weavenet


def test_attach_prints_the_addresses_and_detach_those_that_it_took(host: Host) -> None:
    host.start_daemon()
    run(host, "--name", "app")
    assert done(host, "weavenet", "attach", "app") == "10.2.0.1/16\n"
    assert done(host, "weavenet", "attach", "app") == "10.2.0.1/16\n"
    assert (
        done(host, "weavenet", "attach", "app", "10.2.45.3/24", "net:10.2.67.0/24") == "10.2.45.3/24\n10.2.67.1/24\n"
    )
    assert sorted(host.dig("app.weave.local")) == ["10.2.0.1", "10.2.45.3", "10.2.67.1"]
    assert done(host, "weavenet", "detach", "app", "10.2.45.3/24") == "10.2.45.3/24\n"
    short_id = host.inspect("app")["Id"][:12]
    mac = host.docker("exec", "app", "cat", "/sys/class/net/ethwe/address")
    (row,) = rows(host, "weavenet", "ps")
    assert row == {
        "container": short_id,
        "name": "app",
        "addresses": ["10.2.0.1/16", "10.2.67.1/24"],
        "mac": mac,
        "names": ["app.weave.local"],
    }
    table = [line.split() for line in done(host, "weavenet", "ps").splitlines()]
    assert table[0] == ["CONTAINER", "NAME", "ADDRESSES", "MAC", "NAMES"]
    assert table[1] == [short_id, "app", "10.2.0.1/16", "10.2.67.1/24", mac, "app.weave.local"]
    assert done(host, "weavenet", "ps", "-q") == f"{short_id}\n"
    assert done(host, "weavenet", "detach", short_id[:6]) == "10.2.0.1/16\n10.2.67.1/24\n"
    assert done(host, "weavenet", "ps", "-q") == ""
    assert host.dig("app.weave.local") == []


def test_what_was_attached_by_hand_returns_with_the_rest_when_the_container_restarts(host: Host) -> None:
    start_with_redis(host)
    assert done(host, "weavenet", "attach", "redis", "net:10.2.67.0/24") == "10.2.67.1/24\n"
    host.docker("restart", "-t", "0", "redis")
    wait_until(
        lambda: [row["addresses"] for row in rows(host, "weavenet", "ps")] == [["10.2.0.1/16", "10.2.67.1/24"]]
    )
    wait_for(host, "redis.weave.local", "10.2.0.1", "10.2.67.1")


def test_a_name_given_to_a_container_is_listed_with_it_and_taken_back(host: Host) -> None:
    start_with_redis(host)
    done(host, "weavedns", "add", "cache", "--container", "redis")
    assert [row["names"] for row in rows(host, "weavenet", "ps")] == [["redis.weave.local", "cache.weave.local"]]
    done(host, "weavedns", "remove", "cache")
    assert [row["names"] for row in rows(host, "weavenet", "ps")] == [["redis.weave.local"]]


def test_without_the_network_part_names_work_and_attaching_says_how_to_get_it(host: Host) -> None:
    host.start_daemon("--no-network", "--listen", "127.0.0.1:5353", "--no-http")
    done(host, "weavedns", "add", "db", "192.0.2.10")
    assert host.dig("-p", "5353", "db.weave.local", server="127.0.0.1") == ["192.0.2.10"]
    for command in (
        ["weavenet", "attach", "app"],
        ["weavenet", "ps"],
        ["weavedns", "add", "x", "--container", "app"],
    ):
        ran = host.run(*command, check=False)
        assert ran.returncode == 1
        assert "this daemon runs with --no-network" in ran.stderr
    assert "listening: 127.0.0.1 port 5353" in done(host, "weavedns", "status")
    assert "weave" not in host.run("ip", "link").stdout
    assert host.run("busybox", "wget", "-qO-", "http://127.0.0.1:6782/", check=False).returncode != 0


# How things are printed


def test_a_reader_that_goes_away_early_is_no_failure(host: Host) -> None:
    host.start_daemon()
    many = [f"10.{n >> 8}.{n & 255}.1" for n in range(256, 4256)]
    assert ask(host, "POST", "/v1/records", json.dumps({"name": "many", "data": many}))[0] == 200
    for listing in ("weavedns ls", "weavedns ls --format json", "weavedns ls -q", "weavedns export"):
        ran = host.run("bash", "-c", f"set -o pipefail; {listing} | head -1")
        assert (ran.stdout.count("\n"), ran.stderr) == (1, "")


def on_a_terminal(host: Host, *command: str, env: Mapping[str, str]) -> str:
    """What a command shows to a person."""
    ours, theirs = pty.openpty()
    process = host.popen(*command, stdout=theirs, stderr=theirs, env={"TERM": "xterm", "COLUMNS": "120", **env})
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:
        pass  # how Linux tells that the other end was closed
    finally:
        os.close(ours)
    assert process.wait(20) == 0
    return shown.decode()


def test_only_a_terminal_gets_colours_and_not_when_they_are_unwanted(host: Host) -> None:
    start_with_redis(host)
    plain = done(host, "weavedns", "ls")
    assert ESCAPE not in plain
    assert ESCAPE in on_a_terminal(host, "weavedns", "ls", env={})
    assert on_a_terminal(host, "weavedns", "ls", env={"NO_COLOR": "1"}).replace("\r\n", "\n") == plain
    assert ESCAPE not in done(host, "weavedns", "ls", env={"TERM": "xterm", "FORCE_COLOR": "1"})


# Settings


def test_the_settings_file_is_followed_by_all_commands(host: Host) -> None:
    zone = host.directory / "run/zones"
    zone.mkdir()
    (zone / "our.zone").write_text("fromfile IN A 192.0.2.20\n")
    write_settings(
        host,
        """
        range = "10.32.0.0/16"
        dns-subnet = "10.32.254.0/24"
        dns_address = "10.32.254.7"
        domain = "shop.example"
        upstream = ["10.99.0.254:53"]
        listen = "127.0.0.1:5353"
        zones = ["/run/zones"]
        ttl = 7
        attach = "all"
        name = "north"
        no-http = true
        socket = "/run/other.sock"
        format = "json"
        """,
    )
    host.start_daemon()
    assert host.dig("fromfile.shop.example", server="10.32.254.7") == ["192.0.2.20"]
    assert host.dig("-p", "5353", "fromfile.shop.example", server="127.0.0.1") == ["192.0.2.20"]
    assert host.dig("example.test", server="10.32.254.7") == ["192.0.2.80"]
    run(host, "--name", "app")
    wait_until(lambda: host.dig("app.shop.example", server="10.32.254.7") == ["10.32.0.1"])
    records = [json.loads(line) for line in done(host, "weavedns", "ls").splitlines()]
    assert {row["name"]: row["ttl"] for row in records}["app.shop.example"] == 7
    assert {row["peer"] for row in records} == {"north"}
    assert json.loads(done(host, "weavenet", "ps"))["name"] == "app"
    assert (host.directory / "run/other.sock").is_socket()
    assert host.run("busybox", "wget", "-qO-", "http://127.0.0.1:6782/", check=False).returncode != 0
    done(host, "weavedns", "stop", "--clean")
    (zone / "our.zone").unlink()
    zone.rmdir()


def test_flags_beat_the_environment_which_beats_the_file(host: Host) -> None:
    write_settings(host, 'domain = "file.example"\nttl = 2\nname = "file"\nrange = "10.32.0.0/16"\n')
    environment = {"WEAVEDNS_DOMAIN": "environment.example", "WEAVEDNS_TTL": "3", "WEAVEDNS_NAME": "environment"}
    host.start_daemon("--domain", "flag.example", "--ttl", "4", env=environment)
    (row,) = rows(host, "weavedns", "ls")
    assert (row["name"], row["ttl"], row["peer"]) == ("weavedns.flag.example", 4, "environment")
    assert row["data"] == "10.32.254.1"
    assert done(host, "weavedns", "ls", env={"WEAVEDNS_FORMAT": "json"}).startswith("{")
    assert done(host, "weavedns", "ls", "--format", "table", env={"WEAVEDNS_FORMAT": "json"}).startswith("NAME")


def test_lists_in_the_environment_are_separated_by_blanks(host: Host) -> None:
    for name in ("one", "two"):
        (host.directory / f"run/{name}.zone").write_text(f"{name} IN A 192.0.2.20\n")
    environment = {
        "WEAVEDNS_LISTEN": "127.0.0.1:5353 127.0.0.1:5354",
        "WEAVEDNS_ZONES": "/run/one.zone /run/two.zone",
        "WEAVEDNS_UPSTREAM": "10.99.0.254 10.99.0.254:53",
        "WEAVEDNS_SOCKET": "/run/other.sock",
        "WEAVEDNS_NO_HTTP": "1",
    }
    host.start_daemon(env=environment, wait=False)
    status = wait_until(
        lambda: host.run("weavedns", "status", check=False, env={"WEAVEDNS_SOCKET": "/run/other.sock"}).stdout
    )
    assert "listening: 10.2.254.1 port 53, 127.0.0.1 port 5353, 127.0.0.1 port 5354" in status
    assert "/run/one.zone: 1 records; /run/two.zone: 1 records" in status
    for name in ("one", "two"):
        (host.directory / f"run/{name}.zone").unlink()


def test_another_settings_file_is_read_when_one_is_named(host: Host) -> None:
    path = host.directory / "run/other.toml"
    path.write_text('socket = "/run/nobody.sock"\n')
    for options, environment in ((["--config", "/run/other.toml"], {}), ([], {"WEAVEDNS_CONFIG": "/run/other.toml"})):
        ran = host.run("weavedns", *options, "ls", check=False, env=environment)
        assert "no daemon listens on /run/nobody.sock" in ran.stderr
    path.unlink()


# The control socket and the status port


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("10.2.45.3/24", "10.2.45.3/24"),
        ("10.2.45.3", "10.2.45.3/16"),
        ("ip:10.2.45.3/24", "10.2.45.3/24"),
        ("weave://10.2.45.3/24", "10.2.45.3/24"),
        ("net:10.2.67.0/24", "10.2.67.1/24"),
        ("weave://10.2.67.0/24", "10.2.67.1/24"),
        ("", "10.2.0.2/16"),
        (None, "10.2.0.2/16"),
        ("net:default", "10.2.0.2/16"),
        ("weave://", "10.2.0.2/16"),
        ("weave://default", "10.2.0.2/16"),
    ],
)
def test_an_attach_takes_every_spelling_of_an_endpoint(busy_host: Host, endpoint: str | None, address: str) -> None:
    body = {"ContainerID": busy_host.inspect("plain")["Id"][:7]} | (
        {} if endpoint is None else {"Endpoint": endpoint}
    )
    status, answer = ask(busy_host, "POST", "/v1/net/attach", json.dumps(body))
    assert (status, answer) == (200, {"IP": address.partition("/")[0], "Addresses": [address]})
    assert address in busy_host.docker("exec", "plain", "ip", "-oneline", "address")
    body = {"ContainerID": "plain"}
    assert ask(busy_host, "POST", "/v1/net/detach", json.dumps(body)) == (200, {"Addresses": [address]})


def test_several_endpoints_are_attached_and_detached_at_once(busy_host: Host) -> None:
    body = json.dumps({"ContainerID": "plain", "Endpoint": "10.2.45.3/24 net:10.2.67.0/24"})
    addresses = ["10.2.45.3/24", "10.2.67.1/24"]
    assert ask(busy_host, "POST", "/v1/net/attach", body) == (200, {"IP": "10.2.45.3", "Addresses": addresses})
    assert ask(busy_host, "GET", "/v1/net/containers")[1][0]["addresses"] == addresses
    assert ask(busy_host, "POST", "/v1/net/detach", body) == (200, {"Addresses": addresses})


def test_the_earlier_name_api_keeps_working(busy_host: Host) -> None:
    form = "application/x-www-form-urlencoded"

    def addresses(name: str) -> list[str]:
        status, found = ask(busy_host, "GET", f"/name/{name}")
        assert status == 200
        assert sorted(busy_host.dig(name)) == found
        return list(found)

    redis = busy_host.inspect("redis")["Id"]
    assert ask(busy_host, "PUT", f"/name/{redis}/10.2.0.1", "fqdn=kv.weave.local", Content_Type=form) == (204, "")
    assert ask(busy_host, "PUT", "/name/redis/10.2.0.1?fqdn=cache.weave.local.") == (204, "")
    assert ask(busy_host, "PUT", "/name/weave:extern/192.0.2.40?fqdn=old.weave.local") == (204, "")
    assert ask(busy_host, "PUT", "/name/weave:extern/192.0.2.41?fqdn=old.weave.local") == (204, "")
    assert addresses("kv.weave.local") == addresses("cache.weave.local") == ["10.2.0.1"]
    assert addresses("old.weave.local") == ["192.0.2.40", "192.0.2.41"]
    names = {row["name"] for row in ask(busy_host, "GET", "/name")[1]}
    assert {"kv.weave.local", "cache.weave.local", "old.weave.local", "redis.weave.local"} <= names
    assert ask(busy_host, "DELETE", "/name/redis/10.2.0.1?fqdn=kv.weave.local") == (204, "")
    assert addresses("kv.weave.local") == []
    assert addresses("cache.weave.local") == ["10.2.0.1"]
    assert ask(busy_host, "DELETE", "/name/redis") == (204, "")
    assert addresses("cache.weave.local") == []
    assert addresses("redis.weave.local") == ["10.2.0.1"]
    assert ask(busy_host, "DELETE", "/name/weave:extern/192.0.2.40") == (204, "")
    assert addresses("old.weave.local") == ["192.0.2.41"]
    assert ask(busy_host, "DELETE", "/name/weave:extern?fqdn=old.weave.local") == (204, "")
    assert addresses("old.weave.local") == []
    # Deleting what is not there is no failure: scripts clean up twice.
    assert ask(busy_host, "DELETE", "/name/weave:extern/192.0.2.41") == (204, "")
    assert ask(busy_host, "DELETE", "/name/redis?fqdn=kv.weave.local") == (204, "")


def test_the_names_of_a_container_that_has_stopped_can_be_taken_back(busy_host: Host) -> None:
    run(busy_host, "--name", "short", "--hostname", "short.weave.local")
    wait_until(lambda: busy_host.dig("short.weave.local"))
    done(busy_host, "weavedns", "add", "extra", "--container", "short")
    busy_host.docker("kill", "short")
    wait_for(busy_host, "extra.weave.local")
    assert ask(busy_host, "DELETE", "/name/short") == (204, "")
    busy_host.docker("start", "short")
    wait_until(lambda: busy_host.dig("short.weave.local"))
    assert busy_host.dig("extra.weave.local") == []
    busy_host.docker("rm", "-f", "short")


def test_records_can_be_added_found_and_removed_over_the_control_socket(busy_host: Host) -> None:
    body = json.dumps({"name": "web", "data": ["10.2.1.7", "10.2.1.8"], "ttl": 30})
    assert ask(busy_host, "POST", "/v1/records", body) == (200, {})
    assert ask(busy_host, "GET", "/v1/lookup?name=web") == (200, ["10.2.1.7", "10.2.1.8"])
    assert ask(busy_host, "GET", "/v1/lookup?name=web&type=AAAA") == (200, [])
    listed = ask(busy_host, "GET", "/v1/records")[1]
    assert [row["data"] for row in listed if row["name"] == "web.weave.local"] == ["10.2.1.7", "10.2.1.8"]
    assert "web      30 IN A 10.2.1.7\n" in ask(busy_host, "GET", "/v1/export")[1]
    assert ask(busy_host, "DELETE", "/v1/records", '{"name": "web", "data": ["10.2.1.7"]}') == (200, {"removed": 1})
    assert ask(busy_host, "DELETE", "/v1/records", '{"name": "web"}') == (200, {"removed": 1})
    body = json.dumps({"name": "kv", "container": "redis"})
    assert ask(busy_host, "POST", "/v1/records", body) == (200, {})
    assert ask(busy_host, "GET", "/v1/lookup?name=kv") == (200, ["10.2.0.1"])
    assert ask(busy_host, "DELETE", "/v1/records", '{"name": "kv"}') == (200, {"removed": 1})


def test_the_control_socket_tells_status_report_and_domain(busy_host: Host) -> None:
    assert ask(busy_host, "GET", "/domain") == (200, "weave.local.\n")
    assert "Docker engine: connected" in ask(busy_host, "GET", "/status")[1]
    assert ask(busy_host, "GET", "/report")[1]["dns"]["address"] == "10.2.254.1"
    mode = (busy_host.directory / "run/weavedns/weavedns.sock").stat().st_mode
    assert oct(mode)[-4:] == "0660"


def test_the_status_port_has_a_page_metrics_health_and_readiness_and_changes_nothing(busy_host: Host) -> None:
    def get(path: str) -> str:
        return busy_host.run("busybox", "wget", "-qO-", f"http://127.0.0.1:6782{path}").stdout

    assert get("/health") == "ok\n"
    assert get("/ready") == "ready\n"
    assert "redis.weave.local" in get("/")
    metrics = dict(line.rsplit(" ", 1) for line in get("/metrics").splitlines() if not line.startswith("#"))
    assert float(metrics["weavedns_engine_up"]) == 1.0
    assert float(metrics["weavedns_containers"]) == 1.0
    assert float(metrics['weavedns_dns_events_total{kind="queries"}']) > 0
    posted = busy_host.run(
        "busybox", "wget", "-qO-", "--post-data", "{}", "http://127.0.0.1:6782/v1/stop", check=False
    )
    assert posted.returncode != 0
    assert get("/health") == "ok\n"
