"""Losses: pure functions of token tensors; each returns the sum over tokens of a batch's share, already divided by the
global denominator, so that micro-batches and ranks simply add up.

All tensors [N] (or any equal shape); `weight` is mask / denominator.
"""

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


POLICY_LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor, float, float], Tensor]] = {
    "clip": clipped_policy_loss,
    "cispo": cispo_loss,
}


def next_token_loss(logp: Tensor, weight: Tensor) -> Tensor:
    """L = - sum_t w_t log pi(x_t | x_<t)."""
    return -(weight * logp).sum()


def clip_share(logp: Tensor, logp_old: Tensor, acted: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """Share of acted tokens whose ratio lies outside the clip range."""
    ratio = (logp - logp_old).exp()
    outside = (ratio < 1 - clip_low) | (ratio > 1 + clip_high)
    return (outside & acted).sum() / acted.sum().clamp(min=1)
