"""Options (Sutton, Precup and Singh 1999) over an MDP, turned into a Task exactly, by linear algebra.

Shapes: [S] states, [A] primitive actions. transitions [S,A,S], rewards [S,A].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from theory.chain import Array
from theory.tasks import Task


@dataclass(frozen=True)
class Option:
    """An intention: how to act while it lasts, and where and when it ends. It always lasts at least one step."""

    policy: Array
    """[S,A] probability of each primitive action."""
    ends: Array
    """[S] probability of ending on arrival in a state."""
    max_steps: int | None = None
    """It ends after so many steps whatever happens; None: never for that reason."""


def primitive_options(num_states: int, num_actions: int) -> list[Option]:
    """Every primitive action as an option of one step."""
    rows = np.eye(num_actions)
    return [Option(np.tile(row, (num_states, 1)), np.ones(num_states)) for row in rows]


def interrupted(option: Option) -> Option:
    """The same way to act, but the intention must be chosen anew at every primitive step."""
    return Option(option.policy, np.ones_like(option.ends))


def option_model(option: Option, transitions: Array, rewards: Array, gamma: float) -> tuple[Array, Array]:
    """(reward [S], kernel [S,S]) of one option:

        R = r_pi + gamma P_pi diag(1 - ends) R,   K = gamma P_pi diag(ends) + gamma P_pi diag(1 - ends) K

    solved exactly, or unrolled for max_steps steps, after the last of which it ends everywhere.
    """
    step = gamma * np.einsum("sa,sat->st", option.policy, transitions)
    reward = (option.policy * rewards).sum(axis=1)
    goes_on, stops = step * (1 - option.ends), step * option.ends
    if option.max_steps is None:
        solved = np.linalg.solve(np.eye(len(step)) - goes_on, np.column_stack([reward, stops]))
        return solved[:, 0], solved[:, 1:]
    total, kernel = reward, step
    for _ in range(option.max_steps - 1):
        total, kernel = reward + goes_on @ total, stops + goes_on @ kernel
    return total, kernel


def option_task(transitions: Array, rewards: Array, gamma: float, start: Array, options: Sequence[Option]) -> Task:
    """The Task whose actions are these options."""
    models = [option_model(option, transitions, rewards, gamma) for option in options]
    return Task(np.stack([r for r, _ in models], axis=1), np.stack([k for _, k in models], axis=1), start)


def mean_duration(option: Option, transitions: Array) -> Array:
    """[S] E[tau | s]: how many primitive steps the option lasts."""
    num_states, num_actions = option.policy.shape
    return option_model(option, transitions, np.ones((num_states, num_actions)), 1.0)[0]
