"""Which items a step works on: a pure function of the seed and of how many were taken before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ra3.seeds import derive


def permutation(count: int, seed: int, epoch: int) -> list[int]:
    """The order of `count` items in one pass over them."""
    return np.random.default_rng(derive(seed, "order", epoch)).permutation(count).tolist()


def stretch(count: int, start: int, size: int, seed: int) -> list[int]:
    """Items start ... start + size - 1 of passes over all `count` items, one after the other, each in a fresh order."""
    epochs = range(start // count, (start + size - 1) // count + 1)
    stream = [i for epoch in epochs for i in permutation(count, seed, epoch)]
    offset = start - epochs[0] * count
    return stream[offset : offset + size]


def batch_of(count: int, size: int, step: int, seed: int) -> list[int]:
    """Items of one step, where every step takes `size`; no item is skipped."""
    return stretch(count, step * size, size, seed)


@dataclass
class Order:
    """The same stream where steps take different numbers of items: how many were taken is its whole state."""

    count: int
    seed: int
    taken: int = 0

    def take(self, size: int) -> list[int]:
        """The next items."""
        self.taken += size
        return stretch(self.count, self.taken - size, size, self.seed)

    def state_dict(self) -> dict[str, int]:
        """What a checkpoint needs."""
        return {"taken": self.taken}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on where `state_dict` was taken."""
        self.taken = state["taken"]
