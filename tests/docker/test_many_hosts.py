"""Three hosts, real engines: names everywhere, addresses nowhere twice, and what happens when one is gone."""

import json
import signal
import time

import pytest

from tests.docker.hosts import (
    SOON_S,
    Hosts,
    answers,
    connect,
    connected,
    cut_off,
    has,
    hosts,
    joined,
    own_address,
    peers,
    pings,
    reaches,
    run,
    servers_of,
    states,
    three,
    told,
    wait_for,
)
from tests.lab import Lab, wait_until

__all__ = ["hosts", "joined", "three"]
pytestmark = pytest.mark.docker


def test_a_name_is_answered_on_every_host_after_docker_run_on_one(joined: Hosts) -> None:
    two = joined[1]
    run(two, "redis")
    found = [wait_for(host, "redis") for host in joined]
    assert len(found[0]) == 1
    assert found[0] == found[1] == found[2]
    two.docker("rm", "-f", "redis")
    for host in joined:
        wait_for(host, "redis", 0)


def test_containers_of_different_hosts_reach_each_other_by_name(joined: Hosts) -> None:
    for host in joined:
        run(host, f"app{host.name}")
    for host in joined:
        for other in joined:
            wait_for(host, f"app{other.name}")
    for host in joined:
        for other in joined:
            reaches(host, f"app{host.name}", f"app{other.name}")


def test_each_peer_has_its_own_dns_address_and_containers_know_the_others(joined: Hosts) -> None:
    addresses = [own_address(host) for host in joined]
    assert len(set(addresses)) == 3
    one, two, three = joined
    run(one, "app")
    wait_for(one, "app")
    wait_until(lambda: servers_of(one, "app") == addresses, SOON_S, what=lambda: f"{addresses}")
    run(two, "redis")
    wait_for(one, "redis")
    three.run("weavedns", "stop")
    wait_until(lambda: servers_of(one, "app") == addresses[:2], SOON_S, what=f"{addresses} without {three.name}")
    # The daemon beside it is dead, but names are still found.
    one.kill_daemon()
    wait_until(lambda: pings(one, "app", "redis"), SOON_S, what="redis by another host's server")


def test_what_is_added_on_one_host_is_seen_and_removed_on_any(joined: Hosts) -> None:
    one, two, three = joined
    two.run("weavedns", "add", "db", "192.0.2.10", "192.0.2.11")
    for host in joined:
        assert wait_for(host, "db", 2) == ["192.0.2.10", "192.0.2.11"]
    rows = [json.loads(line) for line in one.run("weavedns", "ls", "--format", "json").stdout.splitlines()]
    assert {row["peer"] for row in rows if row["name"] == "db.weave.local"} == {"h2"}
    three.run("weavedns", "remove", "db", "192.0.2.10")
    for host in joined:
        has(host, "db", "192.0.2.11")
    one.run("weavedns", "remove", "db")
    for host in joined:
        wait_for(host, "db", 0)
    refused = one.run("weavedns", "remove", "db", check=False)
    assert refused.returncode == 1
    assert "no record is named db.weave.local" in refused.stderr


def test_a_name_given_to_a_container_is_removed_from_any_host(joined: Hosts) -> None:
    one, two, three = joined
    run(two, "redis")
    wait_for(one, "redis")
    two.run("weavedns", "add", "cache", "--container", "redis")
    for host in joined:
        assert wait_for(host, "cache", 1) == answers(host, "redis")
    refused = one.run("weavedns", "remove", "redis", check=False)
    assert refused.returncode == 1
    assert "belongs to container" in refused.stderr
    assert "on h2" in refused.stderr
    three.run("weavedns", "remove", "cache")
    for host in joined:
        wait_for(host, "cache", 0)
        assert wait_for(host, "redis", 1)
    two.run("weavedns", "add", "cache", "--container", "redis")
    wait_for(one, "cache")
    two.kill_daemon()
    wait_until(lambda: "daemon down" in states(one), 15.0)
    refused = one.run("weavedns", "remove", "cache", check=False)
    assert refused.returncode == 1
    assert "h2, which is not there" in refused.stderr


