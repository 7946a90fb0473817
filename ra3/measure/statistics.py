"""Scores with honest error bars: pass@k, intervals, paired comparison, boundary agreement.

Suffix legend: _P problems, _R bootstrap resamples. Everything is a pure function of numbers; randomness enters only
through `seed`. The unit of resampling is the PROBLEM: the samples of one problem are not independent of each other, so
every problem first becomes one number (its pass@k, its mean, ...) and problems are drawn with replacement (a cluster
bootstrap).
"""

from __future__ import annotations

import math
import statistics as stdlib_statistics
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 2000
CHUNK = 1_000_000  # resampled values held in memory at once


class Interval(NamedTuple):
    """An estimate with its confidence bounds. Example: Interval(mean=0.41, low=0.36, high=0.46)."""

    mean: float
    low: float
    high: float


class Agreement(NamedTuple):
    """Example: Agreement(precision=0.8, recall=0.5, f1=0.615)."""

    precision: float
    recall: float
    f1: float


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


def powers_of_two(n: int) -> list[int]:
    """The k of a pass@k curve from n samples: powers_of_two(20) == [1, 2, 4, 8, 16]."""
    return [2**i for i in range(n.bit_length())]


def wilson(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Interval for one proportion p̂ = successes / trials, useful also at 0 and at 1 (Wilson 1927).

    centre = (p̂ + z²/2n) / (1 + z²/n),   half = z/(1 + z²/n) · sqrt(p̂(1-p̂)/n + z²/4n²),   z = Φ⁻¹((1+confidence)/2)

    `mean` is p̂ itself, not the centre. The trials must be independent: for samples of several problems use `interval`.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"need 0 <= successes <= trials and trials > 0, got {successes} of {trials}")
    _check_confidence(confidence)
    z = stdlib_statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    p, z2n = successes / trials, z * z / trials
    centre = (p + z2n / 2) / (1 + z2n)
    half = z / (1 + z2n) * (p * (1 - p) / trials + z2n / (4 * trials)) ** 0.5
    return Interval(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)))


