"""Theorem 3.5 by hand and on its hardest families."""

import math

import numpy as np
import pytest

from theory.pruning import (
    action_sets,
    covering_family,
    demand,
    demonstrations_bound,
    demonstrations_needed,
    draw_demonstrations,
    pruning_losses,
    smallest_sets,
    suboptimal,
    unseen_demand,
)
from theory.tasks import Task


def one_step_tasks(pay):
    """A task for each row of pay [M,Z]: one choice, then nothing."""
    pay = np.asarray(pay, dtype=float)
    return [Task(row[None], np.zeros((1, pay.shape[1], 1)), np.ones(1)) for row in pay]


def test_pruning_by_hand():
    """Three tasks, three actions: the best pair is {0, 1}; {1, 2} fails on the first task, {0, 2} on the second."""
    tasks = one_step_tasks([[1, 0, 0], [0, 1, 0], [1, 1, 1]])
    sets, losses = smallest_sets(tasks, 0.1)
    assert sets.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert losses.tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 0]]
    np.testing.assert_allclose(pruning_losses(tasks, action_sets(3, 1)), [[0, 1, 1], [1, 0, 1], [0, 0, 0]])
    weights = np.array([0.05, 0.15, 0.8])
    assert suboptimal(losses, weights, 0.1, 0.1).tolist() == [False, True, False]
    needed = demonstrations_needed(losses > 0.1, np.array([False, True, True]), np.array([[2, 1, 2, 0], [2, 2, 2, 1]]))
    assert needed.tolist() == [4, math.inf]
    assert demand(np.array([1.0, 2, 3, 10]), 0.25) == 3


def test_a_set_that_stays_may_lose_any_amount_on_rare_tasks():
    """A task of probability sigma / 2 that pays 100: what is not (eps, sigma)-suboptimal loses 5, not eps = 0.01."""
    tasks, weights = one_step_tasks([[100, 0], [1, 1]]), np.array([0.05, 0.95])
    sets, losses = smallest_sets(tasks, 0.01)
    stays = ~suboptimal(losses, weights, 0.01, 0.1)
    assert stays.all() and (weights @ losses).max() == pytest.approx(5)


def test_coupons_by_hand():
    """Two tasks shown in turn: the second action is seen at the third demonstration."""
    weights, actions = np.array([0.5, 0.5]), np.array([0, 1])
    assert unseen_demand(weights, actions, 0.1, 0.1, np.array([[0, 0, 1, 0]])) == 3
    assert unseen_demand(weights, actions, 0.6, 0.1, np.array([[0, 0, 1, 0]])) == 1


def test_correlated_demonstrations_repeat():
    drawn = draw_demonstrations(np.full(50, 0.02), 200, 100, np.random.default_rng(0), repeat=0.9)
    assert (drawn[:, 1:] == drawn[:, :-1]).mean() == pytest.approx(0.9 + 0.1 / 50, abs=0.01)
    assert np.bincount(drawn[:, -1], minlength=50).max() < 20


@pytest.mark.parametrize("size", [1, 2])
def test_the_formula_is_enough_on_the_hardest_families(size):
    rng = np.random.default_rng(size)
    _, losses = covering_family(size, 12, 0.2, 200, rng)
    weights = np.full(200, 1 / 200)
    bad = suboptimal(losses, weights, 0.5, 0.2)
    assert (losses[:, 0] == 0).all() and bad.any()
    drawn = draw_demonstrations(weights, 300, 200, rng)
    needed = demand(demonstrations_needed(losses > 0.5, bad, drawn), 0.1)
    bound = demonstrations_bound(size, 12, 0.1, 0.2)
    assert 0.3 * bound < needed <= bound
