"""Theorem 3.5 of RA3 (arXiv 2509.25810): how many expert demonstrations prune every bad set of actions.

    |D_E| = Theta(|Zbar_eps| log(|Z| / delta) / sigma)

Read so (the paper's definitions are not public, but this reading gives the formula exactly):

- Tasks M come with probabilities. Delta(M, Z') = V*_M - V*_{M|Z'} is what pruning to the actions Z' costs on M.
- Zbar_eps is the smallest set of actions with Delta(M, Zbar_eps) <= eps on every task.
- A set Z' of |Zbar_eps| actions is (eps, sigma)-suboptimal if Delta(M, Z') > eps on tasks of probability >= sigma.
- A demonstration of M prunes every set that is not eps-optimal on M.

A bad set survives n independent demonstrations with probability (1 - sigma)^n at most, and there are C(|Z|, k) <= |Z|^k
sets of k = |Zbar_eps| actions, so n = (k log|Z| + log(1/delta)) / sigma <= k log(|Z| / delta) / sigma are enough.

Shapes: [M] tasks, [N] sets of actions, [R] repetitions, [L] demonstrations. Measured demands are at the end.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ra3.seeds import derive
from theory.chain import Array
from theory.families import garnet, random_options
from theory.tasks import Task, optimum, restrict

REPETITIONS, NUM_TASKS = 400, 400
SIZE, ACTIONS, DELTA, SIGMA, GARNET_EPS = 1, 32, 0.1, 0.1, 0.2


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


@dataclass(frozen=True)
class Point:
    """A family and its demand: sets of `size` among `actions`, risk `delta`, tasks of probability `sigma`."""

    size: int
    actions: int
    delta: float
    sigma: float
    demand: float

    @property
    def bound(self) -> float:
        """The theorem's formula with the constant 1."""
        return demonstrations_bound(self.size, self.actions, self.delta, self.sigma)

    @property
    def error(self) -> float:
        """Standard error of a 1 - delta quantile of REPETITIONS waiting times whose tail falls by sigma a step."""
        return math.sqrt((1 - self.delta) / (self.delta * REPETITIONS)) / self.sigma


def hardest(
    seed: int,
    size: int = SIZE,
    actions: int = ACTIONS,
    delta: float = DELTA,
    sigma: float = SIGMA,
    repeat: float = 0.0,
    draws: int = 3,
) -> Point:
    """The covering family, mean over draws of it; each demonstration repeats the one before with odds `repeat`."""
    found, length = [], _enough(size, actions, delta, sigma, repeat)
    for index in range(draws):
        rng = np.random.default_rng(derive(seed, "demand", size, actions, repr(sigma), index))
        _, losses = covering_family(size, actions, sigma, NUM_TASKS, rng)
        weights = np.full(NUM_TASKS, 1 / NUM_TASKS)
        demonstrations = draw_demonstrations(weights, REPETITIONS, length, rng, repeat)
        bad = suboptimal(losses, weights, 0.5, sigma)
        found.append(demand(demonstrations_needed(losses > 0.5, bad, demonstrations), delta))
    return Point(size, actions, delta, sigma, float(np.mean(found)))


def _enough(size: int, actions: int, delta: float, sigma: float, repeat: float = 0.0) -> int:
    """So many demonstrations that hardly any repetition ends without having pruned every bad set."""
    return math.ceil(3 * demonstrations_bound(size, actions, delta, sigma) / (1 - repeat))


def in_options(seed: int, rare_value: float = 1.0) -> tuple[Point, float]:
    """(demand of 20 Garnet tasks with 7 random options, the most that a set left unpruned loses on average, over eps).

    The first task has probability sigma / 2 and pays `rare_value` times as much as drawn.
    """
    rng = np.random.default_rng(seed)
    world = garnet(10, 3, 0.9, rng)
    options = random_options(world, 7, 3.0, rng)
    weights = np.r_[SIGMA / 2, (1 - SIGMA / 2) * rng.dirichlet(np.full(19, 2.0))]
    scale = np.r_[rare_value, np.ones(19)]
    tasks = [world.task(value * world.rewards(rng), options) for value in scale]
    sets, losses = smallest_sets(tasks, GARNET_EPS)
    bad = suboptimal(losses, weights, GARNET_EPS, SIGMA)
    length = _enough(sets.shape[1], len(options), DELTA, SIGMA)
    demonstrations = draw_demonstrations(weights, REPETITIONS, length, rng)
    needed = demand(demonstrations_needed(losses > GARNET_EPS, bad, demonstrations), DELTA)
    left = float((weights @ losses)[~bad].max())
    return Point(sets.shape[1], len(options), DELTA, SIGMA, needed), left / GARNET_EPS


def read_off(seed: int, size: int, actions: int) -> Point:
    """A learner that keeps the actions it has seen, among `actions`, of which experts need `size`.

    One is needed on 1 - 2 sigma of the tasks, the others share the rest: half of those must be seen.
    """
    rng = np.random.default_rng(derive(seed, "read off", size, actions))
    weights = np.r_[1 - 2 * SIGMA, np.full(size - 1, 2 * SIGMA / (size - 1))]
    labels = rng.permutation(actions)[:size]
    needed = unseen_demand(weights, labels, SIGMA, DELTA, draw_demonstrations(weights, REPETITIONS, 400, rng))
    return Point(size, actions, DELTA, SIGMA, needed)


def survival(slip: float, demonstrations: float) -> float:
    """(1 - slip)^n: where the expert slips, a demonstration prunes the best set, too."""
    return (1 - slip) ** demonstrations
