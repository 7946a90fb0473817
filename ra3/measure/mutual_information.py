"""How much a written intention says about the true operation: mutual information, less what chance alone would show.

    I(X; Y) = sum_xy p(x, y) log2( p(x, y) / (p(x) p(y)) )        from counts, in bits
    beyond chance:  I - I_0        share:  (I - I_0) / (H(Y) - I_0)

Counts overstate I: n different words about n places say everything about anything. I_0, the mean of I when the pairs
are shuffled, is what they would show with nothing to say (the adjusted mutual information of Vinh, Epps & Bailey 2010,
its expectation by permutation).
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Hashable, Sequence
from statistics import mean
from typing import NamedTuple


class Information(NamedTuple):
    """Example: Information(bits=3.1, share=0.68)."""

    bits: float
    """I - I_0."""
    share: float
    """Of what there is to know, the share that is said; 0 where there is nothing to know."""


def mutual_information(x: Sequence[Hashable], y: Sequence[Hashable]) -> float:
    """I(X; Y) of paired values, in bits, as their counts say."""
    if len(x) != len(y) or not x:
        raise ValueError(f"need as many values of x as of y, and one at least: {len(x)} and {len(y)}")
    n, of_x, of_y = len(x), Counter(x), Counter(y)
    pairs = Counter(zip(x, y, strict=True))
    return sum(c / n * math.log2(c * n / (of_x[a] * of_y[b])) for (a, b), c in pairs.items())


def information(x: Sequence[Hashable], y: Sequence[Hashable], seed: int, shuffles: int = 200) -> Information:
    """What x says about y beyond chance."""
    generator, shuffled = random.Random(seed), list(y)
    by_chance = []
    for _ in range(shuffles):
        generator.shuffle(shuffled)
        by_chance.append(mutual_information(x, shuffled))
    bits = mutual_information(x, y) - mean(by_chance)
    unknown = mutual_information(y, y) - mean(by_chance)
    return Information(bits, bits / unknown if unknown > 1e-9 else 0.0)
