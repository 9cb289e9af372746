"""Hundreds of containers, started on three hosts side by side: no address twice, each name on each host."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from docker import APIClient

from tests.docker.hosts import Hosts, launch_all, names_of, nobody_has_an_address_twice, own_address, three, told
from tests.lab import Host, Lab, wait_until

__all__ = ["three"]
pytestmark = pytest.mark.docker

COUNT = 300
# More at once only makes each take longer.
STARTED_AT_ONCE = 6
# Most of it is the engines' own; a busy machine takes some times as long as a quiet one.
DEADLINE_S = 240.0


def answered(host: Host, names: Iterable[str]) -> dict[str, str]:
    """Every address that a host answers these names with, each with its name."""
    asked = "".join(f"{name}.weave.local A\n" for name in names)
    command = ("dig", f"@{own_address(host)}", "+noall", "+answer", "-f", "/dev/stdin")
    lines = host.run(*command, stdin=asked, timeout_s=DEADLINE_S).stdout.splitlines()
    return {fields[-1]: fields[0].partition(".")[0] for line in lines if (fields := line.split())}


def answers_all(host: Host, wanted: Mapping[str, str]) -> bool:
    return answered(host, wanted.values()) == wanted


def test_three_hundred_containers_started_at_once_have_three_hundred_addresses(three: Lab) -> None:
    one, two, third = three.hosts
    hosts: Hosts = (one, two, third)
    launch_all(hosts)
    engines = [APIClient(base_url=f"unix://{host.engine.socket}", timeout=60) for host in hosts]

    def start(number: int) -> None:
        engine = engines[number % 3]
        # Two subnets, so that their shares go back and forth between the hosts.
        subnet = f"WEAVE_CIDR=net:10.2.{number // 3 % 2}.0/24"
        engine.create_container("busybox", hostname=f"c{number}.weave.local", name=f"c{number}", environment=[subnet])
        engine.start(f"c{number}")

    with ThreadPoolExecutor(STARTED_AT_ONCE) as pool:
        list(pool.map(start, range(COUNT)))
    for engine in engines:
        engine.close()

    def attached() -> int:
        return sum(len(names_of(host)) for host in hosts)

    wait_until(lambda: attached() == COUNT, DEADLINE_S, what=lambda: f"{attached()} attached\n{told(hosts)}")
    found = nobody_has_an_address_twice(hosts)
    assert set(found) == {f"c{number}" for number in range(COUNT)}
    wanted = {address: name for name, address in found.items()}
    for host in hosts:
        wait_until(partial(answers_all, host, wanted), DEADLINE_S, what=f"all names on {host.name}")
