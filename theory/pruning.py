"""Theorem 3.5 of RA3 (arXiv 2509.25810): how many expert demonstrations prune every bad set of actions.

    |D_E| = Theta(|Zbar_eps| log(|Z| / delta) / sigma)

Read so (the paper's definitions are not public, but this reading gives the formula exactly):

- Tasks M come with probabilities. Delta(M, Z') = V*_M - V*_{M|Z'} is what pruning to the actions Z' costs on M.
- Zbar_eps is the smallest set of actions with Delta(M, Zbar_eps) <= eps on every task.
- A set Z' of |Zbar_eps| actions is (eps, sigma)-suboptimal if Delta(M, Z') > eps on tasks of probability >= sigma.
- A demonstration of M prunes every set that is not eps-optimal on M.

A bad set survives n independent demonstrations with probability (1 - sigma)^n at most, and there are C(|Z|, k) <= |Z|^k
sets of k = |Zbar_eps| actions, so n = (k log|Z| + log(1/delta)) / sigma <= k log(|Z| / delta) / sigma are enough.

Shapes: [M] tasks, [N] sets of actions, [R] repetitions, [L] demonstrations.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from theory.chain import Array
from theory.tasks import Task, optimum, restrict


def action_sets(num_actions: int, size: int) -> Array:
    """[N, size] every set of so many actions."""
    return np.array(list(itertools.combinations(range(num_actions), size)), dtype=np.int64).reshape(-1, size)


def pruning_losses(tasks: Sequence[Task], sets: Array) -> Array:
    """[M,N] Delta(M, Z') = E[V*_M(s_0) - V*_{M|Z'}(s_0)] >= 0, by exact planning in every restricted task."""
    return np.array([optimum(task) - np.array([optimum(restrict(task, kept)) for kept in sets]) for task in tasks])


def smallest_sets(tasks: Sequence[Task], eps: float) -> tuple[Array, Array]:
    """(sets [N,k], losses [M,N]) for k = |Zbar_eps|, the least size at which a set is eps-optimal on every task."""
    num_actions = tasks[0].rewards.shape[1]
    for size in range(1, num_actions + 1):
        sets = action_sets(num_actions, size)
        losses = pruning_losses(tasks, sets)
        if (losses <= eps).all(axis=0).any():
            return sets, losses
    raise AssertionError("all actions together lose nothing")


def suboptimal(losses: Array, weights: Array, eps: float, sigma: float) -> Array:
    """[N] which sets are (eps, sigma)-suboptimal: worse by more than eps on tasks of probability >= sigma."""
    return weights @ (losses > eps) >= sigma - 1e-12


def demonstrations_bound(set_size: int, num_actions: int, delta: float, sigma: float) -> float:
    """|Zbar_eps| log(|Z| / delta) / sigma: the theorem with the constant 1."""
    return set_size * math.log(num_actions / delta) / sigma


def draw_demonstrations(
    weights: Array, repetitions: int, length: int, rng: np.random.Generator, repeat: float = 0.0
) -> Array:
    """[R,L] demonstrated tasks; each repeats the one before with probability `repeat`, 0: independent."""
    drawn = rng.choice(len(weights), size=(repetitions, length), p=weights)
    if repeat:
        again = rng.random(drawn.shape) < repeat
        again[:, 0] = False
        source = np.maximum.accumulate(np.where(again, 0, np.arange(length)), axis=1)
        drawn = np.take_along_axis(drawn, source, axis=1)
    return drawn


def demonstrations_needed(pruned_by: Array, bad: Array, demonstrations: Array) -> Array:
    """[R] after how many demonstrations no bad set is left; inf if some are left at the end.

    pruned_by [M,N]: whether a demonstration of the task prunes the set.
    """
    first = np.full((len(demonstrations), len(pruned_by)), math.inf)
    for count in range(demonstrations.shape[1], 0, -1):
        first[np.arange(len(demonstrations)), demonstrations[:, count - 1]] = count
    needed = np.zeros(len(demonstrations))
    for prunes in pruned_by.T[bad]:
        needed = np.maximum(needed, first[:, prunes].min(axis=1, initial=math.inf))
    return needed


def demand(needed: Array, delta: float) -> float:
    """The least n at which the share of repetitions with a bad set left is at most delta."""
    return float(np.quantile(needed, 1 - delta, method="inverted_cdf"))


def unseen_demand(weights: Array, actions: Array, sigma: float, delta: float, demonstrations: Array) -> float:
    """Demonstrations until tasks whose expert action [M] was never shown have probability < sigma, except with delta.

    For a learner that keeps the actions it has seen: exact experts whose one action can be read off the text.
    """
    needed = np.full(len(demonstrations), math.inf)
    mass = np.bincount(actions, weights=weights)
    for i, tasks in enumerate(demonstrations):
        _, first = np.unique(actions[tasks], return_index=True)
        seen = np.cumsum(mass[actions[tasks[np.sort(first)]]])
        enough = np.flatnonzero(mass.sum() - seen < sigma - 1e-12)
        if len(enough):
            needed[i] = np.sort(first)[enough[0]] + 1
    return demand(needed, delta)


def covering_family(
    set_size: int, num_actions: int, sigma: float, num_tasks: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """(sets [N,k], losses [M,N]) of one-step tasks in which pruning is as hard as the theorem's proof allows.

    Reward 1 for a covering action, else 0. The first k actions share the tasks out among them; each other action covers
    random tasks, so many that k of them together miss a share sigma: almost every set is bad, just so.
    """
    covers = np.zeros((num_tasks, num_actions), dtype=bool)
    covers[np.arange(num_tasks), np.arange(num_tasks) % set_size] = True
    misses = math.ceil(num_tasks * sigma ** (1 / set_size) - 1e-9)
    for action in range(set_size, num_actions):
        covers[:, action] = True
        covers[rng.choice(num_tasks, misses, replace=False), action] = False
    sets = action_sets(num_actions, set_size)
    covered = np.zeros((num_tasks, len(sets)), dtype=bool)
    for column in sets.T:
        covered |= covers[:, column]
    return sets, 1.0 - covered
