"""Statistics of scores: pass@k, intervals, paired differences, how many seeds are enough, agreement, information.

Suffix legend: _P problems, _S seeds, _T tasks. Everything is a pure function of numbers; randomness enters only through
`seed`. Intervals have 95%. The unit of resampling is the PROBLEM (in comparisons the seed): samples of one problem are
not independent of each other, so every problem first becomes one number (its pass@k, its mean, ...), and problems are
drawn with replacement (a cluster bootstrap). scipy is imported by the functions that need it, since it takes a second.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from statistics import mean
from typing import Any, Literal, NamedTuple

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 2000
CHUNK = 1_000_000
"""Resampled values held in memory at once."""
BATCH, LOOKS, PERMUTATIONS = 5, 5, 10_000
"""Of the sequential test."""

Values = Sequence[float] | np.ndarray
Statistic = Callable[..., Any]
"""Reduces an array along an `axis`, as np.mean does."""


class Interval(NamedTuple):
    """An estimate with its confidence bounds. Example: Interval(mean=0.41, low=0.36, high=0.46)."""

    mean: float
    low: float
    high: float


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased chance that k samples hold a correct one, from n samples of which c are correct.

    pass@k = 1 - C(n-c, k) / C(n, k) = 1 - Π_{i=n-c+1}^{n} (1 - k/i)        (Chen et al. 2021, arXiv 2107.03374, eq. 1)

    The product never forms a large binomial. It is 1 as soon as n - c < k. Raises ValueError if k > n: with fewer
    than k samples there is no unbiased estimate.
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs 1 <= k <= n, got n={n} samples")
    if not 0 <= c <= n:
        raise ValueError(f"correct samples must lie in 0..n, got c={c}, n={n}")
    if n - c < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


def wilson(successes: int, trials: int) -> Interval:
    """Wilson's interval for one proportion, useful also at 0 and at 1; `mean` is the proportion itself.

    The trials must be independent: for samples of several problems use `interval`.
    """
    from scipy.stats import binomtest

    found = binomtest(successes, trials).proportion_ci(CONFIDENCE, "wilson")
    return Interval(successes / trials, float(found.low), float(found.high))


def student_t(values: Values) -> Interval:
    """Interval of a mean from few independent values, such as paired differences over seeds (Student 1908).

    mean ± t · s / √n,   s the standard deviation with n - 1,   t the two-sided quantile, n - 1 degrees of freedom
    """
    from scipy.special import stdtrit

    vector = _vector(values)
    if len(vector) < 2:
        raise ValueError("one value has no spread: Student's interval needs two or more")
    centre, quantile = float(vector.mean()), stdtrit(len(vector) - 1, (1 + CONFIDENCE) / 2)
    half = float(quantile * vector.std(ddof=1) / len(vector) ** 0.5)
    return Interval(centre, centre - half, centre + half)


def interquartile_mean(values: Values, axis: int = -1) -> Any:
    """Mean of the middle half: the lowest and the highest ⌊n/4⌋ values are dropped (Agarwal et al., arXiv 2108.13264).

    Less swayed by one lucky seed than the mean, less wasteful than the median. It equals the mean for n < 4.
    """
    from scipy.stats import trim_mean

    return trim_mean(values, 0.25, axis)


def bootstrap(scores_P: Values, seed: int, resamples: int = RESAMPLES, statistic: Statistic = np.mean) -> Interval:
    """Percentile bootstrap over problems: θ̂ on P scores; bounds = quantiles of θ̂ on P scores drawn with replacement.

    low, high = Q_{0.025}, Q_{0.975} of { θ(scores[draw_r]) }_{r=1..R}   (arXiv 2108.13264, §4)

    With all scores equal the bounds coincide with the mean, which claims too much: see `interval`.
    """
    return _bootstrap([_vector(scores_P)], seed, resamples, statistic)


def interval(scores_P: Values, seed: int) -> Interval:
    """Interval of the mean of per-problem scores in [0, 1]: the bootstrap, or Wilson's if all are 0 or all are 1.

    The bootstrap has nothing to resample there and would report [0, 0]; Wilson on P problems says what P zeros allow.
    """
    scores = _vector(scores_P)
    if np.all(scores == 0) or np.all(scores == 1):
        return wilson(int(scores.sum()), len(scores))
    return bootstrap(scores, seed)


def paired_difference(a_P: Values, b_P: Values, seed: int) -> Interval:
    """Mean of a - b over the SAME problems, with the bootstrap interval of the differences.

    Pairing removes the spread of problem difficulty that both systems share, so it sees differences that two separate
    intervals hide. Raises ValueError if the two lists differ in length.
    """
    a, b = _vector(a_P), _vector(b_P)
    if len(a) != len(b):
        raise ValueError(f"paired scores must be of the same problems: {len(a)} against {len(b)}")
    return bootstrap(a - b, seed)


def stratified_bootstrap(
    scores_ST: Sequence[Sequence[float]] | np.ndarray, seed: int, statistic: Statistic
) -> Interval:
    """Percentile bootstrap of θ over all scores, seeds redrawn with replacement within each task (rliable).

    scores [S seeds, T tasks];   θ*_r = θ({ s_{i_rt(j), t} }),   i_rt(j) ~ U{1..S} for each t   (arXiv 2108.13264, §4)

    One seed gives an interval of no width.
    """
    scores = np.asarray(scores_ST, dtype=np.float64)
    if scores.ndim != 2 or not scores.size:
        raise ValueError(f"need scores [seeds, tasks], got shape {scores.shape}")
    return _bootstrap(scores.T, seed, RESAMPLES, statistic)


def _bootstrap(
    tasks: Sequence[np.ndarray] | np.ndarray, seed: int, resamples: int, statistic: Statistic
) -> Interval:
    """Percentile bootstrap of a statistic of all values, each task's redrawn by themselves."""
    from scipy import stats

    def of_all(*drawn: np.ndarray, axis: int) -> np.ndarray:
        return statistic(np.concatenate(drawn, axis), axis=axis)

    centre = float(of_all(*tasks, axis=-1))
    if len(tasks[0]) == 1:  # scipy draws from two values or more
        return Interval(centre, centre, centre)
    batch = max(1, CHUNK // sum(map(len, tasks)))
    found = stats.bootstrap(
        tuple(tasks), of_all, n_resamples=resamples, batch=batch, vectorized=True, confidence_level=CONFIDENCE,
        method="percentile", rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return Interval(centre, float(found.low), float(found.high))


def _vector(values: Values) -> np.ndarray:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or len(vector) == 0:
        raise ValueError(f"need one finite number per problem, got shape {vector.shape}")
    if not np.isfinite(vector).all():
        raise ValueError("scores must be finite: mask infrastructure failures before averaging")
    return vector


class Decision(NamedTuple):
    """Example: Decision("higher", 10): after 10 seeds a was found higher than b, and no more are needed."""

    verdict: Literal["higher", "lower", "go on", "no difference found"]
    seeds: int  # seeds that were looked at


def sequential_test(
    a_S: Sequence[float], b_S: Sequence[float], seed: int, batch: int = BATCH, looks: int = LOOKS,
    permutations: int = PERMUTATIONS, alpha: float = 0.05,
) -> Decision:  # fmt: skip
    """Decides by a group sequential permutation test whether a is higher or lower than b, or more seeds are needed
    (AdaStop, arXiv 2306.10882).

    Seeds come in batches of N, in the order of the scores; only whole batches count. After batch k the statistic is
    T_k = | sum over all batches so far of (a - b) |. Under the null hypothesis the 2 N scores of a batch may be shared
    out anew. Over such permutations p the boundary B_k is the smallest b with

        P_p( T_k(p) > b and T_j(p) <= B_j for all j < k ) <= alpha / K

    and T_k > B_k ends the test. In all K looks a difference is claimed wrongly with probability alpha at most. For many
    pairs AdaStop also corrects for their number; this is one pair by itself. Raises ValueError where the lists differ
    in length.
    """
    if len(a_S) != len(b_S):
        raise ValueError(f"equally many scores of both, please: {len(a_S)} against {len(b_S)}")
    generator = np.random.default_rng(seed)
    sums, alive, done = np.zeros(permutations), np.ones(permutations, dtype=bool), 0
    for done in range(1, min(len(a_S) // batch, looks) + 1):
        part = slice((done - 1) * batch, done * batch)
        sums += shared_out(np.concatenate([a_S[part], b_S[part]]), permutations, generator)
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


class Agreement(NamedTuple):
    """Example: Agreement(precision=0.8, recall=0.5, f1=0.615)."""

    precision: float
    recall: float
    f1: float


def boundary_agreement(predicted: Iterable[Collection[int]], true: Iterable[Collection[int]]) -> Agreement:
    """Agreement of predicted with true boundary positions, counted over all documents together (micro average).

    precision = hits / predicted,   recall = hits / true,   F1 = 2·hits / (predicted + true)

    Each item is one document's set of step indices. A ratio without a denominator is 1: nothing claimed, nothing wrong;
    nothing to find, nothing missed.
    """
    hits = num_predicted = num_true = 0
    for p, t in zip(predicted, true, strict=True):
        hits, num_predicted, num_true = hits + len({*p} & {*t}), num_predicted + len({*p}), num_true + len({*t})
    ratios = ((hits, num_predicted), (hits, num_true), (2 * hits, num_predicted + num_true))
    return Agreement(*(share / whole if whole else 1.0 for share, whole in ratios))


class Information(NamedTuple):
    """Example: Information(bits=3.1, share=0.68)."""

    bits: float  # I - I_0
    share: float  # of what there is to know, the share that is said; 0 where there is nothing to know


def mutual_information(x: Sequence[Hashable], y: Sequence[Hashable]) -> float:
    """I(X; Y) = sum_xy p(x, y) log2( p(x, y) / (p(x) p(y)) ) of paired values, in bits, as their counts say."""
    if len(x) != len(y) or not x:
        raise ValueError(f"need as many values of x as of y, and one at least: {len(x)} and {len(y)}")
    n, of_x, of_y = len(x), Counter(x), Counter(y)
    pairs = Counter(zip(x, y, strict=True))
    return sum(c / n * math.log2(c * n / (of_x[a] * of_y[b])) for (a, b), c in pairs.items())


def information(x: Sequence[Hashable], y: Sequence[Hashable], seed: int, shuffles: int = 200) -> Information:
    """What x says about y beyond chance: I - I_0 in bits, and as a share (I - I_0) / (H(Y) - I_0).

    Counts overstate I: n different words about n places say everything about anything. I_0, the mean of I when the
    pairs are shuffled, is what they would show with nothing to say (the adjusted mutual information of Vinh, Epps &
    Bailey 2010, its expectation by permutation).
    """
    generator, shuffled = random.Random(seed), list(y)
    by_chance = []
    for _ in range(shuffles):
        generator.shuffle(shuffled)
        by_chance.append(mutual_information(x, shuffled))
    bits = mutual_information(x, y) - mean(by_chance)
    unknown = mutual_information(y, y) - mean(by_chance)
    return Information(bits, bits / unknown if unknown > 1e-9 else 0.0)
