"""Measured demand for demonstrations on families of tasks, for the study of Theorem 3.5."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ra3.seeds import derive
from theory.families import garnet, random_options
from theory.pruning import (
    covering_family,
    demand,
    demonstrations_bound,
    demonstrations_needed,
    draw_demonstrations,
    smallest_sets,
    suboptimal,
    unseen_demand,
)

REPETITIONS, NUM_TASKS = 400, 400
SIZE, ACTIONS, DELTA, SIGMA, GARNET_EPS = 1, 32, 0.1, 0.1, 0.2


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
