"""The theorems on a user's own MDP: how many demonstrations and iterations they promise for it, and what is true.

    from theory.audit import audit
    from theory.options import Option, primitive_options

    options = [*primitive_options(num_states, num_actions), Option(policy, ends)]
    print(audit(transitions, rewards, options, gamma=0.95, eps=0.05))

Shapes: transitions [S,A,S], rewards [M,S,A] (one task each, all with these transitions), weights [M].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ra3.errors import UserError
from ra3.seeds import derive
from theory.chain import Array
from theory.options import Option, option_task, primitive_options
from theory.pruning import (
    demand,
    demonstrations_bound,
    demonstrations_needed,
    draw_demonstrations,
    smallest_sets,
    suboptimal,
)
from theory.tasks import gamma_bar, iteration_bound, iterations_needed, optimum

MAX_OPTIONS, REPETITIONS = 14, 500


@dataclass(frozen=True)
class Audit:
    """Means over tasks are weighted; iterations are the most that any task needs."""

    value_primitive: float
    """E_M E[V*(s_0)] with all primitive actions."""
    value_options: float
    """The same with the options only."""
    smallest_set: tuple[int, ...]
    """Zbar_eps: a smallest set of options that loses at most eps on every task against all of them."""
    demonstrations_formula: float
    """Theorem 3.5: |Zbar_eps| log(|Z| / delta) / sigma."""
    demonstrations_needed: float
    """Measured: independent ones until no (eps, sigma)-suboptimal set is left, except with probability delta."""
    gamma_bar: float
    gamma_bar_pruned: float
    """The same within the smallest set."""
    iterations_bound: int
    """Theorem 3.6, with R_max the most that one option earns."""
    iterations_needed: int
    """Measured, to within eps."""


def audit(
    transitions: ArrayLike,
    rewards: ArrayLike,
    options: Sequence[Option],
    gamma: float,
    eps: float,
    weights: ArrayLike | None = None,
    start: ArrayLike | None = None,
    sigma: float = 0.1,
    delta: float = 0.1,
    seed: int = 0,
) -> Audit:
    """Check Theorems 3.5 and 3.6 on tasks that share their dynamics. Tasks and first states are uniform if not given.

    Raises UserError for shapes that do not fit, rows that are no distributions, and more than 14 options (every set of
    them is planned with).
    """
    moves, pay = np.asarray(transitions, dtype=np.float64), np.asarray(rewards, dtype=np.float64)
    odds = _distribution(weights, len(pay), "weights")
    first = _distribution(start, len(moves), "start")
    _check(moves, pay, options, gamma, eps, sigma, delta)
    tasks = [option_task(moves, one, gamma, first, options) for one in pay]
    basic = primitive_options(moves.shape[0], moves.shape[1])
    primitive = [option_task(moves, one, gamma, first, basic) for one in pay]
    sets, losses = smallest_sets(tasks, eps)
    best = sets[int((losses.max(axis=0)).argmin())]
    formula = demonstrations_bound(sets.shape[1], len(options), delta, sigma)
    rng = np.random.default_rng(derive(seed, "audit"))
    drawn = draw_demonstrations(odds, REPETITIONS, math.ceil(4 * formula), rng)
    needed = demonstrations_needed(losses > eps, suboptimal(losses, odds, eps, sigma), drawn)
    most = max(float(np.abs(task.rewards).max()) for task in tasks)
    return Audit(
        value_primitive=float(odds @ [optimum(task) for task in primitive]),
        value_options=float(odds @ [optimum(task) for task in tasks]),
        smallest_set=tuple(int(action) for action in best),
        demonstrations_formula=formula,
        demonstrations_needed=demand(needed, delta),
        gamma_bar=gamma_bar(tasks[0]),
        gamma_bar_pruned=float(tasks[0].kernel[:, best].sum(axis=2).max()),
        iterations_bound=iteration_bound(gamma_bar(tasks[0]), most, eps),
        iterations_needed=max(iterations_needed(task, eps) for task in tasks),
    )


def _distribution(given: ArrayLike | None, size: int, name: str) -> Array:
    values = np.full(size, 1 / size) if given is None else np.asarray(given, dtype=np.float64)
    if values.shape != (size,) or values.min() < 0 or abs(values.sum() - 1) > 1e-9:
        raise UserError(f"'{name}' is not a distribution over {size}", allowed=f"{size} numbers >= 0 that sum to 1")
    return values


def _check(moves: Array, pay: Array, options: Sequence[Option], gamma: float, *tolerances: float) -> None:
    if moves.ndim != 3 or moves.shape[0] != moves.shape[2]:
        raise UserError(f"'transitions' has shape {moves.shape}", allowed="[S,A,S]")
    if moves.min() < 0 or np.abs(moves.sum(axis=2) - 1).max() > 1e-9:
        raise UserError(
            "rows of 'transitions' are no distributions", allowed="numbers >= 0 that sum to 1 over the last axis"
        )
    if pay.shape[1:] != moves.shape[:2]:
        raise UserError(
            f"'rewards' has shape {pay.shape}", allowed=f"[M,{moves.shape[0]},{moves.shape[1]}], one task a row"
        )
    if not 1 <= len(options) <= MAX_OPTIONS:
        raise UserError(
            f"there are {len(options)} options", allowed=f"1 to {MAX_OPTIONS}: every set of them is planned with"
        )
    for index, option in enumerate(options):
        if option.policy.shape != moves.shape[:2] or option.ends.shape != moves.shape[:1]:
            raise UserError(f"option {index} does not fit the transitions", allowed="policy [S,A] and ends [S]")
    if not 0 < gamma < 1 or min(tolerances) <= 0:
        raise UserError("gamma, eps, sigma or delta is out of range", allowed="0 < gamma < 1; the others above 0")
