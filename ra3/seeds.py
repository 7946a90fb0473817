"""Seeds for every random choice, derived by name, and the orders that follow from them: there is no global generator
and no generator state."""

import hashlib
from dataclasses import dataclass


def derive(seed: int, *parts: object) -> int:
    """A 63-bit seed for one purpose: blake2b of the repr of ``(seed, *parts)``.

    Equal arguments give equal seeds on every machine; parts are strings and integers, e.g.
    ``derive(0, "estep", 3, document.id)``.
    """
    digest = hashlib.blake2b(repr((seed, *parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def permutation(count: int, seed: int, epoch: int) -> list[int]:
    """The order of `count` items in one pass over them."""
    import numpy as np  # here: whatever only derives seeds need not load it

    return np.random.default_rng(derive(seed, "order", epoch)).permutation(count).tolist()


def _stretch(count: int, start: int, size: int, seed: int) -> list[int]:
    """Items start ... start + size - 1 of passes over all `count` items, one after the other, each in a fresh order."""
    epochs = range(start // count, (start + size - 1) // count + 1)
    stream = [i for epoch in epochs for i in permutation(count, seed, epoch)]
    offset = start - epochs[0] * count
    return stream[offset : offset + size]


def batch_of(count: int, size: int, step: int, seed: int) -> list[int]:
    """Items of one step, where every step takes `size`; no item is skipped."""
    return _stretch(count, step * size, size, seed)


@dataclass
class Order:
    """The same stream where steps take different numbers of items; how many were taken is its whole state."""

    count: int
    seed: int
    taken: int = 0

    def take(self, size: int) -> list[int]:
        """Takes the next items."""
        self.taken += size
        return _stretch(self.count, self.taken - size, size, self.seed)

    def state_dict(self) -> dict[str, int]:
        """What a checkpoint needs."""
        return {"taken": self.taken}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on where `state_dict` was taken."""
        self.taken = state["taken"]
