"""`make run` as a person meets it: on a host without and with an engine, as root and not, to its end."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Host, Lab, wait_until

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
NOT_ROOT = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
LOG = "make-run"
READY = "Ctrl-C here ends it."


@pytest.fixture(scope="module", autouse=True)
def _set_up() -> None:
    """The host has no way to a package index; the virtual environment is made before."""
    subprocess.run([ROOT / "scripts" / "setup", "dev"], check=True, timeout=600)
    (ROOT / ".run").mkdir(exist_ok=True)


@pytest.fixture
def bare_host() -> Iterator[Host]:
    """A host where no engine runs, and whose `.run` is its own."""
    with Lab(engine=False) as lab:
        host = lab.hosts[0]
        give_own_run_folder(host)
        yield host


@pytest.fixture
def engine_host(lab: Lab) -> Host:
    host = lab.hosts[0]
    give_own_run_folder(host)
    return host


def give_own_run_folder(host: Host) -> None:
    own = host.directory / "dot-run"
    own.mkdir()
    host.run("mount", "--bind", own, ROOT / ".run")


def make_run(host: Host, *args: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Start it and wait until it says that it is ready."""
    host.log_path(LOG).unlink(missing_ok=True)
    make = host.popen(*prefix, "make", "--no-print-directory", "-C", ROOT, "run", *args, log=LOG)
    wait_until(lambda: READY in host.log(LOG) or make.poll() is not None, 60, what=lambda: host.log(LOG))
    assert make.poll() is None, host.log(LOG)
    return make


def commands(host: Host) -> list[str]:
    """The programs that run on the host, but for its process 1 and this question."""
    listed = host.run("ps", "-e", "-o", "pid=,comm=").stdout.split("\n")
    found = [line.split() for line in listed if line.strip()]
    return sorted({name for pid, name in found if pid != "1" and name != "ps"})


def links(host: Host) -> str:
    return host.run("ip", "-brief", "link").stdout


