"""Rewards of the E-step and their returns: pure functions of per-boundary tensors [.., S].

Deviations from the paper, each a setting:
1. The log-likelihood of a step is summed or averaged over its tokens (the paper does not say which).
2. `exact_prior` offers the KL of the sticky prior that the paper's constant c stands for.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def step_sums(values: Tensor, step: Tensor, num_steps: int) -> Tensor:
    """[B,T] values and step indices -> [B,S] sums per step; step = -1 is dropped."""
    sums = values.new_zeros(values.shape[0], num_steps + 1)
    return sums.scatter_add(1, step + 1, values)[:, 1:]


def likelihood(logp: Tensor, expert: Tensor, step: Tensor, num_steps: int, kind: str) -> Tensor:
    """[B,S] log pi(a_t | s_t, z_t): kind "sum" over the step's tokens, or "mean" (sum / number of its tokens)."""
    total = step_sums(torch.where(expert, logp, 0.0), step, num_steps)
    if kind == "sum":
        return total
    return total / step_sums(expert.to(total.dtype), step, num_steps).clamp(min=1)


def switch_cost(think: Tensor, penalty: float) -> Tensor:
    """[B,S] c * 1[think]: the paper's price of a new intention."""
    return torch.where(think, penalty, 0.0)


def exact_prior_cost(think: Tensor, decided: Tensor, logq: Tensor, alpha: float, latent_vocab: float) -> Tensor:
    """[B,S] one-sample estimate of KL(q || p) at each boundary, p = alpha * keep + (1 - alpha) * U (sticky prior):

        log q(z_t) - log p(z_t),   p(act) = alpha,   p(z) = (1 - alpha) / |Z| for a new intention z

    `logq` [B,S] is the log-probability of everything chosen at the boundary. Boundaries without a decision cost 0.
    In expectation the switch costs log(alpha / (1 - alpha)) + log|Z| minus the entropy that q spends.
    """
    logp_prior = torch.where(think, math.log1p(-alpha) - math.log(latent_vocab), math.log(alpha))
    return torch.where(decided, logq - logp_prior, 0.0)


def returns(rewards: Tensor, gamma: float, horizon: int) -> Tensor:
    """[B,S] R_t = sum_{k=t}^{min(S, t+H-1)} gamma^(k-t) r_k: H = 1 is the step's own reward, H >= S reward-to-go."""
    num_steps = rewards.shape[-1]
    total = torch.zeros_like(rewards)
    for lag in range(min(horizon, num_steps)):
        total[..., : num_steps - lag] += gamma**lag * rewards[..., lag:]
    return total