def interquartile_mean(values: Sequence[float] | np.ndarray) -> float:
    """Mean of the middle half: the lowest and the highest ⌊n/4⌋ values are dropped (Agarwal et al., arXiv 2108.13264).

    Less swayed by one lucky seed than the mean, less wasteful than the median. It equals the mean for n < 4.
    """
    ordered = np.sort(_vector(values))
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def bootstrap(
    scores_P: Sequence[float] | np.ndarray,
    seed: int,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    statistic: Callable[[np.ndarray], float] | None = None,
) -> Interval:
    """Percentile bootstrap over problems: θ̂ on P scores; bounds = quantiles of θ̂ on P scores drawn with replacement.

    low, high = Q_{(1-confidence)/2}, Q_{(1+confidence)/2} of { θ(scores[draw_r]) }_{r=1..R}   (arXiv 2108.13264, §4)

    `statistic` maps a vector to a number; None is the mean (fast). Same seed, same bounds. With all scores equal the
    bounds coincide with the mean, which claims too much: see `interval`.
    """
    scores = _vector(scores_P)
    _check_confidence(confidence)
    draws_R = _resampled(scores, seed, resamples, statistic)
    low, high = np.quantile(draws_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    centre = float(scores.mean()) if statistic is None else float(statistic(scores))
    return Interval(centre, float(low), float(high))


def interval(scores_P: Sequence[float] | np.ndarray, seed: int, confidence: float = 0.95) -> Interval:
    """Interval of the mean of per-problem scores in [0, 1]: the bootstrap, or Wilson's if all are 0 or all are 1.

    The bootstrap has nothing to resample there and would report [0, 0]; Wilson on P problems says what P zeros allow.
    """
    scores = _vector(scores_P)
    if np.all(scores == 0) or np.all(scores == 1):
        return wilson(int(scores.sum()), len(scores), confidence)
    return bootstrap(scores, seed, confidence)


def paired_difference(
    a_P: Sequence[float] | np.ndarray,
    b_P: Sequence[float] | np.ndarray,
    seed: int,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """Mean of a - b over the SAME problems, with the bootstrap interval of the differences.

    Pairing removes the spread of problem difficulty that both systems share, so it sees differences that two separate
    intervals hide. Raises ValueError if the two lists differ in length.
    """
    a, b = _vector(a_P), _vector(b_P)
    if len(a) != len(b):
        raise ValueError(f"paired scores must be of the same problems: {len(a)} against {len(b)}")
    return bootstrap(a - b, seed, confidence, resamples)


def stratified_bootstrap(
    scores_ST: Sequence[Sequence[float]] | np.ndarray,
    seed: int,
    statistic: Callable[[np.ndarray], float],
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """Percentile bootstrap of θ over all scores, seeds redrawn with replacement within each task (rliable).

    scores [S seeds, T tasks];   θ*_r = θ({ s_{i_rt(j), t} }),   i_rt(j) ~ U{1..S} for each t   (arXiv 2108.13264, §4)

    `statistic` maps the S·T scores to a number, as `interquartile_mean` does. One seed gives an interval of no width.
    """
    scores = np.asarray(scores_ST, dtype=np.float64)
    if scores.ndim != 2 or not scores.size:
        raise ValueError(f"need scores [seeds, tasks], got shape {scores.shape}")
    _check_confidence(confidence)
    generator = np.random.default_rng(seed)
    index_RST = generator.integers(0, len(scores), (resamples, *scores.shape))
    draws_R = [statistic(np.take_along_axis(scores, index, 0).ravel()) for index in index_RST]
    low, high = np.quantile(draws_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(statistic(scores.ravel()), float(low), float(high))


def student_t(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> Interval:
    """Interval of a mean from few independent values, such as paired differences over seeds (Student 1908).

    mean ± t · s / √n,   s the standard deviation with n - 1,   t the two-sided quantile, n - 1 degrees of freedom
    """
    vector = _vector(values)
    if len(vector) < 2:
        raise ValueError("one value has no spread: Student's interval needs two or more")
    _check_confidence(confidence)
    half = student_quantile(len(vector) - 1, confidence) * float(vector.std(ddof=1)) / len(vector) ** 0.5
    return Interval(float(vector.mean()), float(vector.mean()) - half, float(vector.mean()) + half)


def student_quantile(freedom: int, confidence: float) -> float:
    """t with P(|T| < t) = confidence for Student's T, by bisection: student_quantile(4, 0.95) = 2.776."""
    low, high = 0.0, 1.0
    while student_central(high, freedom) < confidence:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if student_central(middle, freedom) < confidence else (low, middle)
    return (low + high) / 2


def student_central(t: float, freedom: int) -> float:
    """P(|T| < t) by its finite series in θ = arctan(t/√ν) (Abramowitz & Stegun 26.7.3 for odd ν, 26.7.4 for even)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, odd = math.cos(angle), freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine**2 * k / (k + 1)
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total


def boundary_agreement(predicted: Iterable[Collection[int]], true: Iterable[Collection[int]]) -> Agreement:
    """Agreement of predicted with true boundary positions, counted over all documents together (micro average).

    precision = hits / predicted,   recall = hits / true,   F1 = 2·hits / (predicted + true)

    Each item is one document's set of step indices. A ratio without a denominator is 1: nothing claimed, nothing wrong;
    nothing to find, nothing missed.
    """
    pairs = [(set(p), set(t)) for p, t in zip(predicted, true, strict=True)]
    hits = sum(len(p & t) for p, t in pairs)
    num_predicted, num_true = sum(len(p) for p, _ in pairs), sum(len(t) for _, t in pairs)
    return Agreement(
        hits / num_predicted if num_predicted else 1.0,
        hits / num_true if num_true else 1.0,
        2 * hits / (num_predicted + num_true) if num_predicted + num_true else 1.0,
    )


def _resampled(
    scores_P: np.ndarray, seed: int, resamples: int, statistic: Callable[[np.ndarray], float] | None
) -> np.ndarray:
    """The statistic of `resamples` draws of P scores with replacement, shape [R]."""
    generator = np.random.default_rng(seed)
    rows = max(1, CHUNK // len(scores_P))
    results = []
    for start in range(0, resamples, rows):
        size = (min(rows, resamples - start), len(scores_P))
        drawn = scores_P[generator.integers(0, len(scores_P), size)]
        results.append(drawn.mean(axis=1) if statistic is None else np.array([statistic(row) for row in drawn]))
    return np.concatenate(results)


def _vector(values: Sequence[float] | np.ndarray) -> np.ndarray:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or len(vector) == 0:
        raise ValueError(f"need one finite number per problem, got shape {vector.shape}")
    if not np.isfinite(vector).all():
        raise ValueError("scores must be finite: mask infrastructure failures before averaging")
    return vector


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie strictly between 0 and 1, got {confidence}")
