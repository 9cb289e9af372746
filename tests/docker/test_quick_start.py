"""README's quick start, word for word where a registry is not needed, on a real engine."""

from functools import partial

import pytest

from tests.lab import Host, LabError, wait_until

pytestmark = pytest.mark.docker

SLEEP = "1000"


def run(host: Host, *args: str, image: str = "busybox") -> str:
    return host.docker("run", "-d", *args, image, "sleep", SLEEP)


def wait_for(host: Host, name: str, *addresses: str) -> None:
    wait_until(lambda: sorted(host.dig(name)) == sorted(addresses), what=lambda: f"{name} is {host.dig(name)}")


def test_the_quick_start_does_what_the_readme_says(host: Host) -> None:
    host.load("glibc", "musl")
    host.start_daemon()

    run(host, "--name", "redis", "--hostname", "redis.weave.local")
    wait_for(host, "redis.weave.local", "10.2.0.1")
    for app, image in (("busybox-app", "busybox"), ("glibc-app", "glibc"), ("musl-app", "musl")):
        run(host, "--name", app, "--hostname", f"{app}.weave.local", image=image)
        wait_until(partial(host.dig, f"{app}.weave.local"), what="the app's own name")
    assert "10.2.0.1" in host.docker("exec", "busybox-app", "ping", "-c1", "redis")
    assert host.docker("exec", "glibc-app", "getent", "ahostsv4", "redis").split()[0] == "10.2.0.1"
    assert host.docker("exec", "musl-app", "lookup", "redis").split() == ["10.2.0.1"]

    host.run("weavedns", "add", "db", "192.0.2.10")
    assert host.dig("db.weave.local") == ["192.0.2.10"]
    assert host.docker("exec", "glibc-app", "getent", "ahostsv4", "db").split()[0] == "192.0.2.10"

    host.kill_daemon()
    assert "10.2.0.1" in host.docker("exec", "busybox-app", "ping", "-c1", "10.2.0.1")
    host.start_daemon()
    assert host.dig("redis.weave.local") == ["10.2.0.1"]
    assert host.dig("db.weave.local") == ["192.0.2.10"]
    assert host.docker("exec", "musl-app", "lookup", "redis").split() == ["10.2.0.1"]

    host.run("weavedns", "remove", "db")
    assert host.dig("db.weave.local") == []
    assert "4 attached" in host.run("weavedns", "status").stdout


def test_names_outside_the_domain_still_resolve_in_a_container(host: Host) -> None:
    host.start_daemon()
    run(host, "--name", "app", "--hostname", "app.weave.local")
    wait_for(host, "app.weave.local", "10.2.0.1")
    assert "192.0.2.80" in host.docker("exec", "app", "nslookup", "example.test")


def test_a_clean_stop_leaves_containers_as_they_were_before(host: Host) -> None:
    run(host, "--name", "app", "--hostname", "app.weave.local")
    before = host.docker("exec", "app", "cat", "/etc/resolv.conf")
    rules = host.run("iptables-save", "-t", "filter").stdout.count("-A ")
    host.start_daemon()
    wait_for(host, "app.weave.local", "10.2.0.1")
    assert host.docker("exec", "app", "cat", "/etc/resolv.conf") != before

    host.run("weavedns", "stop", "--clean")

    assert host.docker("exec", "app", "cat", "/etc/resolv.conf") == before
    with pytest.raises(LabError):
        host.docker("exec", "app", "ip", "link", "show", "ethwe")
    assert "weave" not in host.run("ip", "-brief", "link").stdout
    assert host.run("iptables-save", "-t", "filter").stdout.count("-A ") == rules
    wait_until(lambda: host.daemon is not None and not host.daemon.is_running, what="the daemon's end")
