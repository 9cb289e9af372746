"""Three lab hosts with real engines: how they are launched, joined, cut off, and what they answer.

The fixtures are for test modules to import; it must know nothing of what is inside the daemons.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from tests.docker.control_socket import ask
from tests.lab import Host, Lab, wait_until

# Long, for a machine with other work: it is only waited for in full when something is wrong.
SOON_S = 30.0
ASKER = Path(__file__).parents[1] / "lab" / "asker.py"
# What asker.py does, for a container that has a shell and `lookup`; the arguments are NAME=ADDRESS.
SHELL_ASKER = """
right=0 wrong=
while ! read -t 0 line; do
    for pair; do
        found=$(lookup "${pair%%=*}" 4 2>&1)
        if [ "$found" = "${pair#*=}" ]; then right=$((right + 1)); else wrong="$wrong $pair: $found;"; fi
    done
done
echo "{\\"right\\": $right, \\"silent\\": 0, \\"wrong\\": \\"$wrong\\"}"
"""
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
    # As `weavedns status --format json` does, but without a process each time.
    found: dict[str, object] = ask(host, "GET", "/report")[1]
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


def run(host: Host, name: str, *options: str, image: str = "busybox") -> None:
    host.docker("run", "-d", "--name", name, "--hostname", f"{name}.weave.local", *options, image)


def answers(host: Host, name: str) -> list[str]:
    return sorted(host.dig(f"{name}.weave.local", server=own_address(host)))


def wait_for(host: Host, name: str, *count: int, within_s: float = SOON_S) -> list[str]:
    """The answers on a host once there are as many as said, by default some."""

    def enough() -> list[list[str]]:
        found = answers(host, name)
        return [found] if (len(found) == count[0] if count else found) else []

    return wait_until(enough, within_s, what=f"{name} on {host.name}")[0]


def servers_of(host: Host, container: str) -> list[str]:
    """The name servers in a container's resolv.conf."""
    text = host.docker("exec", container, "cat", "/etc/resolv.conf")
    return [line.split()[1] for line in text.splitlines() if line.startswith("nameserver")]


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


def names_of(host: Host) -> dict[str, str]:
    """The containers that have an address on a host, each with it."""
    rows = ask(host, "GET", "/v1/net/containers")[1]
    return {row["name"]: row["addresses"][0].partition("/")[0] for row in rows if row["addresses"]}


def all_agree(hosts: Sequence[Host], names: Mapping[str, Sequence[str]]) -> None:
    """Wait until each host answers each name so."""
    for host in hosts:
        for name, addresses in names.items():
            has(host, name, *addresses)


def nobody_has_an_address_twice(hosts: Sequence[Host]) -> dict[str, str]:
    """Check that, and return all containers with their addresses."""
    found = {name: address for host in hosts for name, address in names_of(host).items()}
    assert sum(len(names_of(host)) for host in hosts) == len(found)
    assert len(set(found.values())) == len(found), sorted(found.items())
    return found


def signal_to(host: Host, number: signal.Signals) -> None:
    """Send a host's daemon a signal that it does not end by."""
    assert host.daemon
    host.daemon.process.send_signal(number)


def restart(hosts: Hosts, host: Host, with_signal: signal.Signals) -> None:
    """End a daemon and launch it again as it was, until it knows the others."""
    host.kill_daemon(with_signal)
    host.start_daemon(*([] if host is hosts[0] else [hosts[0].address]))
    connected(host)


class Questions:
    """Asks for names (each with its addresses) without a pause, from its begin to its end; then has the `results`."""

    def __init__(self, names: Mapping[str, Sequence[str]]) -> None:
        self.results: dict[str, dict[str, Any]] = {}
        self._names = {name: list(addresses) for name, addresses in names.items()}
        self._asking: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._asking.values():
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
        for who, process in self._asking.items():
            with process:
                out, err = process.communicate(timeout=30)
            self.results[who] = json.loads(out) if out else {"wrong": err, "right": 0, "silent": 0}

    def to_server_of(self, host: Host) -> None:
        """Ask a host's own server, from that host."""
        self._ask(host, f"{host.name} its server", sys.executable, ASKER, own_address(host), json.dumps(self._names))

    def in_container(self, host: Host, container: str, library: str) -> None:
        """Ask the C library in a container, which knows of its resolv.conf alone."""
        inside = ("docker", "exec", "-i", container)
        who = f"{host.name} its container with {library}"
        # Its own name it has from /etc/hosts.
        names = {name: found for name, found in self._names.items() if not name.startswith(f"{container}.")}
        if library == "glibc":
            self._ask(host, who, *inside, "python3", "-c", ASKER.read_text(), "-", json.dumps(names))
        else:
            pairs = [f"{name}={addresses[0]}" for name, addresses in names.items()]
            self._ask(host, who, *inside, "sh", "-c", SHELL_ASKER, "sh", *pairs)

    def _ask(self, host: Host, who: str, *argv: str | Path) -> None:
        self._asking[who] = host.popen(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
