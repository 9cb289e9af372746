"""What docs/operating.md tells people to do with several hosts, done."""

import json
import signal

import pytest

from tests.docker.hosts import (
    Hosts,
    connected,
    cut_off,
    hosts,
    own_address,
    peers,
    reaches,
    run,
    states,
    three,
    wait_for,
)
from tests.lab import Host, Lab, wait_until

pytestmark = pytest.mark.docker

__all__ = ["hosts", "three"]

WHOLE = 2**16
AWAY_S = 30.0


def shares(host: Host) -> dict[str, int]:
    """How many addresses each host owns, as a host sees it."""
    found = json.loads(host.run("weavedns", "status", "ipam", "--format", "json").stdout)["shares"]
    return {each["peer"]: each["addresses"] for each in found}


def reboot(host: Host) -> None:
    """Everything ends, and the kernel forgets; the disk stays, and the engine comes back with its containers."""
    host.kill_daemon()
    host.engine.stop(signal.SIGTERM)
    host._remove_links()
    host.run("rm", "-rf", "/run/weavedns")
    host.engine.start()


def test_one_list_in_the_settings_file_does_for_all_hosts_at_their_first_start(hosts: Hosts) -> None:
    everybody = json.dumps([host.address for host in hosts])
    for host in hosts:
        folder = host.directory / "etc" / "weavedns"
        folder.mkdir(exist_ok=True)
        (folder / "weavedns.toml").write_text(f"peers = {everybody}\n", encoding="ascii")
        host.start_daemon(wait=False)
    for host in hosts:
        host.wait_for_daemon()
        connected(host, within_s=AWAY_S)
    wait_until(lambda: all(sum(shares(host).values()) == WHOLE for host in hosts), AWAY_S)
    assert sorted(shares(hosts[0])) == ["h1", "h2", "h3"]
    assert len({own_address(host) for host in hosts}) == 3


def test_a_host_that_ran_alone_joins_after_what_it_gave_out_is_taken_back(hosts: Hosts) -> None:
    one, two, _ = hosts
    for host, name in ((one, "redis"), (two, "app")):
        host.start_daemon()
        run(host, name)
        assert wait_for(host, name) == ["10.2.0.1"]
    two.run("weavedns", "add", "db", "192.0.2.10")
    two.run("weavedns", "stop", "--clean")
    assert two.daemon
    two.daemon.process.wait(AWAY_S)
    (two.state_dir / "ring").unlink()

    two.start_daemon(one.address)
    connected(one, 1)
    assert len({*wait_for(one, "redis"), *wait_for(one, "app")}) == 2
    assert wait_for(one, "db") == ["192.0.2.10"]
    reaches(two, "app", "redis")
    assert "TROUBLE" not in one.run("weavedns", "status", "ipam").stdout
    assert sum(shares(one).values()) == WHOLE


def test_a_dead_host_is_replaced_by_one_of_its_name_and_no_address_is_lost(three: Lab, hosts: Hosts) -> None:
    one, two, third = hosts
    one.start_daemon()
    two.start_daemon(one.address)
    connected(one, 1)
    cut_off(three, two)
    two.kill_daemon()
    wait_until(lambda: states(one) == ["gone"], AWAY_S, what=lambda: str(states(one)))

    one.run("weavedns", "forget", "h2")
    one.run("weavenet", "ipam", "takeover", "h2")
    assert shares(one) == {"h1": WHOLE}
    third.start_daemon(one.address, "--name", "h2")
    connected(one, 1)
    wait_until(lambda: set(shares(one)) == {"h1", "h2"})
    assert sum(shares(one).values()) == WHOLE
    assert [row["address"] for row in peers(one)] == [third.address]


def test_a_host_that_was_rebooted_has_its_addresses_and_finds_the_others_that_its_launch_names(hosts: Hosts) -> None:
    one, two, _ = hosts
    for host, other in ((one, two), (two, one)):
        host.start_daemon(other.address, wait=False)
    for host in (one, two):
        host.wait_for_daemon()
    wait_until(lambda: states(one) == ["connected"], AWAY_S)
    run(one, "redis", "--restart=always")
    run(two, "app")
    before = wait_for(two, "redis")
    own = own_address(one)
    reboot(one)
    one.start_daemon(two.address)
    wait_until(lambda: states(one) == ["connected"], AWAY_S)
    assert wait_for(two, "redis") == before
    assert own_address(one) == own
    reaches(two, "app", "redis")
