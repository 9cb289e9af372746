"""What happens to names, addresses and interfaces as containers, engine and daemon come and go."""

import json
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.docker.test_quick_start import run, wait_for
from tests.lab import Host, wait_until

pytestmark = pytest.mark.docker


def attached(host: Host) -> dict[str, list[str]]:
    """Addresses by container name, as `weavenet ps` tells."""
    lines = host.run("weavenet", "ps", "--format", "json").stdout.splitlines()
    return {row["name"]: row["addresses"] for row in map(json.loads, lines)}


def test_a_dead_container_stops_resolving_and_returns_with_its_address(host: Host) -> None:
    host.start_daemon()
    run(host, "--name", "first", "--hostname", "first.weave.local")
    wait_for(host, "first.weave.local", "10.2.0.1")
    host.docker("kill", "first")
    wait_for(host, "first.weave.local")
    run(host, "--name", "second", "--hostname", "second.weave.local")
    wait_for(host, "second.weave.local", "10.2.0.2")
    host.docker("start", "first")
    wait_for(host, "first.weave.local", "10.2.0.1")
    assert host.dig("-x", "10.2.0.1") == ["first.weave.local."]


def test_a_removed_containers_address_is_free_at_once(host: Host) -> None:
    host.start_daemon()
    run(host, "--name", "first", "--hostname", "first.weave.local")
    wait_for(host, "first.weave.local", "10.2.0.1")
    host.docker("rm", "-f", "first")
    wait_for(host, "first.weave.local")
    run(host, "--name", "second", "--hostname", "second.weave.local")
    wait_for(host, "second.weave.local", "10.2.0.1")


def test_a_restart_keeps_name_and_address_and_the_rewritten_resolv_conf(host: Host) -> None:
    host.start_daemon()
    run(host, "--name", "app", "--hostname", "app.shop.weave.local")
    wait_for(host, "app.shop.weave.local", "10.2.0.1")
    host.docker("restart", "-t", "0", "app")
    wait_until(lambda: attached(host).get("app") == ["10.2.0.1/16"], what="the address after the restart")
    wait_for(host, "app.shop.weave.local", "10.2.0.1")
    text = host.docker("exec", "app", "cat", "/etc/resolv.conf")
    assert "nameserver 10.2.254.1\n" in text
    assert "search shop.weave.local weave.local\n" in text


def test_a_rename_moves_the_name_that_came_from_it(host: Host) -> None:
    host.start_daemon()
    run(host, "--name", "old", "-e", "WEAVE_CIDR=net:default")
    wait_for(host, "old.weave.local", "10.2.0.1")
    host.docker("rename", "old", "new")
    wait_for(host, "new.weave.local", "10.2.0.1")
    wait_for(host, "old.weave.local")


def test_a_paused_container_keeps_its_name(host: Host) -> None:
    host.start_daemon()
    run(host, "--name", "app", "--hostname", "app.weave.local")
    wait_for(host, "app.weave.local", "10.2.0.1")
    host.docker("pause", "app")
    run(host, "--name", "later", "--hostname", "later.weave.local")
    wait_for(host, "later.weave.local", "10.2.0.2")
    assert host.dig("app.weave.local") == ["10.2.0.1"]
    host.docker("unpause", "app")


def test_containers_that_run_already_are_attached_at_launch(host: Host) -> None:
    run(host, "--name", "early", "--hostname", "early.weave.local")
    host.start_daemon()
    wait_for(host, "early.weave.local", "10.2.0.1")
    assert "nameserver 10.2.254.1" in host.docker("exec", "early", "cat", "/etc/resolv.conf")


def test_containers_that_end_within_a_second_leave_nothing(host: Host) -> None:
    host.start_daemon()
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda n: host.docker("run", "--rm", "--hostname", f"brief{n}.weave.local", "busybox", "true"),
                range(12),
            )
        )
    run(host, "--name", "last", "--hostname", "last.weave.local")
    wait_until(lambda: host.dig("last.weave.local"), what="the container after them")
    wait_until(lambda: list(attached(host)) == ["last"], what=lambda: str(attached(host)))
    assert [host.dig(f"brief{n}.weave.local") for n in range(12)] == [[]] * 12
    assert len([line for line in host.run("ip", "-brief", "link").stdout.splitlines() if "vethwe" in line]) == 1
    assert host.daemon is not None
    assert "Traceback" not in host.daemon.log


