"""Theorem 3.6: how many iterations of value iteration over options, against the bound."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import linear_regression

import numpy as np

from ra3.seeds import derive
from theory.claims import Chart, Check, Finding, Series, Table, span
from theory.families import Garnet, garnet, random_options
from theory.tasks import (
    Option,
    Task,
    evaluate,
    gamma_bar,
    greedy,
    iteration_bound,
    iterations_needed,
    optimal_values,
    option_task,
    primitive_options,
    value_iteration,
)

GAMMA, EPS, WORLDS = 0.97, 0.01, 12
DURATIONS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Case:
    """One task solved: the option length that made it, its gamma-bar, the iterations needed, and two bounds on them."""

    duration: float
    shrink: float
    needed: int
    bound: int
    """R_max is the most that one option earns."""
    step_bound: int
    """R_max is the most that one primitive step earns."""
    policy_loss: float
    """What the greedy policy loses after `bound` iterations."""


def study_iterations(seed: int) -> Finding:
    """Garnet worlds of 25 states with 5 options of random or fixed length, alone and beside the primitive actions."""
    cases = {kind: _cases(seed, kind) for kind in ("random length", "fixed length", "with primitive actions")}
    pure = [*cases["random length"], *cases["fixed length"], *(_treadmill(k) for k in DURATIONS)]
    mixed = cases["with primitive actions"]
    every = [*pure, *mixed]
    over = sum(case.needed > case.bound for case in every)
    over_steps = sum(case.needed > case.step_bound for case in pure)
    ratios = [case.needed / case.bound for case in every]
    loss = max(case.policy_loss for case in every)
    horizons = [1 / (1 - case.shrink) for case in pure]
    growth = linear_regression(horizons, [case.needed for case in pure]).slope
    growth_bound = linear_regression(horizons, [case.bound for case in pure]).slope
    saved = 1 - _mean(mixed, DURATIONS[-1], "needed") / _mean(mixed, DURATIONS[0], "needed")
    return Finding(
        name="Theorem 3.6",
        title="Iterations of value iteration against the horizon of a decision",
        statement=(
            "Value iteration over options is eps-optimal after N >= log(R_max / (eps (1 - gamma_bar))) / "
            "(1 - gamma_bar) iterations, gamma_bar = max E[gamma^tau | s, z]. Read with R_max = the most that one "
            "option earns, V_0 = 0, and eps-optimal as max_s |V_N(s) - V*(s)| <= eps."
        ),
        assumptions=["known, exact option models", "R_max bounds a whole option's reward", "V_0 = 0"],
        holds=[
            Check("N never above the bound", f"{over} of {len(every)} tasks above", over == 0),
            Check("the bound is tight somewhere", f"needed / bound: {span(ratios)}", max(ratios) > 0.95),
            Check(
                "the greedy policy after N is within 2 eps",
                f"largest loss {loss / EPS:.2g} eps",
                loss <= 2 * EPS,
            ),
        ],
        breaks=[
            Check(
                "R_max may be the reward of one primitive step",
                f"{over_steps} of {len(pure)} tasks need more iterations than that bound",
                over_steps == 0,
            ),
            Check(
                "gamma_bar tells the gain where primitive actions stay beside options",
                f"gamma_bar stays {GAMMA:g}, yet options of {DURATIONS[-1]} steps save {saved:.0%} of the iterations",
                abs(saved) < 0.05,
            ),
        ],
        charts=[_scatter(cases, every), _by_duration(cases)],
        tables=[_table(cases)],
        numbers={
            "violations": over, "violations_step_reward": over_steps, "tightest": max(ratios), "loosest": min(ratios),
            "slope_needed": growth, "slope_bound": growth_bound, "largest_policy_loss_in_eps": loss / EPS,
            "saved_beside_primitives": saved,
        },
    )


def _cases(seed: int, kind: str) -> list[Case]:
    found = []
    for duration in DURATIONS:
        for index in range(WORLDS):
            rng = np.random.default_rng(derive(seed, "iterations", kind, duration, index))
            world = garnet(25, 3, GAMMA, rng)
            options = random_options(world, 5, duration, rng)
            if kind == "fixed length":
                options = [Option(o.policy, np.zeros(world.num_states), max_steps=duration) for o in options]
            if kind == "with primitive actions":
                options += primitive_options(world.num_states, 3)
            rewards = world.rewards(rng)
            found.append(_case(duration, world.task(rewards, options), float(rewards.max())))
    return found


def _case(duration: float, task: Task, step_reward: float) -> Case:
    shrink = gamma_bar(task)
    bound = iteration_bound(shrink, float(np.abs(task.rewards).max()), EPS)
    policy = greedy(task, value_iteration(task, bound))
    loss = float((optimal_values(task) - evaluate(task, policy)).max())
    needed = iterations_needed(task, EPS)
    return Case(duration, shrink, needed, bound, iteration_bound(shrink, step_reward, EPS), loss)


def _treadmill(duration: int) -> Case:
    """One state that pays 1 a step, one option: the error is exactly gamma_bar^N R / (1 - gamma_bar)."""
    world = Garnet(np.ones((1, 1, 1)), GAMMA)
    option = Option(np.ones((1, 1)), np.zeros(1), max_steps=duration)
    return _case(duration, option_task(world.transitions, np.ones((1, 1)), GAMMA, np.ones(1), [option]), 1.0)


def _scatter(cases: dict[str, list[Case]], every: list[Case]) -> Chart:
    bounds = [case.bound for case in every]
    line = [min(bounds), max(bounds)]
    series = [Series("bound", line, line, "--", "base")]
    for kind, found in cases.items():
        series.append(Series(kind, [c.bound for c in found], [c.needed for c in found], "."))
    return Chart(
        "Needed against the bound", "One point a task; dashed: needed = bound.", "bound of Theorem 3.6, iterations",
        "needed", series, log_x=True, log_y=True,
    )


def _mean(cases: list[Case], duration: float, key: str) -> float:
    return float(np.mean([getattr(case, key) for case in cases if case.duration == duration]))


def _by_duration(cases: dict[str, list[Case]]) -> Chart:
    return Chart(
        "Longer options, fewer iterations", f"Mean over {WORLDS} worlds a point.", "mean length of an option, steps",
        "iterations needed",
        [Series(kind, DURATIONS, [_mean(found, k, "needed") for k in DURATIONS]) for kind, found in cases.items()],
        log_x=True,
    )


def _table(cases: dict[str, list[Case]]) -> Table:
    rows = []
    for kind, found in cases.items():
        for duration in DURATIONS:
            means = [_mean(found, duration, key) for key in ("needed", "bound", "step_bound")]
            shrink = _mean(found, duration, "shrink")
            rows.append([kind, str(duration), f"{shrink:.3f}", *(f"{mean:.0f}" for mean in means)])
    head = ["options", "length", "gamma_bar", "needed", "bound", "bound with one step's reward"]
    return Table(f"Means over {WORLDS} worlds; gamma = {GAMMA:g}, eps = {EPS:g}.", head, rows)
