"""Daemons that are restarted, one by one and all at once, while names are asked for everywhere without a pause."""

import signal

import pytest

from tests.docker.hosts import (
    SOON_S,
    Hosts,
    Questions,
    all_agree,
    connected,
    hosts,
    joined,
    nobody_has_an_address_twice,
    own_address,
    restart,
    run,
    signal_to,
    three,
    told,
    wait_for,
)
from tests.lab import Host, wait_until

__all__ = ["hosts", "joined", "three"]
pytestmark = pytest.mark.docker


def test_restarts_of_one_daemon_after_the_other_give_no_wrong_answer_anywhere(joined: Hosts) -> None:
    joined[0].load("musl")
    joined[1].load("glibc")
    names = {}
    for number, host in enumerate(joined):
        run(host, f"app{host.name}", image=("musl", "glibc", "busybox")[number])
        host.run("weavedns", "add", f"db{host.name}", f"192.0.2.{number + 1}")
    for host in joined:
        for other in joined:
            names[f"app{other.name}.weave.local"] = wait_for(host, f"app{other.name}", 1)
            names[f"db{other.name}.weave.local"] = wait_for(host, f"db{other.name}", 1)
    with Questions(names) as questions:
        for host in joined:
            questions.to_server_of(host)
        questions.in_container(joined[0], f"app{joined[0].name}", "musl")
        questions.in_container(joined[1], f"app{joined[1].name}", "glibc")
        for with_signal in (signal.SIGTERM, signal.SIGKILL):
            for host in joined:
                restart(joined, host, with_signal)
    for who, found in questions.results.items():
        assert not found["wrong"], f"{who}: {found}\n{told(joined)}"
        assert found["right"] > 100, f"{who}: {found}"
        assert "container" not in who or not found["silent"]


def unread(host: Host, server: str) -> int:
    """How many bytes of queries wait at a server's address."""
    for line in host.run("ss", "-Hlun", f"src {server}:53").stdout.splitlines():
        return int(line.split()[1])
    return 0


def test_a_daemon_that_starts_keeps_queries_waiting_until_it_knows_what_the_others_know(joined: Hosts) -> None:
    one, *others = joined
    names = {}
    for host in joined:
        run(host, f"app{host.name}")
        names[f"app{host.name}.weave.local"] = wait_for(one, f"app{host.name}", 1)
    server = own_address(one)
    waiting: set[int] = {0}

    def more_and_more_wait() -> bool:
        waiting.add(unread(one, server))
        return len(waiting) > 2

    with Questions(names) as questions:
        questions.to_server_of(one)
        for host in others:
            signal_to(host, signal.SIGSTOP)
        one.kill_daemon()
        try:
            one.start_daemon(wait=False)
            wait_until(more_and_more_wait, SOON_S, what=lambda: f"{waiting}\n{told(joined)}")
        finally:
            for host in others:
                signal_to(host, signal.SIGCONT)
        one.wait_for_daemon()
        all_agree((one,), {name.partition(".")[0]: addresses for name, addresses in names.items()})
    (found,) = questions.results.values()
    assert not found["wrong"], f"{found}\n{told(joined)}"


@pytest.mark.parametrize("lost", [None, 0, 1], ids=["all kept", "founder's ring lost", "another's ring lost"])
def test_all_daemons_killed_and_launched_together_find_everything_as_it_was(joined: Hosts, lost: int | None) -> None:
    for host in joined:
        run(host, f"app{host.name}")
        host.run("weavedns", "add", f"db{host.name}", "192.0.2.9")
    names = {f"app{host.name}": wait_for(joined[0], f"app{host.name}", 1) for host in joined}
    names |= {f"db{host.name}": ["192.0.2.9"] for host in joined}
    all_agree(joined, names)
    servers = [own_address(host) for host in joined]
    for host in joined:
        host.kill_daemon()
    if lost is not None:
        (joined[lost].state_dir / "ring").unlink()
    one, *others = joined
    one.start_daemon(wait=False)
    for host in others:
        host.start_daemon(one.address, wait=False)
    for host in joined:
        host.wait_for_daemon()
        connected(host)
    assert [own_address(host) for host in joined] == servers
    all_agree(joined, names)
    for host in joined:
        run(host, f"new{host.name}")
    for host in joined:
        for other in joined:
            wait_for(host, f"new{other.name}", 1)
    found = nobody_has_an_address_twice(joined)
    assert {name: [found[name]] for name in names if name in found} == {
        name: addresses for name, addresses in names.items() if name.startswith("app")
    }
