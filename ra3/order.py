"""Which items a step works on: a pure function of (seed, step), so that nothing about it needs saving."""

from __future__ import annotations

import numpy as np

from ra3.seeds import derive


def permutation(count: int, seed: int, epoch: int) -> list[int]:
    """The order of `count` items in one pass over them."""
    return np.random.default_rng(derive(seed, "order", epoch)).permutation(count).tolist()


def batch_of(count: int, size: int, step: int, seed: int) -> list[int]:
    """Items of one step: passes over all `count` items follow each other, each in a fresh order; no item is skipped."""
    start = step * size
    epochs = range(start // count, (start + size - 1) // count + 1)
    stream = [i for epoch in epochs for i in permutation(count, seed, epoch)]
    offset = start - epochs[0] * count
    return stream[offset : offset + size]
