"""Losses: weighted sums over tokens, of tensors of one shape. The weights, which aggregations make of the chosen tokens
[B,T] in float64, are those of the whole step, so that micro-batches and ranks simply add up."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def clipped_policy_loss(
    logp: Tensor, logp_old: Tensor, advantage: Tensor, weight: Tensor, clip_low: float, clip_high: float
) -> Tensor:
    """PPO's clipped surrogate with token-mean aggregation (arXiv 1707.06347 eq. 7; DAPO 2503.14476 for the two bounds):

        L = - sum_t w_t min( rho_t A_t, clip(rho_t, 1 - low, 1 + high) A_t ),   rho_t = q(z_t) / q_old(z_t)

    With logp_old = logp its gradient is the plain policy gradient.
    """
    ratio = (logp - logp_old).exp()
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    return -(weight * torch.minimum(ratio * advantage, clipped * advantage)).sum()


def cispo_loss(
    logp: Tensor, logp_old: Tensor, advantage: Tensor, weight: Tensor, clip_low: float, clip_high: float
) -> Tensor:
    """CISPO (MiniMax-M1, arXiv 2506.13585): the importance weight is clipped and detached, no token loses its gradient:

        L = - sum_t w_t sg( min(rho_t, 1 + high) ) A_t log q(z_t)

    `clip_low` is unused by this loss (the weight has no lower bound).
    """
    ratio = (logp - logp_old).exp().clamp(max=1 + clip_high).detach()
    return -(weight * ratio * advantage * logp).sum()


def policy_gradient_loss(
    logp: Tensor, logp_old: Tensor, advantage: Tensor, weight: Tensor, clip_low: float, clip_high: float
) -> Tensor:
    """L = - sum_t w_t A_t log q(z_t) (REINFORCE, Williams 1992); `logp_old` and the clip range are unused."""
    return -(weight * advantage * logp).sum()


TokenLossFn = Callable[[Tensor, Tensor, Tensor, Tensor, float, float], Tensor]
"""(logp, logp_old, advantage, weight, clip_low, clip_high) -> the loss of these tokens."""

POLICY_LOSSES: dict[str, TokenLossFn] = {"clip": clipped_policy_loss, "cispo": cispo_loss}


def token_mean(chosen: Tensor, max_tokens: int) -> Tensor:
    """w_t = 1 / number of chosen tokens of the step: every token counts alike (DAPO, arXiv 2503.14476 eq. 8).

    `max_tokens` is unused. Biased by the ratio of two sums over the same rollouts, less so the more of them there are.
    """
    return chosen.double() / chosen.sum().clamp(min=1)


def sequence_mean(chosen: Tensor, max_tokens: int) -> Tensor:
    """w_t = 1 / (B * chosen tokens of its row): every row counts alike (GRPO, arXiv 2402.03300 eq. 3).

    `max_tokens` is unused. Biased: a token of a short row weighs more. A row without chosen tokens counts in B.
    """
    return chosen.double() / chosen.sum(1, keepdim=True).clamp(min=1) / max(len(chosen), 1)


def constant(chosen: Tensor, max_tokens: int) -> Tensor:
    """w_t = 1 / (B * max_tokens), the longest a row can be (Dr. GRPO, arXiv 2503.20783). Unbiased, up to that constant.

    With max_tokens = 1 the loss is the mean over rows of the sum over tokens (RLOO, arXiv 2402.14740).
    """
    return chosen.double() / (max(len(chosen), 1) * max_tokens)


def each_token_whole(chosen: Tensor, max_tokens: int) -> Tensor:
    """w_t = 1, for advantages that are weighted already; `max_tokens` is unused."""
    return chosen.double()


Aggregation = Callable[[Tensor, int], Tensor]
"""(chosen tokens [B,T], the most of a row) -> their weights [B,T]."""

AGGREGATIONS: dict[str, Aggregation] = {w.__name__: w for w in (token_mean, sequence_mean, constant)}


def next_token_loss(logp: Tensor, weight: Tensor) -> Tensor:
    """L = - sum_t w_t log pi(x_t | x_<t)."""
    return -(weight * logp).sum()


def clip_share(logp: Tensor, logp_old: Tensor, chosen: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """Share of chosen tokens whose ratio lies outside the clip range."""
    ratio = (logp - logp_old).exp()
    outside = (ratio < 1 - clip_low) | (ratio > 1 + clip_high)
    return (outside & chosen).sum() / chosen.sum().clamp(min=1)
