"""Which of its addresses a peer gives to another that has none: a rule over runs of numbers, and nothing else."""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from weavenet.ipam.ring import Run


def free_runs(runs: Iterable[Run], taken: Sequence[int]) -> list[Run]:
    """The parts of some runs in which no address is taken; `taken` is in order. Runs that touch come as one."""
    free: list[Run] = []
    for first, last in runs:
        inside = taken[bisect_left(taken, first) : bisect_right(taken, last)]
        edges = [first - 1, *inside, last + 1]
        for before, after in itertools.pairwise(edges):
            if before + 1 > after - 1:
                continue
            if free and free[-1][1] == before:
                free[-1] = free[-1][0], after - 1
            else:
                free.append((before + 1, after - 1))
    return free


def to_give(free: Sequence[Run], *, lowest: bool) -> list[Run]:
    """What to give of one's free addresses: about the upper half of the largest run, or the last address there is.

    `lowest`: the lowest one too, so that whoever wants only one address gets that, and the rest spreads all the same.
    """
    gifts: list[Run] = []
    left = list(free)
    if lowest and left:
        first, last = left.pop(0)
        gifts.append((first, first))
        if first < last:
            left.insert(0, (first + 1, last))
        left = [run for run in left if run[0] < run[1]]
    if left:
        first, last = max(left, key=lambda run: (run[1] - run[0], -run[0]))
        gifts.append((_middle(first, last), last))
    return gifts


def _middle(first: int, last: int) -> int:
    """Where the upper half of a run begins: at a round number nearby, so that subnets stay in one hand."""
    size = last - first + 1
    middle = first + size // 2
    step = 1 << max(size.bit_length() - 3, 0)
    rounded = (middle + step // 2) // step * step
    return rounded if first < rounded <= last else middle
