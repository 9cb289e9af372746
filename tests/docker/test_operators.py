"""What operators of three hosts are told about shared addresses, when they are right and when they are wrong."""

from collections.abc import Iterator

import pytest

from tests.lab import Host, Lab, wait_until

pytestmark = pytest.mark.docker

SOON_S = 40.0


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host, Host]]:
    with Lab(hosts=3, engine=False) as lab:
        one, two, three = lab.hosts
        one.start_daemon()
        two.start_daemon(one.address)
        wait_until(lambda: "h2 owns" in status(one), SOON_S, what=lambda: status(one))
        yield one, two, three


def status(host: Host) -> str:
    return host.run("weavenet", "status", check=False).stdout


def refused(host: Host, *command: str) -> str:
    """The one line that a command which fails prints."""
    done = host.run(*command, check=False)
    assert done.returncode == 1, done
    (line,) = done.stderr.splitlines()
    return str(line)


def test_a_takeover_is_refused_with_the_reason_and_done_once(hosts: tuple[Host, Host, Host]) -> None:
    one, two, _ = hosts
    takeover = "weavenet", "ipam", "takeover"
    assert "no peer named nobody is known to own addresses" in refused(one, *takeover, "nobody")
    assert "h1 is this peer, and has all that it ever owned" in refused(one, *takeover, "h1")
    assert "h2 is connected: stop it first" in refused(one, *takeover, "h2")
    assert "shared out already, by h1" in refused(two, "weavenet", "ipam", "seed")
    two.kill_daemon()
    wait_until(lambda: one.run(*takeover, "h2", check=False).returncode == 0, SOON_S)
    assert "no peer named h2" in refused(one, *takeover, "h2")
    assert "h1 owns 65536 (this host)" in status(one)
    two.start_daemon(one.address)
    wait_until(lambda: "h2 owns" in status(two), SOON_S, what=lambda: status(two))
    assert "was this host's and is now h1's: somebody took it over" in status(two)


def test_a_dns_address_that_another_host_has_is_refused_and_ends_nothing(hosts: tuple[Host, Host, Host]) -> None:
    one, _, three = hosts
    asked = three.start_daemon(one.address, "--dns-address", "10.2.254.1", wait=False)
    wait_until(lambda: not asked.is_running, SOON_S, what=lambda: asked.log)
    assert asked.process.returncode == 1
    assert "10.2.254.1 is in use by the DNS server of host h1" in asked.log
    assert "Traceback" not in asked.log
    three.start_daemon(one.address)
    wait_until(lambda: "TROUBLE" not in status(one), SOON_S, what=lambda: status(one))


def test_a_host_that_lost_its_state_or_was_rebooted_finds_the_others_without_naming_them(
    hosts: tuple[Host, Host, Host],
) -> None:
    one, two, _ = hosts
    wait_until((one.state_dir / "peers").exists, SOON_S)
    one.kill_daemon()
    for link in ("weave", "weavevx"):
        one.run("ip", "link", "delete", link, check=False)
    (one.state_dir / "ring").unlink()
    one.start_daemon()
    wait_until(lambda: "h1 owned" in status(one), SOON_S, what=lambda: status(one))
    assert "h2 owns" in status(one)
    inherited = int(one.run("weavenet", "ipam", "takeover", "h1").stdout)
    assert inherited > 0
    wait_until(lambda: "h1 owned" not in status(one), SOON_S)
    assert two.address in (one.state_dir / "peers").read_text()
