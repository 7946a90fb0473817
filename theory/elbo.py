"""The temporal ELBO, its exact gradients, and what a switch of intention costs. Shapes as in theory.chain."""

from __future__ import annotations

import math

import numpy as np

from theory.chain import Array, log, previous_marginals


def step_scores(log_lik: Array, prior: Array, q: Array) -> Array:
    """[..., T, Z, Z] log pi(a_t | z_t) + log p(z_t | z_{t-1}) - log q(z_t | z_{t-1}); 0 where q is 0."""
    with np.errstate(invalid="ignore"):
        scores = log_lik[..., None, :] + log(prior) - log(q)
    return np.where(q > 0, scores, 0.0)


def action_values(scores: Array, q: Array) -> Array:
    """[..., T, Z, Z] Q_t(z', z) = r_t(z', z) + V_{t+1}(z), V_t(z') = sum_z q(z | z') Q_t(z', z): reward-to-go."""
    values = np.zeros_like(scores)
    ahead = np.zeros_like(scores[..., 0, 0, :])
    for t in range(scores.shape[-3] - 1, -1, -1):
        values[..., t, :, :] = scores[..., t, :, :] + ahead[..., None, :]
        ahead = expected(q[..., t, :, :], values[..., t, :, :])
    return values


def expected(probability: Array, values: Array) -> Array:
    """Mean over the last axis, where 0 times -inf is 0."""
    return np.where(probability > 0, probability * np.where(probability > 0, values, 0.0), 0.0).sum(axis=-1)


def elbo(log_lik: Array, prior: Array, q: Array) -> Array:
    """[...] E_q sum_t [log pi(a_t | z_t) - KL(q(. | z_{t-1}) || p(. | z_{t-1}))] <= log p(a_1..a_T | s), in nats.

    The paper's objective (arXiv 2509.25810); -inf if q goes where the prior does not. Degenerates to the evidence
    when q is `posterior_kernel`, and to the likelihood without intentions when |Z| = 1.
    """
    values = action_values(step_scores(log_lik, prior, q), q)
    return expected(q[..., 0, 0, :], values[..., 0, 0, :])


def latent_gradient(log_lik: Array, prior: Array, q: Array) -> Array:
    """[..., T, Z, Z] exact gradient of the ELBO in the logits of q (softmax over the last axis):

        d ELBO / d phi_t(z', z) = mu_{t-1}(z') q(z | z') (Q_t(z', z) - V_t(z'))

    The policy-gradient theorem with the entropy term inside r_t, whose own derivative vanishes in expectation.
    """
    values = action_values(step_scores(log_lik, prior, q), q)
    advantage = values - expected(q, values)[..., None]
    return previous_marginals(q)[..., None] * q * np.where(q > 0, advantage, 0.0)


def exact_switch_cost(alpha: float, num_latents: float) -> float:
    """log(alpha / (1 - alpha)) + log|Z|: what `think` costs more than `act` under the sticky prior, before entropy.

    Here keeping and drawing the old latent anew are two choices, as they are in text.
    """
    return math.log(alpha / (1 - alpha)) + math.log(num_latents)


def cost_from_alpha(alpha: float, num_latents: float) -> float:
    """log(1 + alpha |Z| / (1 - alpha)): log-odds of the old latent against one other, when only latents count.

    exact_switch_cost is the same but for the 1, the chance to draw the old latent anew.
    """
    return math.log1p(alpha * num_latents / (1 - alpha))


def alpha_from_cost(cost: float, num_latents: float) -> float:
    """The inverse: alpha = (e^c - 1) / (e^c - 1 + |Z|). c = 0 is the uniform prior, c -> infinity is alpha -> 1."""
    return math.expm1(cost) / (math.expm1(cost) + num_latents)


def priced(cost: float, num_latents: int, num_steps: int) -> Array:
    """[T,Z,Z] the prior proportional to exp(-c 1[z_t != z_{t-1}]), uniform at the first step.

    Equal to the sticky prior at alpha_from_cost(c): so c *with* an entropy bonus of weight 1 is an exact prior.
    """
    weights = np.exp(-cost * (1 - np.eye(num_latents)))
    kernel = np.repeat((weights / weights.sum(-1, keepdims=True))[None], num_steps, axis=0)
    kernel[0] = 1 / num_latents
    return kernel
