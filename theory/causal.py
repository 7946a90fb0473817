"""The best latent policy that does not see the step it writes for, over a set of weighted documents.

A document is a sequence of actions [T]; documents that share the prefix a_1..a_{t-1} must share q(z_t | ., z_{t-1}).
They are written by a tabular policy pi(a | s, z) with a state machine for its context, which starts in state 0 and
moves on with every action: s_{t+1} = moves[s_t, a_t].

Shapes: [N] documents, [T] steps, [Z] latents, [S] states of the context, [A] actions. Kernels as in theory.chain, one
per document: [N,T,Z,Z].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from theory.chain import Array, log, log_evidence, logsumexp
from theory.elbo import elbo, expected


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


def document_probability(policy: TabularPolicy, prior: Array, actions: Array) -> Array:
    """[N] p(a_1..a_T): over every document it sums to 1."""
    return np.exp(log_evidence(policy.log_lik(actions), prior))


def prefix_ids(actions: Array) -> Array:
    """[N,T] which documents agree on everything before step t: equal ids within a column."""
    columns = [np.unique(actions[:, :t], axis=0, return_inverse=True)[1].reshape(-1) for t in range(actions.shape[1])]
    return np.stack(columns, axis=1)


def group_mean(values: Array, ids: Array, weights: Array) -> Array:
    """[N, ...] the weighted mean of `values` [N, ...] within each group of equal ids [N]."""
    totals = np.zeros((ids.max() + 1, *values.shape[1:]))
    np.add.at(totals, ids, values * weights.reshape(-1, *[1] * (values.ndim - 1)))
    mass = np.bincount(ids, weights=weights)
    return (totals / mass.reshape(-1, *[1] * (values.ndim - 1)))[ids]


def best_causal(
    log_lik: Array, prior: Array, actions: Array, weights: Array, gamma: float = 1.0, horizon: int | None = None
) -> Array:
    """[N,T,Z,Z] the causal q(z_t | a_<t, z_{t-1}) that no boundary can improve by its own return.

        q_t(z | h, z') ~ p(z | z') exp E[log pi(a_t | h, z) + gamma V^{H-1}_{t+1}(h a_t, z) | h],   h = a_1..a_{t-1}
        V^m_t(h, z') = E_q[log pi(a_t | h, z) + log p(z | z') - log q(z | z') + gamma V^{m-1}_{t+1}(h a_t, z)],  V^0 = 0

    the fixed point of the E-step's policy gradient with discount gamma and horizon H (None: to the end). At gamma = 1
    without a horizon it maximises the mean ELBO over documents. Where the prefix gives the step away it is the
    smoothing posterior. Raises ValueError for a horizon below 1.
    """
    num_docs, num_steps, num_latents = log_lik.shape
    depth = min(num_steps if horizon is None else horizon, num_steps)
    if depth < 1:
        raise ValueError(f"a horizon of {depth} steps")
    ids, log_prior = prefix_ids(actions), log(prior)
    q = np.zeros((num_docs, num_steps, num_latents, num_latents))
    values = np.zeros((depth + 1, num_docs, num_latents))
    for t in range(num_steps - 1, -1, -1):
        ahead = [group_mean(log_lik[:, t] + gamma * values[m - 1], ids[:, t], weights) for m in range(1, depth + 1)]
        joint = log_prior[t] + ahead[-1][:, None, :]
        q[:, t] = np.exp(joint - logsumexp(joint)[..., None])
        with np.errstate(invalid="ignore"):
            cost = log_prior[t] - log(q[:, t])
        values[1:] = [expected(q[:, t], cost + mean[:, None, :]) for mean in ahead]
    return q


def mean_elbo(log_lik: Array, prior: Array, q: Array, weights: Array) -> float:
    """Mean ELBO over documents, in nats per document."""
    return float(np.average(elbo(log_lik, prior, q), weights=weights))


def causal_gap(log_lik: Array, prior: Array, actions: Array, weights: Array) -> float:
    """E[log p(a)] - max over causal q of E[ELBO]: what is lost, even at the optimum, because q does not see a_t.

    It is E KL(best causal q || smoothing posterior) >= 0, and 0 when every prefix determines the next step.
    """
    q = best_causal(log_lik, prior, actions, weights)
    return float(np.average(log_evidence(log_lik, prior), weights=weights)) - mean_elbo(log_lik, prior, q, weights)
