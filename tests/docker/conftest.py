"""Lab hosts for the tests with real Docker engines."""

from collections.abc import Iterator

import pytest

from tests.lab import Host, Lab


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
