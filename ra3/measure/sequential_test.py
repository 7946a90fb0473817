"""How many seeds are enough: a group sequential permutation test of two systems (AdaStop, arXiv 2306.10882).

Seeds come in batches of N. After batch k the statistic is T_k = | sum over all batches so far of (a - b) |.
Under the null hypothesis the 2 N scores of a batch may be shared out anew. Over such permutations p the boundary B_k is
the smallest b with

    P_p( T_k(p) > b and T_j(p) <= B_j for all j < k ) <= alpha / K

and T_k > B_k ends the test. In all K looks a difference is claimed wrongly with probability alpha at most. For many
pairs AdaStop also corrects for their number; this is one pair by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

BATCH, LOOKS, PERMUTATIONS = 5, 5, 10_000


class Decision(NamedTuple):
    """Example: Decision("higher", 10): after 10 seeds a was found higher than b, and no more are needed."""

    verdict: Literal["higher", "lower", "go on", "no difference found"]
    seeds: int
    """Seeds that were looked at."""


def decide(
    a: Sequence[float],
    b: Sequence[float],
    seed: int,
    batch: int = BATCH,
    looks: int = LOOKS,
    alpha: float = 0.05,
    permutations: int = PERMUTATIONS,
) -> Decision:
    """Whether a is higher or lower than b, or more seeds are needed; scores in the order in which they came.

    Only whole batches count. Raises ValueError where the lists differ in length.
    """
    if len(a) != len(b):
        raise ValueError(f"equally many scores of both, please: {len(a)} against {len(b)}")
    generator = np.random.default_rng(seed)
    sums, alive, done = np.zeros(permutations), np.ones(permutations, dtype=bool), 0
    for done in range(1, min(len(a) // batch, looks) + 1):
        part = slice((done - 1) * batch, done * batch)
        sums += shared_out(np.concatenate([a[part], b[part]]), permutations, generator)
        bound = boundary(np.abs(sums), alive, alpha / looks)
        if abs(sums[0]) > bound:
            return Decision("higher" if sums[0] > 0 else "lower", done * batch)
        alive &= np.abs(sums) <= bound
    return Decision("no difference found" if done == looks else "go on", done * batch)


def shared_out(scores: np.ndarray, permutations: int, generator: np.random.Generator) -> np.ndarray:
    """[R] differences of the two halves' sums under random orders of the scores; the first is the order given."""
    half = len(scores) // 2
    orders_RN = generator.random((permutations, len(scores))).argsort(1)
    orders_RN[0] = np.arange(len(scores))
    shuffled = scores[orders_RN]
    return shuffled[:, :half].sum(1) - shuffled[:, half:].sum(1)


def boundary(statistic: np.ndarray, alive: np.ndarray, level: float, tolerance: float = 1e-9) -> float:
    """The smallest b among the values with mean(alive and statistic > b) <= level; equal up to rounding is equal."""
    values = np.sort(statistic[alive])[::-1]
    allowed = int(level * len(statistic))
    return float(values[allowed]) + tolerance if allowed < len(values) else -1.0
