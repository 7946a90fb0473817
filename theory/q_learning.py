"""Q-learning over options, many agents side by side, counted in primitive steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from theory.chain import Array
from theory.options import Option

EXPLORE, RATE = 0.2, 0.5


def learn(
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
