"""A password that is changed on a running cluster: nobody is refused meanwhile, and no name goes unanswered."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.docker.hosts import (
    SOON_S,
    Hosts,
    connected,
    hosts,
    launch_all,
    own_address,
    report,
    states,
    three,
    told,
    wait_for,
)
from tests.lab import Host, wait_until

__all__ = ["hosts", "three"]
pytestmark = pytest.mark.docker

FILE = "/etc/weavedns/password"
ADDRESS = "192.0.2.7"
# What the file says in each round: the first line seals, the second is let in as well.
ROUNDS = (["old one", "new one"], ["new one", "old one"], ["new one"])
STARTED_S = 60.0


def write(host: Host, lines: Sequence[str]) -> None:
    """Change the file at one stroke, as an editor does."""
    folder = host.directory / "etc" / "weavedns"
    folder.mkdir(exist_ok=True)
    fresh = folder / "password.new"
    fresh.write_text("".join(f"{line}\n" for line in lines))
    fresh.rename(folder / "password")


def gossip(host: Host) -> dict[str, Any]:
    counted: dict[str, Any] = report(host)["gossip"]  # type: ignore[assignment]
    return counted


class Watch:
    """Asks hosts for names, over and over; `missed` is what was not answered, and `asked` how often it asked.

    While a host is named in `without`, it is not asked, nor is anybody for its name.
    """

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = {host.name: (host, own_address(host)) for host in hosts}
        self._ended = threading.Event()
        self.without = ""
        self.missed: list[str] = []
        self.asked = 0

    def run(self) -> None:
        while not self._ended.is_set():
            for owner in self._hosts:
                for host, server in self._hosts.values():
                    if self.without not in {owner, host.name}:
                        self._ask(host, server, owner)

    def _ask(self, host: Host, server: str, owner: str) -> None:
        found = host.run("dig", f"@{server}", "+short", "+time=3", f"db-{owner}.weave.local", check=False).stdout
        self.asked += 1
        if found.split() != [ADDRESS] and self.without not in {owner, host.name}:
            self.missed.append(f"db-{owner} on {host.name}: {found}")

    def end(self) -> None:
        self._ended.set()


@contextlib.contextmanager
def watching(hosts: Hosts) -> Iterator[Watch]:
    """Ask every host for every host's name until the block ends."""
    watch = Watch(hosts)
    thread = threading.Thread(target=watch.run)
    thread.start()
    try:
        yield watch
    finally:
        watch.end()
        thread.join()


def launch_with_names(hosts: Hosts) -> None:
    for host in hosts:
        write(host, ["old one"])
    launch_all(hosts, "--password-file", FILE)
    for host in hosts:
        host.run("weavedns", "add", f"db-{host.name}", ADDRESS)
    for host in hosts:
        everything_is_answered(host, hosts)


def everything_is_answered(host: Host, hosts: Hosts) -> None:
    for owner in hosts:
        wait_for(host, f"db-{owner.name}", within_s=STARTED_S)


def nobody_was_refused(hosts: Hosts) -> None:
    for host in hosts:
        counted = gossip(host)["refused"]
        assert [counted[why] for why in ("unknown_key", "forged", "plaintext", "encrypted")] == [0] * 4


def test_a_password_is_changed_without_a_restart_and_no_name_is_missed(hosts: Hosts) -> None:
    launch_with_names(hosts)
    (old,) = gossip(hosts[0])["keys"]
    with watching(hosts) as watch:
        for number, lines in enumerate(ROUNDS):
            for host in hosts:
                write(host, lines)
            # What an operator waits for before the next round: `weavedns status peers` says it on each host.
            for host in hosts:
                wait_until(lambda: len(gossip(host)["keys"]) == len(lines), SOON_S, what=lambda: told(hosts))  # noqa: B023
                wait_until(lambda: (gossip(host)["keys"][0] == old) == (number == 0), SOON_S)  # noqa: B023
            hosts[number].run("weavedns", "add", f"round{number}", "192.0.2.9")
            for host in hosts:
                assert wait_for(host, f"round{number}") == ["192.0.2.9"]
    assert watch.missed == []
    assert watch.asked > 0
    nobody_was_refused(hosts)
    assert [gossip(host)["keys"] for host in hosts] == [gossip(hosts[0])["keys"]] * 3
    # A file that is of no use changes nothing.
    write(hosts[0], [])
    wait_until(lambda: "the passwords of before stay valid" in (hosts[0].daemon.log if hosts[0].daemon else ""))
    assert states(hosts[0]) == ["connected", "connected"]
    # Who has the old password is a stranger now.
    hosts[2].kill_daemon(signal.SIGTERM)
    write(hosts[2], ["old one"])
    late = hosts[2].start_daemon(hosts[0].address, "--password-file", FILE, wait=False)
    wait_until(lambda: "it has another password" in late.log, STARTED_S, what=lambda: told(hosts))


def test_a_password_is_changed_by_restarting_one_host_after_the_other(hosts: Hosts) -> None:
    launch_with_names(hosts)
    with watching(hosts) as watch:
        for lines in ROUNDS:
            for host in hosts:
                watch.without = host.name
                write(host, lines)
                assert host.daemon is not None
                host.daemon.stop()
                host.start_daemon(*(other.address for other in hosts if other is not host), "--password-file", FILE)
                connected(host, within_s=STARTED_S)
                for other in hosts:
                    everything_is_answered(other, hosts)
                watch.without = ""
    assert watch.missed == []
    assert watch.asked > 0
    nobody_was_refused(hosts)
    assert all(len(gossip(host)["keys"]) == 1 for host in hosts)
