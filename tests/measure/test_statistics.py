"""Formulas against hand-computable numbers, identities, enumeration and simulated coverage."""

from itertools import combinations
from math import comb

import numpy as np
import pytest

from ra3.measure import statistics as S


def brute_force_pass_at_k(n: int, c: int, k: int) -> float:
    """Share of the k-subsets of n samples (the first c correct) that hold at least one correct sample."""
    subsets = list(combinations(range(n), k))
    return sum(any(i < c for i in subset) for subset in subsets) / len(subsets)


def test_pass_at_k_equals_enumeration():
    for n in range(1, 9):
        for c in range(n + 1):
            for k in range(1, n + 1):
                assert S.pass_at_k(n, c, k) == pytest.approx(brute_force_pass_at_k(n, c, k), abs=1e-12)


@pytest.mark.parametrize(("n", "c", "k", "expected"), [(4, 1, 1, 0.25), (4, 1, 2, 0.5), (5, 0, 5, 0.0), (5, 2, 4, 1.0)])
def test_pass_at_k_by_hand(n, c, k, expected):
    assert S.pass_at_k(n, c, k) == pytest.approx(expected)


def test_pass_at_k_large_n_equals_exact_binomials():
    n, c, k = 1000, 7, 128
    assert S.pass_at_k(n, c, k) == pytest.approx(1 - comb(n - c, k) / comb(n, k), rel=1e-12)


def test_pass_at_k_is_unbiased():
    """E over c ~ Binomial(n, p) of the estimate is 1 - (1-p)^k, exactly."""
    n, k, p = 10, 3, 0.3
    mean = sum(comb(n, c) * p**c * (1 - p) ** (n - c) * S.pass_at_k(n, c, k) for c in range(n + 1))
    assert mean == pytest.approx(1 - (1 - p) ** k, abs=1e-12)


@pytest.mark.parametrize(("n", "c", "k"), [(3, 1, 4), (3, 4, 1), (3, -1, 1), (3, 1, 0), (0, 0, 1)])
def test_pass_at_k_refuses_what_it_cannot_estimate(n, c, k):
    with pytest.raises(ValueError, match=r"pass@|correct samples"):
        S.pass_at_k(n, c, k)


def test_wilson_known_values():
    assert S.wilson(8, 10) == pytest.approx((0.8, 0.4901625, 0.9433178), abs=1e-6)
    zero = S.wilson(0, 10)
    assert zero.low == 0.0 and zero.high == pytest.approx(0.2775328, abs=1e-6)
    assert S.wilson(10, 10).high == 1.0
    assert S.wilson(5, 10).low == pytest.approx(1 - S.wilson(5, 10).high)


def test_wilson_refuses_nonsense():
    for successes, trials in [(0, 0), (3, 2), (-1, 2)]:
        with pytest.raises(ValueError):
            S.wilson(successes, trials)


def test_wilson_coverage():
    generator = np.random.default_rng(0)
    for p in (0.05, 0.3, 0.5):
        counts = generator.binomial(60, p, size=2000)
        bounds = [S.wilson(int(c), 60) for c in counts]
        assert 0.92 < np.mean([b.low <= p <= b.high for b in bounds]) < 0.98


def test_interquartile_mean_by_hand():
    assert S.interquartile_mean([100, 1, 2, 3, 4, 5, 6, -50]) == pytest.approx(3.5)
    assert S.interquartile_mean([1.0, 2.0, 6.0]) == pytest.approx(3.0)


def test_bootstrap_is_deterministic_and_ordered():
    scores = np.random.default_rng(1).random(40)
    first, again, other = S.bootstrap(scores, 7), S.bootstrap(scores, 7), S.bootstrap(scores, 8)
    assert first == again and first != other
    assert first.low < first.mean < first.high
    assert first.mean == pytest.approx(scores.mean())


def test_bootstrap_statistic_and_chunks_agree_with_the_fast_mean(monkeypatch):
    scores = np.random.default_rng(2).random(15)
    fast = S.bootstrap(scores, 3, resamples=500)
    slow = S.bootstrap(scores, 3, resamples=500, statistic=lambda values, axis: values.sum(axis) / 15)
    assert slow == pytest.approx(fast)
    monkeypatch.setattr(S, "CHUNK", 100)
    assert S.bootstrap(scores, 3, resamples=500) == pytest.approx(fast)


