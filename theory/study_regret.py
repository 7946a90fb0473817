"""The regret identity over random families of tasks with options."""

from __future__ import annotations

import numpy as np

from ra3.seeds import derive
from theory.claims import Check, Finding, Table, span
from theory.families import garnet, random_options
from theory.tasks import Regret, Task, greedy, optimal_values, primitive_options, regret

FAMILIES, TASKS = 40, 5
TOLERANCE = 1e-10


def study_regret(seed: int) -> Finding:
    """Garnet families of 5 tasks on 8 to 30 states: 3 primitive actions and 6 options, half of them pruned."""
    inside = [_family(derive(seed, "regret", index), stray=False) for index in range(FAMILIES)]
    outside = [_family(derive(seed, "regret", index), stray=True) for index in range(FAMILIES)]
    residual = max(abs(r.residual) for r in inside + outside)
    learning, strayed = [r.learning for r in inside], [r.learning for r in outside]
    kinds = (("inside the kept actions", inside), ("free to leave them", outside))
    rows = [[name, *(span([getattr(r, part) for r in found]) for part in PARTS)] for name, found in kinds]
    return Finding(
        name="Regret identity",
        title="Regret = value lost by pruning + RL error",
        statement=(
            "E_M[V*_M - V^pi_M] = E_M[V*_M - V*_{M|Z'}] + E_M[V*_{M|Z'} - V^pi_M] for any set of actions Z'. The left "
            "side is computed from advantages where pi goes (performance-difference lemma), the right from values."
        ),
        assumptions=["pi chooses among the kept actions Z' (for both parts to be errors)"],
        holds=[
            Check(
                f"the identity, to {TOLERANCE:.0e}",
                f"largest residual {residual:.1e} in {2 * FAMILIES} families of {TASKS} tasks",
                residual <= TOLERANCE,
            ),
            Check("both parts are errors, so >= 0", f"least RL error {min(learning):.2g}", min(learning) > -TOLERANCE),
        ],
        breaks=[
            Check(
                "the RL part is >= 0 for a policy that leaves Z'",
                f"{sum(value < -TOLERANCE for value in strayed)} of {FAMILIES} families below 0, "
                f"least {min(strayed):.2g}",
                min(strayed) > -TOLERANCE,
            )
        ],
        tables=[Table("Range over families, in units of the value of a state.", ["policy", *PARTS], rows)],
        numbers={"largest_residual": residual, "least_learning_outside": min(strayed)},
    )


PARTS = ("total", "pruning", "learning")


def _family(seed: int, stray: bool) -> Regret:
    """One family: `stray` policies are nearly optimal over all actions, others nearly optimal over the kept ones."""
    rng = np.random.default_rng(seed)
    world = garnet(int(rng.integers(8, 31)), 3, 0.95, rng)
    options = primitive_options(world.num_states, 3) + random_options(world, 6, 4.0, rng)
    tasks = [world.task(world.rewards(rng), options) for _ in range(TASKS)]
    kept = np.sort(rng.choice(len(options), len(options) // 2, replace=False))
    allowed = np.ones(len(options)) if stray else np.isin(np.arange(len(options)), kept).astype(float)
    policies = [_noisy(task, allowed, rng) for task in tasks]
    return regret(tasks, rng.dirichlet(np.ones(TASKS)), list(kept), policies)


def _noisy(task: Task, allowed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[S,Z] the best of the allowed actions with probability 0.9, else a random one of them."""
    masked = Task(np.where(allowed > 0, task.rewards, -1e3), task.kernel * allowed[None, :, None], task.start)
    best = greedy(masked, optimal_values(masked))
    noise = rng.dirichlet(np.ones(len(allowed)), size=len(best)) * allowed
    return 0.9 * best + 0.1 * noise / noise.sum(axis=1, keepdims=True)
