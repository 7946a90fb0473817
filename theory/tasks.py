"""Finite decision problems whose actions may last: values, restriction to fewer actions, and the regret identity.

Options (Sutton, Precup and Singh 1999) over an MDP are turned into such a Task exactly, by linear algebra.

Shapes: [S] states, [Z] actions (primitive ones, or options that last several steps), [A] primitive actions, [M] tasks;
of an MDP, transitions [S,A,S] and rewards [S,A].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from theory.chain import Array


@dataclass(frozen=True)
class Task:
    """A semi-Markov decision problem with the discount inside: everything that values depend on.

    Example: Task(rewards=np.array([[1.0]]), kernel=np.array([[[0.9]]]), start=np.ones(1)) is worth 1 / (1 - 0.9).
    """

    rewards: Array
    """[S,Z] E[sum_{k<tau} gamma^k r_k | s, z]: the discounted reward earned while z lasts."""
    kernel: Array
    """[S,Z,S] E[gamma^tau 1[s_tau = s'] | s, z]; for a primitive action gamma p(s' | s, a)."""
    start: Array
    """[S] distribution of the first state."""


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


def restrict(task: Task, actions: Sequence[int] | Array) -> Task:
    """The same task with only these actions: M | Z'."""
    kept = np.asarray(actions)
    return Task(task.rewards[:, kept], task.kernel[:, kept], task.start)


def backup(task: Task, values: Array) -> Array:
    """[S,Z] Q(s,z) = R(s,z) + sum_s' kernel(s,z,s') V(s')."""
    return task.rewards + task.kernel @ values


def evaluate(task: Task, policy: Array) -> Array:
    """[S] V^pi = (I - K_pi)^-1 R_pi of a stochastic policy [S,Z], solved exactly."""
    kernel = np.einsum("sz,szt->st", policy, task.kernel)
    return np.linalg.solve(np.eye(len(kernel)) - kernel, (policy * task.rewards).sum(axis=1))


def greedy(task: Task, values: Array) -> Array:
    """[S,Z] the policy that is greedy for `values`, the first of equals."""
    return np.eye(task.rewards.shape[1])[backup(task, values).argmax(axis=1)]


def optimal_values(task: Task) -> Array:
    """[S] V* by policy iteration: exact, as it ends when no action is better by more than rounding."""
    policy = np.eye(task.rewards.shape[1])[task.rewards.argmax(axis=1)]
    while True:
        values = evaluate(task, policy)
        scores = backup(task, values)
        better = scores.max(axis=1) > (policy * scores).sum(axis=1) + 1e-12 * (1 + np.abs(values))
        if not better.any():
            return values
        policy[better] = np.eye(scores.shape[1])[scores[better].argmax(axis=1)]


def optimum(task: Task) -> float:
    """E_{s_0}[V*(s_0)]."""
    return float(task.start @ optimal_values(task))


def performance_gap(task: Task, policy: Array) -> float:
    """V* - V^pi by the performance-difference lemma: the advantages lost, weighted by where pi goes.

    V*(s_0) - V^pi(s_0) = sum_s d(s) sum_z pi(z | s) (V*(s) - Q*(s,z)),   d = start (I - K_pi)^-1
    """
    kernel = np.einsum("sz,szt->st", policy, task.kernel)
    visits = np.linalg.solve(np.eye(len(kernel)) - kernel.T, task.start)
    best = optimal_values(task)
    return float(visits @ (policy * (best[:, None] - backup(task, best))).sum(axis=1))


@dataclass(frozen=True)
class Regret:
    """E_M[V*_M - V^pi_M] = pruning + learning: value lost with the pruned actions, RL error among the rest."""

    total: float
    pruning: float
    learning: float

    @property
    def residual(self) -> float:
        """total - pruning - learning: rounding, if the identity holds."""
        return self.total - self.pruning - self.learning


def regret(tasks: Sequence[Task], weights: Array, kept: Sequence[int], policies: Sequence[Array]) -> Regret:
    """The regret identity of RA3 (arXiv 2509.25810) for policies [S,Z] over all actions, one per task.

    The total goes by another way than its parts (advantages where the policy goes, not a difference of values), so the
    residual tests the computation, too. A policy that leaves `kept` can make `learning` negative.
    """
    best = np.array([optimum(restrict(task, kept)) for task in tasks])
    pruning = np.array([optimum(task) for task in tasks]) - best
    learning = best - [task.start @ evaluate(task, policy) for task, policy in zip(tasks, policies, strict=True)]
    total = np.array([performance_gap(task, policy) for task, policy in zip(tasks, policies, strict=True)])
    return Regret(*(float(weights @ part) for part in (total, pruning, learning)))


def gamma_bar(task: Task) -> float:
    """max over s, z of E[gamma^tau | s, z]: how much one decision shrinks an error of the values."""
    return float(task.kernel.sum(axis=2).max())


def value_iteration(task: Task, iterations: int) -> Array:
    """[S] V_n from V_0 = 0: V_{n+1}(s) = max_z Q(s,z)."""
    values = np.zeros(len(task.start))
    for _ in range(iterations):
        values = backup(task, values).max(axis=1)
    return values


def iterations_needed(task: Task, eps: float) -> int:
    """The least n with max_s |V_n(s) - V*(s)| <= eps, from V_0 = 0."""
    best, values, count = optimal_values(task), np.zeros(len(task.start)), 0
    while np.abs(values - best).max() > eps:
        values, count = backup(task, values).max(axis=1), count + 1
    return count


def iteration_bound(shrink: float, max_reward: float, eps: float) -> int:
    """Theorem 3.6: ceil(log(R_max / (eps (1 - gamma_bar))) / (1 - gamma_bar)), at least 0."""
    return max(0, math.ceil(math.log(max_reward / (eps * (1 - shrink))) / (1 - shrink))) if max_reward > 0 else 0