def test_bootstrap_matches_the_normal_interval_for_many_problems():
    scores = np.random.default_rng(3).random(2000)
    half = 1.96 * scores.std() / 2000**0.5
    found = S.bootstrap(scores, 0, resamples=4000)
    assert found.high - found.mean == pytest.approx(half, rel=0.08)
    assert found.mean - found.low == pytest.approx(half, rel=0.08)


def test_cluster_bootstrap_covers_while_pooled_samples_do_not():
    """60 problems whose solve rate is 0 or 1, 20 samples each: only resampling problems is honest."""
    generator = np.random.default_rng(4)
    covered = pooled_covered = 0
    for trial in range(200):
        rates = (generator.random(60) < 0.4).astype(float)
        found = S.bootstrap(rates, trial, resamples=400)
        covered += found.low <= 0.4 <= found.high
        pooled = S.wilson(int(rates.sum()) * 20, 60 * 20)
        pooled_covered += pooled.low <= 0.4 <= pooled.high
    assert covered >= 0.9 * 200
    assert pooled_covered < 0.6 * 200


def test_interval_is_not_overconfident_at_the_ends():
    assert S.interval([0.0] * 20, 0) == S.wilson(0, 20)
    assert S.interval([1.0] * 20, 0) == S.wilson(20, 20)
    assert S.interval([0.5] * 20, 0) == (0.5, 0.5, 0.5)
    for share, count in ((0.0, 1), (1.0, 3), (1.0, 500)):
        assert S.interval([share] * count, 0) == S.wilson(int(share) * count, count)


def test_paired_difference_sees_what_separate_intervals_hide():
    generator = np.random.default_rng(5)
    difficulty = generator.random(80)
    a, b = np.clip(difficulty + 0.05, 0, 1), difficulty
    found = S.paired_difference(a, b, 0)
    assert found.low > 0
    assert S.bootstrap(a, 0).low < S.bootstrap(b, 0).high
    assert S.paired_difference(b, a, 0).mean == pytest.approx(-found.mean)
    assert S.paired_difference(a, a, 0) == (0.0, 0.0, 0.0)


def test_refuses_bad_scores():
    with pytest.raises(ValueError, match="same problems"):
        S.paired_difference([0.1, 0.2], [0.1], 0)
    for bad in ([], [[0.1]], [0.1, float("nan")]):
        with pytest.raises(ValueError):
            S.bootstrap(np.array(bad), 0)


def test_boundary_agreement_by_hand():
    found = S.boundary_agreement([{0, 3, 5}, {1}], [{0, 5, 7}, set()])
    assert found == pytest.approx((2 / 4, 2 / 3, 4 / 7))
    assert S.boundary_agreement([{1, 2}], [{1, 2}]) == (1.0, 1.0, 1.0)
    assert S.boundary_agreement([set()], [{1}]) == (1.0, 0.0, 0.0)
    assert S.boundary_agreement([set()], [set()]) == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError):
        S.boundary_agreement([{1}], [])


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (7, 2.365), (14, 2.145), (19, 2.093)]
)
def test_students_quantile_is_the_tables(freedom, quantile):
    values = np.arange(freedom + 1.0)
    half = S.student_t(values).high - values.mean()
    assert half * len(values) ** 0.5 / values.std(ddof=1) == pytest.approx(quantile, abs=5e-4)


def test_students_interval_by_hand():
    """1, 2, 3: s = 1, half width 4.303 / sqrt(3); equal values leave no width."""
    assert S.student_t([1, 2, 3]) == pytest.approx((2, 2 - 2.4843, 2 + 2.4843), abs=1e-3)
    assert S.student_t([0.5, 0.5]) == (0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="no spread"):
        S.student_t([1.0])


def test_students_interval_covers_few_normal_values():
    draws = np.random.default_rng(1).normal(size=(2000, 4))
    assert np.mean([i.low <= 0 <= i.high for i in map(S.student_t, draws)]) == pytest.approx(0.95, abs=0.015)


def test_the_stratified_bootstrap_redraws_seeds_within_each_task():
    """Tasks that do not vary over seeds leave no width, however far apart; one task is the ordinary bootstrap."""
    flat = S.stratified_bootstrap([[0.0, 1.0], [0.0, 1.0]], 0, np.mean)
    assert flat == (0.5, 0.5, 0.5)
    values = [0.1, 0.2, 0.4, 0.9, 0.3, 0.6]
    one = S.stratified_bootstrap([[v] for v in values], 0, np.mean)
    assert one == pytest.approx(S.bootstrap(values, 1), abs=0.02)
    with pytest.raises(ValueError, match="seeds, tasks"):
        S.stratified_bootstrap([], 0, S.interquartile_mean)
