"""Three lab hosts with real engines: how they are launched, joined, cut off, and what they answer.

The fixtures are for test modules to import; it must know nothing of what is inside the daemons.
"""

import json
from collections.abc import Iterator

import pytest

from tests.lab import Host, Lab, wait_until

SOON_S = 10.0
Hosts = tuple[Host, Host, Host]


@pytest.fixture(scope="module")
def three() -> Iterator[Lab]:
    with Lab(hosts=3) as lab:
        yield lab


@pytest.fixture
def hosts(three: Lab) -> Iterator[Hosts]:
    """Three hosts without daemons."""
    one, two, other = three.hosts
    yield one, two, other
    for host in three.hosts:
        connect(three, host)
        host.sweep()


@pytest.fixture
def joined(hosts: Hosts) -> Hosts:
    """Three hosts whose daemons know each other."""
    launch_all(hosts)
    return hosts


def launch_all(hosts: Hosts, *flags: str) -> None:
    one, *others = hosts
    one.start_daemon(*flags)
    for host in others:
        host.start_daemon(one.address, *flags)
    for host in hosts:
        connected(host)


def connected(host: Host, count: int = 2, within_s: float = SOON_S) -> None:
    """Wait until a host knows so many others."""
    wait_until(
        lambda: states(host).count("connected") == count,
        within_s,
        what=lambda: host.daemon.log if host.daemon else host.name,
    )


def told(hosts: Hosts) -> str:
    return "\n".join(f"{host.name}:\n{host.daemon.log if host.daemon else ''}" for host in hosts)


def report(host: Host) -> dict[str, object]:
    found: dict[str, object] = json.loads(host.run("weavedns", "status", "--format", "json").stdout)
    return found


def peers(host: Host) -> list[dict[str, object]]:
    found = report(host)["peers"]
    assert isinstance(found, list)
    return found


def states(host: Host) -> list[object]:
    return [row["state"] for row in peers(host)]


def own_address(host: Host) -> str:
    dns = report(host)["dns"]
    assert isinstance(dns, dict)
    return str(dns["address"])


def run(host: Host, name: str, *options: str) -> None:
    host.docker("run", "-d", "--name", name, "--hostname", f"{name}.weave.local", *options, "busybox")


def answers(host: Host, name: str) -> list[str]:
    return sorted(host.dig(f"{name}.weave.local", server=own_address(host)))


def wait_for(host: Host, name: str, *count: int, within_s: float = SOON_S) -> list[str]:
    """The answers on a host once there are as many as said, by default some."""

    def enough() -> list[list[str]]:
        found = answers(host, name)
        return [found] if (len(found) == count[0] if count else found) else []

    return wait_until(enough, within_s, what=f"{name} on {host.name}")[0]


def cut_off(lab: Lab, host: Host) -> None:
    lab.switch.run("ip", "link", "set", host.name, "down")


def connect(lab: Lab, host: Host) -> None:
    lab.switch.run("ip", "link", "set", host.name, "up")


def pings(host: Host, container: str, target: str) -> bool:
    return host.run("docker", "exec", container, "ping", "-c1", "-W1", target, check=False).returncode == 0


def reaches(host: Host, container: str, target: str) -> None:
    """Wait until a container's ping is answered."""
    wait_until(lambda: pings(host, container, target), SOON_S, what=f"{container} on {host.name} to {target}")


def has(host: Host, name: str, *data: str) -> None:
    """Wait until a host answers a name so."""
    wait_until(lambda: answers(host, name) == sorted(data), SOON_S, what=f"{name} on {host.name}")
