"""A tabular policy pi(a | s, z) with a state machine for its context, and the EM steps on it.

Shapes: [S] states of the context, [Z] latents, [A] actions, [N] documents, [T] steps.
The context starts in state 0 and moves on with every action: s_{t+1} = moves[s_t, a_t].
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from theory.chain import Array, log, log_evidence, posterior


@dataclass(frozen=True)
class TabularPolicy:
    """Example: TabularPolicy(logits=np.zeros((1, 2, 3)), moves=np.zeros((1, 3), int)) ignores its context."""

    logits: Array
    """[S,Z,A]; pi is their softmax over the last axis."""
    moves: Array
    """[S,A] the next state of the context."""

    @property
    def probability(self) -> Array:
        """[S,Z,A] pi(a | s, z)."""
        shifted = np.exp(self.logits - self.logits.max(axis=-1, keepdims=True))
        return shifted / shifted.sum(axis=-1, keepdims=True)

    def states(self, actions: Array) -> Array:
        """[N,T] the state before each action of the documents [N,T]."""
        states = np.zeros_like(actions)
        for t in range(1, actions.shape[1]):
            states[:, t] = self.moves[states[:, t - 1], actions[:, t - 1]]
        return states

    def log_lik(self, actions: Array) -> Array:
        """[N,T,Z] log pi(a_t | s_t, z)."""
        return log(self.probability)[self.states(actions), :, actions]


def random_policy(num_states: int, num_latents: int, num_actions: int, spread: float, rng: np.random.Generator):
    """A TabularPolicy with normal logits of the given spread and random moves of its context."""
    moves = rng.integers(num_states, size=(num_states, num_actions))
    return TabularPolicy(spread * rng.normal(size=(num_states, num_latents, num_actions)), moves)


def every_document(num_actions: int, num_steps: int) -> Array:
    """[A**T, T] all documents."""
    return np.array(list(itertools.product(range(num_actions), repeat=num_steps)), dtype=np.int64)


def document_probability(policy: TabularPolicy, prior: Array, actions: Array) -> Array:
    """[N] p(a_1..a_T): over every document it sums to 1."""
    return np.exp(log_evidence(policy.log_lik(actions), prior))


def expected_counts(policy: TabularPolicy, actions: Array, weights: Array, latent_marginals: Array) -> Array:
    """[S,Z,A] how often each action is written in each state under each latent, latents weighted by q [N,T,Z]."""
    counts = np.zeros(policy.logits.transpose(0, 2, 1).shape)
    np.add.at(counts, (policy.states(actions), actions), weights[:, None, None] * latent_marginals)
    return counts.transpose(0, 2, 1)


def annotated_counts(policy: TabularPolicy, actions: Array, latents: Array) -> Array:
    """[S,Z,A] counts in documents [N,T] annotated with one latent a step [N,T]; their mean is `expected_counts`."""
    counts = np.zeros(policy.logits.shape)
    np.add.at(counts, (policy.states(actions), latents, actions), 1.0)
    return counts


def policy_gradient(policy: TabularPolicy, counts: Array) -> Array:
    """[S,Z,A] gradient of sum counts log pi in the logits: counts - pi sum_a counts.

    With counts from the smoothing posterior it is the gradient of the evidence, from q that of the ELBO, from sampled
    annotations that of next-token prediction on annotated text.
    """
    return counts - policy.probability * counts.sum(axis=-1, keepdims=True)


def m_step(policy: TabularPolicy, counts: Array) -> TabularPolicy:
    """pi(a | s, z) = counts(s,z,a) / sum_a counts(s,z,a): the exact maximum; rows never visited stay as they are."""
    total = counts.sum(axis=-1, keepdims=True)
    share = np.divide(counts, total, out=policy.probability.copy(), where=total > 0)
    return TabularPolicy(log(share), policy.moves)


def em_round(policy: TabularPolicy, prior: Array, actions: Array, weights: Array) -> TabularPolicy:
    """One round of EM with the exact posterior: the evidence never falls."""
    return m_step(policy, expected_counts(policy, actions, weights, posterior(policy.log_lik(actions), prior)))
