"""How many inputs a fuzz test tries."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

VARIABLE = "WEAVE_FUZZ_ROUNDS"


def rounds(usual: int) -> Callable[[Any], Any]:
    """So many, or as the environment says."""
    count = int(os.environ.get(VARIABLE) or usual)
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])
