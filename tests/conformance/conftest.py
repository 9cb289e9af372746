"""The daemon that the conformance tests ask, one for a module, and what stands behind it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.served import Served, Upstream, served, upstream


@pytest.fixture(scope="module")
def world() -> Iterator[Upstream]:
    """The server for names that are not ours."""
    with upstream() as made:
        yield made


@pytest.fixture(scope="module")
def server(world: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    host, port = world.address
    nowhere = "--forward", "broken.example=127.0.0.1:9"
    with served(
        tmp_path_factory.mktemp("daemon"), "--upstream", f"{host}:{port}", *nowhere, hosts=("127.0.0.1", "127.0.0.3")
    ) as made:
        yield made
