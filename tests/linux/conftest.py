"""Hosts and containers for the tests of this folder, gone at the end of each."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.linux.boxes import Box, Host


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes containers: ``boxes("redis")``."""
    with contextlib.ExitStack() as made:

        def make(name: str, kind: type[Box] = Box) -> Box:
            box = kind(tmp_path, name)
            made.callback(box.close)
            return box

        yield make


@pytest.fixture
def bare_host(boxes: Callable[..., Any]) -> Host:
    """A host on which nothing was launched yet."""
    host: Host = boxes("h1", Host)
    return host


@pytest.fixture
async def host(bare_host: Host) -> AsyncIterator[Host]:
    """A host whose weave network is up."""
    await bare_host.start()
    yield bare_host
    await bare_host.stop()
