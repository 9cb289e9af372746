"""Runs of addresses as numbers, first and last: what is left of them. Knows nothing of owners and claims."""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

Run = tuple[int, int]


def less(runs: Iterable[Run], apart: Iterable[Run]) -> list[Run]:
    """The runs without those that are apart."""
    left = list(runs)
    for first, last in apart:
        left = [
            piece
            for start, end in left
            for piece in ((start, min(end, first - 1)), (max(start, last + 1), end))
            if piece[0] <= piece[1]
        ]
    return left


def free_runs(runs: Iterable[Run], taken: Sequence[int]) -> list[Run]:
    """The parts of some runs in which no address is taken; `taken` is in order. Runs that touch come as one."""
    free: list[Run] = []
    for first, last in runs:
        inside = taken[bisect_left(taken, first) : bisect_right(taken, last)]
        for before, after in itertools.pairwise([first - 1, *inside, last + 1]):
            if before + 1 > after - 1:
                continue
            if free and free[-1][1] == before:
                free[-1] = free[-1][0], after - 1
            else:
                free.append((before + 1, after - 1))
    return free