def test_a_killed_daemon_that_restarts_is_not_missed(joined: Hosts) -> None:
    one, two, _ = joined
    run(one, "redis")
    run(two, "app")
    (address,) = wait_for(two, "redis")
    wait_for(one, "app")
    server = own_address(two)
    one.kill_daemon()
    assert pings(two, "app", address)
    one.start_daemon(wait=False)  # the founder, with nobody named: the kernel still says who the others were
    until = time.monotonic() + 6.0
    asked = 0
    while time.monotonic() < until:
        assert two.dig("redis.weave.local", server=server) == [address]
        asked += 1
    assert asked > 20
    one.wait_for_daemon()
    connected(one)
    assert answers(one, "redis") == [address]
    wait_for(one, "app")
    assert pings(two, "app", address)


def test_a_dead_hosts_names_go_and_come_back(three: Lab, joined: Hosts) -> None:
    one, two, third = joined
    run(third, "redis")
    run(one, "redis")
    assert len(wait_for(two, "redis", 2)) == 2
    both = wait_for(two, "redis", 2)
    cut_off(three, third)
    left = wait_for(two, "redis", 1, within_s=15.0)
    assert left == wait_for(one, "redis", 1)
    # It still answers for itself, and for itself alone.
    (own,) = wait_for(third, "redis", 1, within_s=15.0)
    assert {own, *left} == set(both)
    third.run("weavedns", "add", "lone", "192.0.2.30")
    one.run("weavedns", "add", "db", "192.0.2.10")
    connect(three, third)
    for host in joined:
        assert wait_for(host, "redis", 2, within_s=20.0) == both
        wait_for(host, "lone", 1)
        wait_for(host, "db", 1)
    removed = one.run("weavedns", "remove", "lone", check=False)
    assert removed.returncode == 0, removed.stderr


def test_what_belongs_to_a_dead_peer_is_not_removed_and_it_can_be_forgotten(three: Lab, joined: Hosts) -> None:
    one, two, third = joined
    third.run("weavedns", "add", "lone", "192.0.2.30")
    wait_for(one, "lone")
    assert "is there" in one.run("weavedns", "forget", "h3", check=False).stderr
    third.kill_daemon()
    wait_until(lambda: "daemon down" in states(one), 15.0)
    removed = one.run("weavedns", "remove", "lone", check=False)
    assert removed.returncode == 1
    assert "h3, which is not there" in removed.stderr
    one.run("weavedns", "forget", "h3")
    wait_until(lambda: [len(peers(host)) for host in (one, two)] == [1, 1], SOON_S)
    owned = one.run("weavenet", "ipam", "takeover", "h3").stdout
    assert int(owned) > 0
    wait_until(lambda: "h3" not in two.run("weavenet", "status").stdout, SOON_S)


def test_a_host_that_stops_leaves_at_once(joined: Hosts) -> None:
    one, _, three = joined
    run(three, "redis")
    wait_for(one, "redis")
    three.run("weavedns", "stop")
    wait_for(one, "redis", 0, within_s=2.0)
    assert [row["peer"] for row in peers(one)] == ["h2"]


def test_an_address_in_use_elsewhere_is_refused_with_container_and_host(joined: Hosts) -> None:
    one, _, three = joined
    run(one, "first", "-e", "WEAVE_CIDR=10.2.45.3/16")
    wait_for(three, "first")
    three.docker("run", "-d", "--name", "second", "busybox")
    refused = three.run("weavenet", "attach", "second", "10.2.45.3/16", check=False)
    assert refused.returncode == 1
    assert "10.2.45.3 is in use by container first" in refused.stderr
    assert "on host h1" in refused.stderr


def test_hosts_launched_at_once_with_the_same_list_share_out_the_addresses(hosts: Hosts) -> None:
    everybody = [host.address for host in hosts]
    for host in hosts:
        host.start_daemon(*everybody, wait=False)
    for host in hosts:
        host.wait_for_daemon()
        connected(host)
    assert len({own_address(host) for host in hosts}) == 3
    for host in hosts:
        run(host, f"app{host.name}")
    found = {host.name: wait_for(hosts[0], f"app{host.name}")[0] for host in hosts}
    assert len(set(found.values())) == 3


