"""Families of random worlds: Garnet MDPs with random options, and towns with moves of a given length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from theory.chain import Array
from theory.tasks import Option, Task, option_task


@dataclass(frozen=True)
class Garnet:
    """Dynamics that tasks share, each move to a few random states (Archibald, McKinnon and Thomas 1995)."""

    transitions: Array
    """[S,A,S]"""
    gamma: float

    @property
    def num_states(self) -> int:
        return len(self.transitions)

    def rewards(self, rng: np.random.Generator, share: float = 0.15) -> Array:
        """[S,A] one task: a random share of states pays between 0 and 1, whatever is done there."""
        num_states, num_actions, _ = self.transitions.shape
        pays = rng.random(num_states) < share
        pays[rng.integers(num_states)] = True
        return np.tile((pays * rng.random(num_states))[:, None], (1, num_actions))

    def task(self, rewards: Array, options: list[Option]) -> Task:
        """Start anywhere."""
        return option_task(self.transitions, rewards, self.gamma, np.full(len(rewards), 1 / len(rewards)), options)


def garnet(num_states: int, num_actions: int, gamma: float, rng: np.random.Generator, branching: int = 2) -> Garnet:
    """Each state and action leads to `branching` random states with random odds."""
    transitions = np.zeros((num_states, num_actions, num_states))
    for state, action in np.ndindex(num_states, num_actions):
        targets = rng.choice(num_states, branching, replace=False)
        transitions[state, action, targets] = rng.dirichlet(np.ones(branching))
    return Garnet(transitions, gamma)


def random_options(world: Garnet, count: int, mean_steps: float, rng: np.random.Generator) -> list[Option]:
    """Options with a random action in each state, ending at every step with probability 1 / mean_steps."""
    num_states, num_actions, _ = world.transitions.shape
    ends = np.full(num_states, 1 / mean_steps)
    return [Option(np.eye(num_actions)[rng.integers(num_actions, size=num_states)], ends) for _ in range(count)]


DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def streets(blocks: int, length: int, slip: float) -> tuple[Array, Array]:
    """(transitions [S,4,S], junctions [S]) of a town of `blocks` x `blocks` houses, streets of `length` steps.

    A step goes astray in a random direction with probability `slip`; a step into a house stays where it is.
    """
    side = blocks * length + 1
    cells = [(x, y) for x, y in np.ndindex(side, side) if x % length == 0 or y % length == 0]
    number = {cell: index for index, cell in enumerate(cells)}
    straight = np.zeros((len(cells), 4, len(cells)))
    for (x, y), index in number.items():
        for action, (dx, dy) in enumerate(DIRECTIONS):
            straight[index, action, number.get((x + dx, y + dy), index)] = 1
    junctions = np.array([x % length == 0 and y % length == 0 for x, y in cells])
    return (1 - slip) * straight + slip * straight.mean(axis=1, keepdims=True), junctions


def goal_task(moves: Array, goal: int) -> tuple[Array, Array]:
    """(transitions, rewards [S,4]) of reaching one cell: entering it pays 1, then nothing happens any more."""
    transitions = moves.copy()
    transitions[goal] = 0
    transitions[goal, :, goal] = 1
    rewards = transitions[:, :, goal].copy()
    rewards[goal] = 0
    return transitions, rewards


def straight_moves(ends: Array, length: int) -> list[Option]:
    """Four options: walk in one direction for `length` steps, or until a state where it `ends` [S] (0 or 1)."""
    return [Option(np.tile(row, (len(ends), 1)), ends, max_steps=length) for row in np.eye(4)]
