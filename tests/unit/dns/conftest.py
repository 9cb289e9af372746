"""No test of this folder may leave an error behind in the event loop, where it would only be logged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def nothing_goes_wrong_unseen(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    wrong = [entry.getMessage() for entry in caplog.get_records("call") if entry.name == "asyncio"]
    assert wrong == []