def test_a_wrong_password_is_refused_and_both_sides_say_so(hosts: Hosts) -> None:
    one, two, three = hosts
    one.start_daemon("--password", "correct horse")
    two.start_daemon(one.address, env={"WEAVEDNS_PASSWORD": "correct horse"})
    wait_until(lambda: states(one) == ["connected"], SOON_S)
    wrong = three.start_daemon(one.address, "--password", "battery staple", wait=False)
    wait_until(lambda: "it has another password" in wrong.log, SOON_S, what=lambda: told(hosts))
    wait_until(lambda: f"packets from {three.address} are refused" in (one.daemon.log if one.daemon else ""), SOON_S)
    assert states(two) == ["connected"]
    three.wait_for_daemon()  # it answers commands while it waits
    assert "refused" in states(three)
    assert "weavenet ipam seed" in three.run("weavenet", "status").stdout
    wrong.end(signal.SIGTERM)
    three.start_daemon(one.address, "--password", "correct horse")
    connected(three)


@pytest.mark.parametrize(
    ("flag", "usual", "other"),
    [
        ("--domain", "weave.local", "corp.example"),
        ("--range", "10.2.0.0/16", "10.32.0.0/16"),
        ("--overlay-port", "6784", "6785"),
    ],
)
def test_a_peer_with_another_domain_range_or_port_is_refused_and_both_sides_say_so(
    hosts: Hosts, flag: str, usual: str, other: str
) -> None:
    one, two, three = hosts
    one.start_daemon()
    two.start_daemon(one.address)
    wait_until(lambda: states(one) == ["connected"], SOON_S)
    stranger = three.start_daemon(one.address, flag, other, wait=False)
    wait_until(lambda: f"it has {flag} {usual}, and this peer {flag} {other}" in stranger.log, SOON_S)
    assert one.daemon
    log = one.daemon
    refusal = f"{three.address} are refused: it has {flag} {other}, and this peer {flag} {usual}"
    wait_until(lambda: refusal in log.log, SOON_S, what=lambda: log.log)
    three.wait_for_daemon()
    assert "refused" in states(three)
    assert "rejected" in states(one)
    assert f"{flag} {other}" in one.run("weavedns", "status", "peers").stdout
    assert f"{flag} {usual}" in three.run("weavedns", "status", "peers").stdout
    assert "connected" not in states(three)
    # One that was in and comes back with another is out, whoever speaks first.
    two.kill_daemon()
    changed = two.start_daemon(one.address, flag, other, wait=False)
    wait_until(lambda: f"it has {flag} {usual}" in changed.log, SOON_S, what=lambda: changed.log)
    wait_until(lambda: "gone" in states(one), 30.0, what=lambda: told(hosts))


def test_a_second_peer_of_the_same_name_is_refused(hosts: Hosts) -> None:
    one, two, _ = hosts
    one.start_daemon()
    second = two.start_daemon(one.address, "--name", "h1", wait=False)
    wait_until(lambda: not second.is_running, SOON_S, what=lambda: second.log)
    assert second.process.returncode == 1
    assert "another --name" in second.log
    wait_until(lambda: f"a peer at {two.address} has the name h1 too" in (one.daemon.log if one.daemon else ""))


def test_a_peer_that_cannot_be_reached_is_told_and_joined_later(hosts: Hosts) -> None:
    one, two, _ = hosts
    waiting = two.start_daemon(one.address, wait=False)
    wait_until(lambda: f"the peer at {one.address} port 6783 does not answer" in waiting.log, SOON_S)
    two.wait_for_daemon()
    refused = two.run("weavedns", "join", "10.99.0.77", check=False, timeout_s=60)
    assert refused.returncode == 1
    assert "10.99.0.77" in refused.stderr
    one.start_daemon()
    wait_until(lambda: states(two).count("connected") == 1, 45.0)
    wait_until(lambda: "serves weave.local" in waiting.log, SOON_S)
    assert own_address(one) != own_address(two)
