"""The sequential test by hand where a batch can be counted out, and its error rate where it cannot."""

import numpy as np
import pytest

from ra3.measure.statistics import Decision, boundary, sequential_test, shared_out


def test_the_boundary_leaves_the_level_above_it():
    statistic, alive = np.arange(10.0), np.ones(10, dtype=bool)
    assert boundary(statistic, alive, 0.2) == pytest.approx(7)  # 8 and 9 lie above: 2 of 10
    alive[9] = False
    assert boundary(statistic, alive, 0.2) == pytest.approx(6)


def test_shared_out_scores_average_to_nothing():
    found = shared_out(np.array([1.0, 2.0, 5.0, 8.0]), 4000, np.random.default_rng(0))
    assert found[0] == -10 and abs(found.mean()) < 0.3 and set(found) == {-10, -4, -2, 2, 4, 10}


def test_three_seeds_apart_are_too_few_and_four_are_enough():
    """3 against 3 fully apart: 2 of 20 ways are as far, 0.1. 4 against 4: 2 of 70, 0.029."""
    low, high = [0.1, 0.2, 0.3, 0.15], [0.8, 0.9, 0.7, 0.85]
    assert sequential_test(high[:3], low[:3], 0, batch=3, looks=1) == Decision("no difference found", 3)
    assert sequential_test(high, low, 0, batch=4, looks=1) == Decision("higher", 4)
    assert sequential_test(low, high, 0, batch=4, looks=1) == Decision("lower", 4)


def test_more_seeds_are_asked_for_while_there_may_be_looks():
    same = [0.4, 0.5, 0.6, 0.45, 0.55]
    assert sequential_test(same, same[::-1], 0) == Decision("go on", 5)
    assert sequential_test(same[:4], same[:4], 0) == Decision("go on", 0)
    assert sequential_test(same * 5, same[::-1] * 5, 0) == Decision("no difference found", 25)
    with pytest.raises(ValueError, match="4 against 5"):
        sequential_test(same[:4], same, 0)


def test_a_difference_is_claimed_wrongly_at_most_as_often_as_said():
    draws = np.random.default_rng(3).normal(size=(400, 2, 25))
    wrong = [
        sequential_test(a.tolist(), b.tolist(), n, permutations=400).verdict in ("higher", "lower")
        for n, (a, b) in enumerate(draws)
    ]
    assert np.mean(wrong) < 0.075


def test_a_real_difference_is_found_early():
    a, b = np.random.default_rng(4).normal(size=(2, 25))
    assert sequential_test((a + 3).tolist(), b.tolist(), 0) == Decision("higher", 5)