def test_fifty_started_at_once_all_resolve_and_no_address_is_given_twice(host: Host) -> None:
    host.start_daemon()
    names = [f"many{n}" for n in range(50)]
    for name in names:
        host.docker("create", "--name", name, "--hostname", f"{name}.weave.local", "busybox", "sleep", "1000")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: host.docker("start", name, timeout_s=120), names))
    wait_until(lambda: len(attached(host)) == 50, 60, what=lambda: f"{len(attached(host))} attached")
    given = Counter(address for addresses in attached(host).values() for address in addresses)
    assert len(given) == 50
    assert set(given.values()) == {1}
    for name in names:
        assert host.dig(f"{name}.weave.local") == [attached(host)[name][0].removesuffix("/16")]


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_launch_after_any_ending_finds_everything_again(host: Host, ending: signal.Signals) -> None:
    host.start_daemon("--dns-address", "10.2.254.7")
    run(host, "--name", "one", "-e", "WEAVE_CIDR=10.2.45.3/24", "--hostname", "one.weave.local")
    run(host, "--name", "two", "--hostname", "two.weave.local")
    wait_until(lambda: len(attached(host)) == 2, what="both")
    host.run("weavedns", "add", "db", "192.0.2.10")
    host.run("weavedns", "add", "kv", "--container", "two")
    before = attached(host)

    code = host.kill_daemon(ending)
    assert code == (-signal.SIGKILL if ending == signal.SIGKILL else 0)
    assert "ethwe" in host.docker("exec", "two", "ip", "link", "show", "ethwe")
    host.start_daemon()

    assert attached(host) == before
    assert "10.2.254.7" in host.run("weavedns", "status").stdout
    for name, address in (("one", "10.2.45.3"), ("two", "10.2.0.1"), ("kv", "10.2.0.1"), ("db", "192.0.2.10")):
        assert host.dig(f"{name}.weave.local", server="10.2.254.7") == [address]


def test_what_happened_while_the_daemon_was_down_is_found(host: Host) -> None:
    host.start_daemon()
    for name in ("stays", "goes"):
        run(host, "--name", name, "--hostname", f"{name}.weave.local")
        wait_until(partial(host.dig, f"{name}.weave.local"), what=name)
    address = host.dig("stays.weave.local")
    host.kill_daemon()
    host.docker("rm", "-f", "goes")
    run(host, "--name", "comes", "--hostname", "comes.weave.local")
    host.start_daemon()
    wait_until(lambda: set(attached(host)) == {"stays", "comes"}, what=lambda: str(attached(host)))
    assert host.dig("stays.weave.local") == address
    assert host.dig("goes.weave.local") == []


def test_an_engine_restart_brings_containers_and_names_back(host: Host) -> None:
    host.start_daemon()
    run(host, "--name", "always", "--restart", "always", "--hostname", "always.weave.local")
    run(host, "--name", "never", "--hostname", "never.weave.local")
    wait_until(lambda: len(attached(host)) == 2, what="both")
    host.engine.restart(signal.SIGKILL)
    wait_until(lambda: list(attached(host)) == ["always"], 60, what=lambda: str(attached(host)))
    wait_until(lambda: bool(host.dig("always.weave.local")), what="the name of the one that came back")
    assert host.dig("never.weave.local") == []


def test_no_query_is_told_that_a_running_container_does_not_exist_during_a_restart(host: Host) -> None:
    host.start_daemon()
    run(host, "--name", "app", "--hostname", "app.weave.local")
    wait_for(host, "app.weave.local", "10.2.0.1")
    host.kill_daemon()
    host.start_daemon(wait=False)
    answered: list[str] = []

    def ask() -> bool:
        asked = host.run("dig", "@10.2.254.1", "+short", "+time=1", "+tries=1", "app.weave.local", check=False)
        if asked.returncode == 0:
            answered.append(asked.stdout.strip())
        return len(answered) == 10

    wait_until(ask, 60, what="ten answers")
    assert set(answered) == {"10.2.0.1"}
