"""Which of its addresses a peer gives to another that has none: a rule over runs of numbers, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from weavenet.ipam.runs import Run


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
