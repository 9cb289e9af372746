"""A peer to give commands to."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.control.peer import Peer


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[Peer]:
    made = await Peer(tmp_path).start()
    yield made
    await made.store.close()


@pytest.fixture
async def bare_peer(tmp_path: Path) -> AsyncIterator[Peer]:
    """One that runs with --no-network."""
    made = await Peer(tmp_path, network=False).start()
    yield made
    await made.store.close()
