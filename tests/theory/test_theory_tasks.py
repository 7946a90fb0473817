"""Tasks with options: values by hand, the regret identity, Theorem 3.6."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.families import garnet, goal_task, random_options, straight_moves, streets
from theory.tasks import (
    Option,
    Task,
    backup,
    evaluate,
    gamma_bar,
    greedy,
    interrupted,
    iteration_bound,
    iterations_needed,
    optimal_values,
    optimum,
    option_model,
    option_task,
    performance_gap,
    primitive_options,
    regret,
    restrict,
    value_iteration,
)

seeds = st.integers(0, 10**6)
wild = settings(max_examples=15, deadline=None)


def world(seed, num_states=6, gamma=0.9, steps=3.0, count=4):
    """(Garnet, its options with the primitive ones first, one task)."""
    rng = np.random.default_rng(seed)
    dynamics = garnet(num_states, 2, gamma, rng)
    options = primitive_options(num_states, 2) + random_options(dynamics, count, steps, rng)
    return dynamics, options, dynamics.task(dynamics.rewards(rng), options)


def mean_duration(option, transitions):
    """[S] how many primitive steps an option lasts: what it earns where every step pays 1."""
    return option_model(option, transitions, np.ones(option.policy.shape), 1.0)[0]


def test_a_walk_of_three_cells_by_hand():
    """0 -> 1 -> 2, the end; entering 2 pays 1, gamma = 1/2. One option walks on to the end."""
    moves = np.zeros((3, 1, 3))
    moves[0, 0, 1] = moves[1, 0, 2] = moves[2, 0, 2] = 1
    transitions, rewards = goal_task(moves, 2)
    walk = Option(np.ones((3, 1)), np.array([0.0, 0.0, 1.0]))
    task = option_task(transitions, rewards, 0.5, np.array([1.0, 0, 0]), [walk])
    np.testing.assert_allclose(task.rewards[:, 0], [0.5, 1, 0])
    np.testing.assert_allclose(task.kernel[0, 0], [0, 0, 0.25])
    np.testing.assert_allclose(mean_duration(walk, transitions), [2, 1, 1])
    assert optimum(task) == 0.5 and gamma_bar(task) == 0.5
    assert iterations_needed(task, 1e-9) == 1
    steps = option_task(transitions, rewards, 0.5, task.start, [interrupted(walk)])
    assert optimum(steps) == 0.5 and iterations_needed(steps, 1e-9) == 2


@wild
@given(seeds)
def test_an_option_is_what_simulation_by_powers_says(seed):
    """R and K of an option against the sum over its possible durations."""
    dynamics, options, _ = world(seed)
    rewards = np.random.default_rng(seed).normal(size=dynamics.transitions.shape[:2])
    option = options[-1]
    reward, kernel = option_model(option, dynamics.transitions, rewards, 0.9)
    step = np.einsum("sa,sat->st", option.policy, dynamics.transitions)
    paid = (option.policy * rewards).sum(axis=1)
    going, total, ended = np.eye(6), np.zeros(6), np.zeros((6, 6))
    for k in range(400):
        total += going @ paid
        ended += 0.9 ** (k + 1) * going_end(going, step, option.ends, k)
        going = 0.9 * going @ step * (1 - option.ends)
    np.testing.assert_allclose(reward, total, atol=1e-10)
    np.testing.assert_allclose(kernel, ended, atol=1e-10)


def going_end(going, step, ends, k):
    """[S,S] undiscounted probability of still going after k steps and ending in a state at step k + 1."""
    return going / 0.9**k @ step * ends


@wild
@given(seeds, st.integers(1, 4))
def test_a_fixed_length_is_a_product(seed, length):
    dynamics, options, _ = world(seed)
    option = Option(options[-1].policy, np.zeros(6), max_steps=length)
    reward, kernel = option_model(option, dynamics.transitions, np.ones((6, 2)), 0.9)
    step = 0.9 * np.einsum("sa,sat->st", option.policy, dynamics.transitions)
    np.testing.assert_allclose(kernel, np.linalg.matrix_power(step, length), atol=1e-13)
    np.testing.assert_allclose(reward, (1 - 0.9**length) / 0.1, atol=1e-12)


def test_primitive_options_are_the_mdp():
    dynamics, _, _ = world(3)
    rewards, start = np.random.default_rng(0).normal(size=(6, 2)), np.full(6, 1 / 6)
    one = Task(rewards, 0.9 * dynamics.transitions, start)
    other = option_task(dynamics.transitions, rewards, 0.9, start, primitive_options(6, 2))
    np.testing.assert_allclose(one.kernel, other.kernel, atol=1e-15)
    np.testing.assert_allclose(one.rewards, other.rewards, atol=1e-15)


@wild
@given(seeds)
def test_values_are_fixed_points_and_options_add_nothing(seed):
    dynamics, options, task = world(seed)
    best = optimal_values(task)
    np.testing.assert_allclose(backup(task, best).max(axis=1), best, atol=1e-10)
    np.testing.assert_allclose(evaluate(task, greedy(task, best)), best, atol=1e-9)
    np.testing.assert_allclose(optimal_values(restrict(task, [0, 1])), best, atol=1e-9)
    np.testing.assert_allclose(value_iteration(task, 400), best, atol=1e-9)


@wild
@given(seeds)
def test_the_regret_identity(seed):
    rng = np.random.default_rng(seed)
    dynamics, options, _ = world(seed)
    tasks = [dynamics.task(dynamics.rewards(rng), options) for _ in range(3)]
    kept = [0, 3, 4]
    policies = [np.zeros((6, 6)) for _ in tasks]
    for policy in policies:
        policy[:, kept] = rng.dirichlet(np.ones(3), size=6)
    parts = regret(tasks, rng.dirichlet(np.ones(3)), kept, policies)
    assert abs(parts.residual) < 1e-10
    assert parts.pruning > -1e-10 and parts.learning > -1e-10
    lost = optimum(tasks[0]) - tasks[0].start @ evaluate(tasks[0], policies[0])
    assert performance_gap(tasks[0], policies[0]) == pytest.approx(lost, abs=1e-11)


@wild
@given(seeds, st.sampled_from((1.0, 3.0, 10.0)), st.sampled_from((0.5, 0.05, 0.001)))
def test_value_iteration_keeps_to_theorem_3_6(seed, steps, eps):
    _, options, task = world(seed, steps=steps)
    own = restrict(task, range(2, len(options)))
    bound = iteration_bound(gamma_bar(own), float(np.abs(own.rewards).max()), eps)
    assert iterations_needed(own, eps) <= bound
    loss = optimal_values(own) - evaluate(own, greedy(own, value_iteration(own, bound)))
    assert loss.max() <= 2 * eps


def test_the_iteration_bound_by_hand():
    """One option that pays 1 and shrinks by 1/2: the error after n is 2 / 2^n, so 1/8 takes 4; the bound says 6."""
    task = Task(np.array([[1.0]]), np.array([[[0.5]]]), np.ones(1))
    assert iterations_needed(task, 0.125) == 4
    assert iteration_bound(0.5, 1.0, 0.125) == math.ceil(2 * math.log(16)) == 6
    assert iteration_bound(0.5, 0.0, 0.125) == 0


def test_one_primitive_reward_is_no_bound_for_a_long_option():
    """20 steps that pay 1 each: the bound with R_max = 1 is exceeded, with the option's reward it holds."""
    option = Option(np.ones((1, 1)), np.zeros(1), max_steps=20)
    task = option_task(np.ones((1, 1, 1)), np.ones((1, 1)), 0.99, np.ones(1), [option])
    needed = iterations_needed(task, 1.0)
    assert (
        iteration_bound(gamma_bar(task), 1.0, 1.0) < needed <= iteration_bound(gamma_bar(task), task.rewards.max(), 1.0)
    )


def test_towns_have_streets_and_junctions():
    moves, junctions = streets(3, 4, 0.05)
    assert moves.shape == (88, 4, 88) and junctions.sum() == 16
    np.testing.assert_allclose(moves.sum(axis=2), 1)
    walk = straight_moves(junctions.astype(float), 8)[0]
    assert mean_duration(walk, streets(3, 4, 0.0)[0])[0] == 4