def end(make: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> None:
    make.send_signal(number)
    make.wait(60)


def test_it_starts_an_engine_where_there_is_none_and_ends_all_that_it_started(bare_host: Host) -> None:
    make = make_run(bare_host)
    bare_host.load("busybox")
    bare_host.docker("run", "-d", "--hostname", "redis.weave.local", "busybox")
    wait_until(lambda: bare_host.dig("redis.weave.local") == ["10.2.0.1"])
    end(make)
    wait_until(lambda: commands(bare_host) == [], what=lambda: f"{commands(bare_host)}\n{bare_host.log(LOG)}")
    assert "weave" not in links(bare_host)
    assert "WEAVEDNS" not in bare_host.run("iptables-save").stdout


def test_what_it_advises_works_as_pasted(bare_host: Host) -> None:
    make_run(bare_host)
    lines = [line.strip() for line in bare_host.log(LOG).splitlines()]
    for start in ("weavedns add", "weavedns status"):
        (command,) = [line for line in lines if start in line]
        bare_host.run("sh", "-c", command)
    assert bare_host.dig("db.weave.local") == ["192.0.2.10"]


def test_it_leaves_docker_alone_when_told_to(bare_host: Host) -> None:
    make = make_run(bare_host, "DOCKER=no")
    assert "dockerd" not in commands(bare_host)
    end(make)
    assert commands(bare_host) == []


def test_an_engine_that_ran_before_runs_on_with_its_containers_attached(engine_host: Host) -> None:
    make = make_run(engine_host)
    container = engine_host.docker("run", "-d", "--hostname", "redis.weave.local", "busybox")
    wait_until(lambda: engine_host.dig("redis.weave.local"))
    end(make, signal.SIGTERM)
    assert "weavedns" not in commands(engine_host)
    assert "ethwe" in engine_host.docker("exec", container, "ip", "link")
    assert "keep their interfaces" in engine_host.log(LOG)


def test_peers_are_joined_that_its_arguments_name(lab: Lab, engine_host: Host) -> None:
    (other,) = lab.add_hosts()
    other.start_daemon()
    other.run("weavedns", "add", "db", "192.0.2.10")
    make = make_run(engine_host, f"ARGS={other.address}")
    assert "dig @10.2.254.2 redis.weave.local" in engine_host.log(LOG)  # its own server, not the first of all
    wait_until(lambda: engine_host.run("weavedns", "lookup", "db", check=False).stdout == "192.0.2.10\n")
    end(make)


def test_it_says_when_the_peers_that_are_to_give_it_addresses_are_not_there(engine_host: Host) -> None:
    make = make_run(engine_host, "ARGS=10.99.0.77")
    assert "waits for other hosts" in engine_host.log(LOG)
    assert "dig @" not in engine_host.log(LOG)
    end(make)
    assert "weavedns" not in commands(engine_host)


@pytest.mark.parametrize(
    ("prefix", "flags"), [((), "--no-network "), (("env", "WEAVEDNS_NO_NETWORK=1"), "")], ids=["flag", "environment"]
)
def test_without_the_network_part_it_waits_for_nobody(engine_host: Host, prefix: tuple[str, ...], flags: str) -> None:
    make = make_run(engine_host, f"ARGS={flags}--listen 127.0.0.1:5353", prefix=prefix)
    assert "attaches no containers (--no-network)" in engine_host.log(LOG)
    assert "waits for other hosts" not in engine_host.log(LOG)
    end(make)


def test_ctrl_c_ends_the_daemon_and_removes_its_bridge_when_nothing_is_attached(engine_host: Host) -> None:
    make = make_run(engine_host)
    os.killpg(make.pid, signal.SIGINT)  # a terminal sends it to make and to the script
    make.wait(60)
    assert "weavedns" not in commands(engine_host)
    assert "weave" not in links(engine_host)
    engine_host.docker("ps")


def test_a_killed_daemon_ends_it_with_a_failure_and_harms_no_container(bare_host: Host) -> None:
    make = make_run(bare_host)
    bare_host.load("busybox")
    container = bare_host.docker("run", "-d", "--hostname", "redis.weave.local", "busybox")
    wait_until(lambda: bare_host.dig("redis.weave.local"))
    bare_host.run("pkill", "-KILL", "weavedns")
    assert make.wait(60) != 0
    assert "ended by itself" in bare_host.log(LOG)
    assert "ethwe" in bare_host.docker("exec", container, "ip", "link")
    again = make_run(bare_host)
    assert bare_host.dig("redis.weave.local") == ["10.2.0.1"]
    end(again)
    wait_until(lambda: commands(bare_host) == [], what=lambda: f"{commands(bare_host)}\n{bare_host.log(LOG)}")


def test_a_daemon_that_cannot_start_says_why_and_leaves_nothing(bare_host: Host) -> None:
    done = bare_host.run("make", "-C", ROOT, "run", "ARGS=--range 10.99.0.0/24", check=False, timeout_s=60)
    assert done.returncode != 0
    assert "10.99.0.0/24" in done.stdout + done.stderr
    assert commands(bare_host) == []


def test_without_root_it_serves_zones_and_added_names(bare_host: Host) -> None:
    make = make_run(bare_host, prefix=NOT_ROOT)
    ask = ("dig", "-p", "5353", "@127.0.0.1", "+short")
    assert bare_host.run(*ask, "printer.weave.local").stdout == "192.0.2.10\n"
    lines = [line.strip() for line in bare_host.log(LOG).splitlines()]
    (socket,) = [line for line in lines if line.startswith("export WEAVEDNS_SOCKET=")]
    (add,) = [line for line in lines if "weavedns add" in line]
    bare_host.run("sh", "-c", f"{socket}\n{add}")
    assert bare_host.run(*ask, "laptop.weave.local").stdout == "192.0.2.60\n"
    end(make)
    assert commands(bare_host) == []
