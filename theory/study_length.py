"""How long an abstraction should last: planning and Q-learning in a town, with moves of 1 to 8 steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ra3.seeds import derive
from theory.chain import Array
from theory.claims import Chart, Check, Finding, Series, Table
from theory.families import goal_task, straight_moves, streets
from theory.tasks import (
    Option,
    evaluate,
    gamma_bar,
    interrupted,
    iterations_needed,
    optimum,
    option_task,
    primitive_options,
)

BLOCKS, STREET, SLIP, GAMMA, EPS = 3, 4, 0.05, 0.97, 0.01
LENGTHS, MARKS, BUDGET = (1, 2, 3, 4, 6, 8), (125, 250, 500, 1000, 2000), 1000
FLEXIBLE, FIXED, RESTRICTED = "ends at junctions", "fixed length", "cut to 1 step"
AGENTS = 2
"""Agents a task."""
EXPLORE, RATE = 0.2, 0.5
"""Of Q-learning."""


@dataclass(frozen=True)
class Course:
    """One set of options: planning effort, value lost by what they cannot reach, regret of Q-learning at MARKS."""

    shrink: float
    iterations: float
    pruning: float
    regrets: list[float]

    @property
    def at_budget(self) -> float:
        """Regret after BUDGET primitive steps."""
        return self.regrets[MARKS.index(BUDGET)]


def study_length(seed: int) -> Finding:
    """A town of 3 x 3 blocks, streets of 4 steps, a goal at each of the 16 junctions; options walk straight on."""
    junctions = streets(BLOCKS, STREET, SLIP)[1].astype(float)
    flexible = {k: _course(seed, straight_moves(junctions, k)) for k in LENGTHS}
    fixed = {k: _course(seed, straight_moves(np.zeros_like(junctions), k)) for k in LENGTHS}
    cut = _course(seed, [interrupted(option) for option in straight_moves(junctions, STREET)])
    one, street, longest = flexible[1], flexible[STREET], fixed[LENGTHS[-1]]
    return Finding(
        name="Abstraction length",
        title="How long an abstraction should last",
        statement=(
            "Longer options shrink gamma_bar, so planning and RL need fewer decisions (Theorem 3.6); a set of long "
            "options may reach less (pruning error). The gain must vanish when the same options are cut to one step."
        ),
        assumptions=["the same four directions at every length", "budgets in primitive steps, not in decisions"],
        holds=[
            Check(
                "options of a street's length need fewer iterations of planning",
                f"{street.iterations:.1f} against {one.iterations:.1f}",
                street.iterations < 0.5 * one.iterations,
            ),
            Check(
                f"and leave less regret to Q-learning after {BUDGET} primitive steps",
                f"{street.at_budget:.3f} against {one.at_budget:.3f}",
                street.at_budget < 0.7 * one.at_budget,
            ),
            Check(
                "cut to one primitive step they lose the gain in planning",
                f"{cut.iterations:.1f} iterations",
                abs(cut.iterations - one.iterations) < 1e-9,
            ),
            Check("and in learning", f"regret {cut.at_budget:.3f}", cut.at_budget > 0.9 * one.at_budget),
        ],
        breaks=[
            Check(
                "any long option reaches what short ones do",
                f"{LENGTHS[-1]} steps without stopping at junctions: {longest.pruning:.3f} of value is out of "
                f"reach, regret {longest.at_budget:.3f}",
                longest.pruning < 0.01,
            ),
            Check(
                "gamma_bar tells the gain where options may end early",
                f"gamma_bar {street.shrink:.2f} at {STREET} steps, yet {one.iterations / street.iterations:.1f} times "
                "fewer iterations",
                street.shrink < 0.99 * GAMMA,
            ),
        ],
        charts=[_curves(flexible, fixed, cut), _by_length(flexible, fixed, cut), _planning(flexible, fixed)],
        tables=[_table(flexible, fixed, cut)],
        numbers={
            "regret_one_step": one.at_budget, "regret_street": street.at_budget, "regret_cut": cut.at_budget,
            "regret_fixed_longest": longest.at_budget, "pruning_fixed_longest": longest.pruning,
            "iterations_one_step": one.iterations, "iterations_street": street.iterations,
            "iterations_cut": cut.iterations,
        },
    )


def _course(seed: int, options: list[Option]) -> Course:
    rng = np.random.default_rng(derive(seed, "length"))
    moves, junctions = streets(BLOCKS, STREET, SLIP)
    goals, start = np.flatnonzero(junctions), np.full(len(moves), 1 / len(moves))
    worlds = [goal_task(moves, int(goal)) for goal in goals]
    primitive = primitive_options(len(moves), 4)
    best = np.mean([optimum(option_task(*world, GAMMA, start, primitive)) for world in worlds])
    tasks = [option_task(*world, GAMMA, start, options) for world in worlds]
    agents = np.repeat(np.arange(len(goals)), AGENTS)
    transitions, rewards = np.stack([t for t, _ in worlds]), np.stack([r for _, r in worlds])
    regrets = []
    for q in _learn(transitions[agents], rewards[agents], goals[agents], options, GAMMA, MARKS, rng):
        policies = np.eye(len(options))[q.argmax(axis=-1)]
        reached = [start @ evaluate(tasks[m], policy) for m, policy in zip(agents, policies, strict=True)]
        regrets.append(float(best - np.mean(reached)))
    needed = float(np.mean([iterations_needed(task, EPS) for task in tasks]))
    return Course(gamma_bar(tasks[0]), needed, float(best - np.mean([optimum(task) for task in tasks])), regrets)


def _curves(flexible: dict[int, Course], fixed: dict[int, Course], cut: Course) -> Chart:
    shown = [(f"{k} step{'s' * (k > 1)}", flexible[k], "-") for k in (1, 2, STREET)]
    shown += [(f"{STREET}, {RESTRICTED}", cut, "--"), (f"{LENGTHS[-1]}, {FIXED}", fixed[LENGTHS[-1]], "-")]
    series = [Series(name, MARKS, course.regrets, style) for name, course, style in shown]
    return Chart("Regret of Q-learning", "Mean over 16 tasks.", "primitive steps", "regret", series, log_x=True)


def _by_length(flexible: dict[int, Course], fixed: dict[int, Course], cut: Course) -> Chart:
    series = [
        Series(FLEXIBLE, LENGTHS, [flexible[k].at_budget for k in LENGTHS]),
        Series(FIXED, LENGTHS, [fixed[k].at_budget for k in LENGTHS]),
        Series(RESTRICTED, [LENGTHS[0], LENGTHS[-1]], [cut.at_budget] * 2, "--"),
        Series(f"pruning error, {FIXED}", LENGTHS, [fixed[k].pruning for k in LENGTHS], ":", "s2"),
    ]
    caption = f"Regret after {BUDGET} primitive steps. Dotted: the part of it that no learning can remove."
    return Chart("Too short, too long", caption, "length of an option, steps", "regret", series)


def _planning(flexible: dict[int, Course], fixed: dict[int, Course]) -> Chart:
    series = [
        Series(name, LENGTHS, [of[k].iterations for k in LENGTHS])
        for name, of in ((FLEXIBLE, flexible), (FIXED, fixed))
    ]
    return Chart("Planning", f"Value iteration to within {EPS:g}.", "length of an option, steps", "iterations", series)


def _table(flexible: dict[int, Course], fixed: dict[int, Course], cut: Course) -> Table:
    named = [(f"{k}, {FLEXIBLE}", flexible[k]) for k in LENGTHS] + [(f"{STREET}, {RESTRICTED}", cut)]
    named += [(f"{k}, {FIXED}", fixed[k]) for k in LENGTHS[1:]]
    rows = []
    for name, course in named:
        numbers = [f"{course.shrink:.3f}", f"{course.iterations:.1f}", f"{course.pruning:.3f}"]
        rows.append([name, *numbers, *(f"{value:.3f}" for value in course.regrets)])
    head = ["options", "gamma_bar", "iterations", "pruning error", *(f"regret at {mark}" for mark in MARKS)]
    return Table(f"{BLOCKS} x {BLOCKS} blocks, slip {SLIP:g}, gamma {GAMMA:g}.", head, rows)


def _learn(
    transitions: Array,
    rewards: Array,
    goals: Array,
    options: Sequence[Option],
    gamma: float,
    marks: Sequence[int],
    rng: np.random.Generator,
) -> Iterator[Array]:
    """Yield Q [M,S,Z] of M agents, one per task, after each number of primitive steps in `marks`.

    transitions [M,S,A,S] and rewards [M,S,A] of tasks that end in goals [M]; options act and end for certain. SMDP
    Q-learning (Sutton, Precup and Singh 1999), epsilon-greedy, random starts:

        Q(s, z) += rate (sum_{k<tau} gamma^k r_k + gamma^tau max_z' Q(s_tau, z') - Q(s, z))
    """
    num_tasks, num_states = rewards.shape[:2]
    agents = np.arange(num_tasks)
    cumulative = transitions.cumsum(axis=-1)
    actions = np.stack([option.policy.argmax(axis=1) for option in options])
    lasts = np.array([option.max_steps or 1 for option in options])
    ends = np.stack([option.ends for option in options])
    q = np.zeros((num_tasks, num_states, len(options)))
    state = rng.integers(num_states, size=num_tasks)
    begun, option = state.copy(), _choose(q[agents, state], rng)
    age, earned = np.zeros(num_tasks, dtype=np.int64), np.zeros(num_tasks)
    for step in range(1, max(marks) + 1):
        action = actions[option, state]
        landed = (rng.random(num_tasks)[:, None] >= cumulative[agents, state, action][:, :-1]).sum(axis=1)
        earned += gamma**age * rewards[agents, state, action]
        age, state = age + 1, landed
        home = state == goals
        over = home | (age >= lasts[option]) | (ends[option, state] > 0)
        ahead = np.where(home, 0.0, q[agents, state].max(axis=1))
        error = earned + gamma**age * ahead - q[agents, begun, option]
        q[agents[over], begun[over], option[over]] += RATE * error[over]
        state = np.where(home, rng.integers(num_states, size=num_tasks), state)
        begun, option = np.where(over, state, begun), np.where(over, _choose(q[agents, state], rng), option)
        age, earned = np.where(over, 0, age), np.where(over, 0.0, earned)
        if step in marks:
            yield q.copy()


def _choose(values: Array, rng: np.random.Generator) -> Array:
    """[M] the best option of each row [M,Z], ties at random; with probability EXPLORE any."""
    noise = rng.random(values.shape)
    best = np.where(values == values.max(axis=1, keepdims=True), noise, -1.0).argmax(axis=1)
    return np.where(rng.random(len(values)) < EXPLORE, noise.argmax(axis=1), best)
