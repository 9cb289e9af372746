"""Lab hosts for the tests with real Docker engines."""

from collections.abc import Iterator

import pytest

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
