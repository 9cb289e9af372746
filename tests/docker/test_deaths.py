"""Daemons that die and hosts that die or are cut off: which names stay, which go, and that all is well afterwards."""

import signal

import pytest

from tests.docker.hosts import (
    Hosts,
    Questions,
    all_agree,
    connect,
    connected,
    cut_off,
    hosts,
    joined,
    nobody_has_an_address_twice,
    own_address,
    pings,
    run,
    servers_of,
    states,
    three,
    told,
    wait_for,
)
from tests.lab import Host, Lab, wait_until

__all__ = ["hosts", "joined", "three"]
pytestmark = pytest.mark.docker

# A host's death takes some seconds to be noticed; a busy machine may take longer.
NOTICED_S = 30.0
# What a container's program sees of a server: refused at once, and not silence.
KNOCK = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(5)
    sock.connect((sys.argv[1], 53))
    sock.send(b"x" * 12)
    try:
        sock.recv(512)
    except ConnectionRefusedError:
        print("refused")
"""


def is_down(seen_by: Host) -> None:
    """Wait until a host knows of a daemon that is dead."""
    wait_until(
        lambda: "daemon down" in states(seen_by),
        NOTICED_S,
        what=lambda: f"a dead daemon in {states(seen_by)} of {seen_by.name}",
    )


def test_a_dead_daemons_names_are_answered_while_its_host_lives_and_go_with_it(three: Lab, joined: Hosts) -> None:
    one, two, third = joined
    run(third, "redis")
    run(one, "app")
    names = {"redis.weave.local": wait_for(one, "redis", 1), "app.weave.local": wait_for(two, "app", 1)}
    wait_for(two, "redis", 1)
    with Questions(names) as questions:
        questions.to_server_of(one)
        questions.to_server_of(two)
        third.kill_daemon()
        for survivor in (one, two):
            is_down(survivor)
        assert pings(one, "app", "redis")
        wait_until(lambda: servers_of(one, "app") == [own_address(one), own_address(two)])
        third.start_daemon(one.address)
        connected(third)
    for who, found in questions.results.items():
        assert not found["wrong"], f"{who}: {found}\n{told(joined)}"
        assert found["right"] > 100
    # Its daemon dies again, and this time the host follows.
    third.kill_daemon()
    is_down(one)
    cut_off(three, third)
    for host in (one, two):
        wait_for(host, "redis", 0, within_s=NOTICED_S)
        assert "gone" in states(host)
    connect(three, third)
    third.start_daemon(one.address)
    all_agree(joined, {"redis": names["redis.weave.local"]})


def test_sides_of_a_partition_answer_what_they_have_and_agree_afterwards(three: Lab, joined: Hosts) -> None:
    one, two, third = joined
    for host in joined:
        run(host, f"app{host.name}")
    names = {f"app{host.name}": wait_for(one, f"app{host.name}", 1) for host in joined}
    all_agree(joined, names)
    cut_off(three, third)
    for host in (one, two):
        wait_for(host, "apph3", 0, within_s=NOTICED_S)
    wait_for(third, "apph1", 0, within_s=NOTICED_S)
    all_agree((one, two), {name: names[name] for name in ("apph1", "apph2")})
    for number, host in enumerate((one, third, two, third)):
        run(host, f"new{number}")
        names[f"new{number}"] = wait_for(host, f"new{number}", 1)
    third.run("weavedns", "add", "lone", "192.0.2.30")
    names["lone"] = ["192.0.2.30"]
    connect(three, third)
    for host in joined:
        connected(host, within_s=NOTICED_S)
    all_agree(joined, names)
    found = nobody_has_an_address_twice(joined)
    assert {name: [address] for name, address in found.items()} == {
        name: addresses for name, addresses in names.items() if name != "lone"
    }


def test_a_container_whose_daemon_is_dead_is_refused_there_and_finds_names_by_other_peers(joined: Hosts) -> None:
    one, two, _ = joined
    one.load("glibc", "musl")
    run(one, "debian", image="glibc")
    run(one, "alpine", image="musl")
    run(two, "redis")
    for host in joined:
        (address,) = wait_for(host, "redis", 1)
    wait_until(lambda: len(servers_of(one, "debian")) == len(servers_of(one, "alpine")) == 3)
    server = own_address(one)
    one.kill_daemon()
    # The address stays on the bridge, so that resolvers need not wait for an answer that never comes.
    assert one.docker("exec", "debian", "python3", "-c", KNOCK, server) == "refused"
    for name in ("redis", "redis.weave.local"):
        assert one.docker("exec", "debian", "getent", "ahostsv4", name).split()[0] == address
        assert one.docker("exec", "alpine", "lookup", name, "4") == address
        assert one.docker("exec", "alpine", "lookup-static", name, "4") == address


def test_a_container_keeps_its_servers_through_a_start_of_its_daemon_that_fails(joined: Hosts) -> None:
    one, two, third = joined
    run(one, "app")
    wait_for(one, "app", 1)
    wait_until(lambda: len(servers_of(one, "app")) == 3)
    servers = servers_of(one, "app")
    assert set(servers) == {own_address(host) for host in joined}
    one.kill_daemon()
    holder = one.popen("python3", "-m", "http.server", "6783", "--bind", "0.0.0.0")
    try:
        wait_until(lambda: "LISTEN" in one.run("ss", "-Hltn", "sport = :6783").stdout)
        failed = one.start_daemon(wait=False)
        assert failed.process.wait(60) == 1
        assert "cannot listen on 0.0.0.0 port 6783" in failed.log
        assert servers_of(one, "app") == servers
    finally:
        holder.terminate()
        holder.wait(10)
    one.start_daemon()
    assert servers_of(one, "app") == servers
    two.run("weavedns", "stop")
    wait_until(lambda: servers_of(one, "app") == [own_address(one), own_address(third)])


def test_a_daemon_launched_while_its_engine_is_away_denies_no_name_of_its_containers(joined: Hosts) -> None:
    one, two, third = joined
    one.engine.stop()
    one.engine.start("--live-restore")  # its containers outlive it, as they do where engines are upgraded
    run(one, "redis")
    names = {"redis.weave.local": wait_for(two, "redis", 1)}
    all_agree(joined, {"redis": names["redis.weave.local"]})
    with Questions(names) as questions:
        for host in joined:
            questions.to_server_of(host)
        one.engine.stop(signal.SIGKILL)
        one.kill_daemon()
        launched = one.start_daemon(wait=False)
        is_down(two)
        one.engine.start()
        one.wait_for_daemon()
        for host in joined:
            connected(host)
    for who, found in questions.results.items():
        assert not found["wrong"], f"{who}: {found}\n{told(joined)}"
        assert found["right"]
    assert "not there, still looking" not in one.run("weavedns", "status").stdout
    all_agree(joined, {"redis": names["redis.weave.local"]})
    run(third, "new")
    assert wait_for(one, "new", 1) != names["redis.weave.local"]
    assert launched.is_running
