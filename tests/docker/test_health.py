"""Containers whose health check fails are left out of the answers while others have the name."""

import json

import pytest

from tests.docker.test_quick_start import run, wait_for
from tests.lab import Host, wait_until

pytestmark = pytest.mark.docker

CHECK = ("--health-cmd", "test ! -e /tmp/sick", "--health-interval", "500ms", "--health-retries", "1")


def fall_ill(host: Host, *containers: str) -> None:
    for container in containers:
        host.docker("exec", container, "touch", "/tmp/sick")


def get_well(host: Host, *containers: str) -> None:
    for container in containers:
        host.docker("exec", container, "rm", "-f", "/tmp/sick")


def start_web(host: Host, number: int, *options: str) -> None:
    run(host, "--name", f"web{number}", "--hostname", "web.weave.local", *options)
    wait_for(host, "web.weave.local", *(f"10.2.0.{each}" for each in range(1, number + 1)))


def health(host: Host) -> dict[str, bool]:
    rows = map(json.loads, host.run("weavedns", "ls", "--format", "json").stdout.splitlines())
    return {row["data"]: row["healthy"] for row in rows if row["name"] == "web.weave.local"}


def test_the_unhealthy_are_left_out_until_they_are_well_or_all_are_ill(host: Host) -> None:
    host.start_daemon()
    start_web(host, 1, *CHECK)
    start_web(host, 2, *CHECK)
    start_web(host, 3, *CHECK)
    fall_ill(host, "web1")
    wait_for(host, "web.weave.local", "10.2.0.2", "10.2.0.3")
    assert health(host) == {"10.2.0.1": False, "10.2.0.2": True, "10.2.0.3": True}
    assert host.dig("-x", "10.2.0.1") == ["web.weave.local."]
    assert "10.2.0.1" in host.run("weavedns", "export").stdout
    fall_ill(host, "web2")
    wait_for(host, "web.weave.local", "10.2.0.3")
    fall_ill(host, "web3")
    wait_for(host, "web.weave.local", "10.2.0.1", "10.2.0.2", "10.2.0.3")
    get_well(host, "web1", "web2")
    wait_for(host, "web.weave.local", "10.2.0.1", "10.2.0.2")
    host.docker("kill", "web1", "web2")
    wait_for(host, "web.weave.local", "10.2.0.3")


def test_health_is_seen_again_after_a_restart_of_the_daemon_and_starting_counts_as_usable(host: Host) -> None:
    host.start_daemon()
    start_web(host, 1, *CHECK)
    start_web(host, 2, *CHECK, "--health-start-period", "1h", "--health-interval", "1h")
    start_web(host, 3)
    fall_ill(host, "web1")
    wait_for(host, "web.weave.local", "10.2.0.2", "10.2.0.3")
    host.kill_daemon()
    host.start_daemon()
    assert sorted(host.dig("web.weave.local")) == ["10.2.0.2", "10.2.0.3"]
    assert host.inspect("web2")["State"]["Health"]["Status"] == "starting"


def test_the_health_check_can_be_ignored(host: Host) -> None:
    host.start_daemon()
    start_web(host, 1, *CHECK, "-l", "works.weave.dns.health=ignore")
    start_web(host, 2, *CHECK)
    fall_ill(host, "web1", "web2")
    wait_for(host, "web.weave.local", "10.2.0.1")
    wait_until(lambda: host.inspect("web1")["State"]["Health"]["Status"] == "unhealthy", what="web1 to be ill")
    assert health(host) == {"10.2.0.1": True, "10.2.0.2": False}
