"""Lab hosts for the tests with real Docker engines."""

from collections.abc import Iterator

import pytest

from tests.docker.three_hosts import Hosts, connect, launch_all
from tests.lab import Host, Lab, wait_until


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab of one host for this test alone; ``lab.add_hosts()`` plugs in more."""
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def module_lab() -> Iterator[Lab]:
    """A lab of one host that the tests of a module share."""
    with Lab() as made:
        yield made


@pytest.fixture
def host(module_lab: Lab) -> Iterator[Host]:
    """The module's host, swept after each test: no daemon, no container, and rules and files as at its start."""
    host = module_lab.hosts[0]
    yield host
    host.sweep()
    module_lab.upstream.start()


@pytest.fixture(scope="module")
def busy_host() -> Iterator[Host]:
    """A host with a daemon and containers that a module shares, for tests after which everything is as before."""
    with Lab() as lab:
        (host,) = lab.hosts
        host.start_daemon()
        host.docker("run", "-d", "--name", "redis", "--hostname", "redis.weave.local", "busybox")
        wait_until(lambda: host.dig("redis.weave.local") == ["10.2.0.1"])
        host.docker("run", "-d", "--name", "plain", "busybox")
        host.docker("run", "-d", "--name", "hostnet", "--network", "host", "busybox")
        host.docker("create", "--name", "stopped", "busybox")
        host.run("weavedns", "add", "db", "192.0.2.10")
        yield host


@pytest.fixture(scope="module")
def three() -> Iterator[Lab]:
    """A lab of three hosts that the tests of a module share."""
    with Lab(hosts=3) as lab:
        yield lab


@pytest.fixture
def hosts(three: Lab) -> Iterator[Hosts]:
    """The module's three hosts without daemons, swept and connected again after each test."""
    one, two, other = three.hosts
    yield one, two, other
    for host in three.hosts:
        connect(three, host)
        host.sweep()


@pytest.fixture
def joined(hosts: Hosts) -> Hosts:
    """The three hosts with daemons that know each other."""
    launch_all(hosts)
    return hosts
