"""Advantages: one pure function per estimator, each from the returns of groups of rollouts.

Shapes: returns [D,G] or [D,G,S]; `counted` of the same shape marks the entries that exist (a boundary at which this
rollout decided something); others neither give nor receive a baseline and get advantage 0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def leave_one_out(returns: Tensor, counted: Tensor) -> Tensor:
    """A_g = R_g - mean_{h != g} R_h (RLOO, arXiv 2402.14740). Unbiased. A lone entry has no baseline and gets 0."""
    n = counted.sum(1, keepdim=True)
    total = torch.where(counted, returns, 0.0).sum(1, keepdim=True)
    baseline = (total - returns) / (n - 1).clamp(min=1)
    return torch.where(counted & (n > 1), returns - baseline, 0.0)


def group_mean(returns: Tensor, counted: Tensor) -> Tensor:
    """A_g = R_g - mean_h R_h (Dr. GRPO, arXiv 2503.20783): leave_one_out scaled by (n - 1) / n."""
    return torch.where(counted, returns - _mean(returns, counted), 0.0)


def unequal_group_mean(returns: Tensor, counted: Tensor, group: Tensor) -> Tensor:
    """group_mean of returns [B] whose groups have the numbers `group` [B] and need not be of one size."""
    sums, counts = (
        returns.new_zeros(int(group.max()) + 1).index_add(0, group, own)
        for own in (torch.where(counted, returns, 0.0), counted.to(returns))
    )
    return torch.where(counted, returns - (sums / counts.clamp(min=1))[group], 0.0)


def group_std(returns: Tensor, counted: Tensor, epsilon: float = 1e-6) -> Tensor:
    """A_g = (R_g - mean_h R_h) / (std_h R_h + eps) (GRPO, arXiv 2402.03300; std with n - 1). Biased: up-weights groups
    of nearly equal returns. A group of one, or of equal returns, gets 0."""
    centred, n = group_mean(returns, counted), counted.sum(1, keepdim=True)
    std = (centred.square().sum(1, keepdim=True) / (n - 1).clamp(min=1)).sqrt()
    return centred / (std + epsilon)


def batch_std(returns: Tensor, counted: Tensor, epsilon: float = 1e-6) -> Tensor:
    """A_g = (R_g - mean_h R_h) / (std over the batch + eps): one scale for all (REINFORCE++-baseline, 2501.03262)."""
    centred, n = group_mean(returns, counted), counted.sum()
    std = (centred.square().sum() / (n - 1).clamp(min=1)).sqrt()
    return centred / (std + epsilon)


def no_baseline(returns: Tensor, counted: Tensor) -> Tensor:
    """A_g = R_g (REINFORCE, Williams 1992). Unbiased, of high variance."""
    return torch.where(counted, returns, 0.0)


def iwae(returns: Tensor, counted: Tensor) -> Tensor:
    """A_g = log mean_h exp(R_h) - log mean_{h != g} exp(R_h): the gradient of the importance-weighted bound
    log mean_h exp(R_h) (IWAE, arXiv 1509.00519) with the arithmetic baseline of VIMCO (arXiv 1602.06725, eq. 9).

    For returns that are log-likelihoods. Nearly equal returns give leave_one_out / n; one high return is enough for its
    group, and a low one is hardly blamed. A lone entry gets 0.
    """
    logits = returns.masked_fill(~counted, -torch.inf)
    n = counted.sum(1, keepdim=True)
    own = torch.eye(returns.shape[1], dtype=torch.bool, device=returns.device)
    own = own.reshape(1, *own.shape, *[1] * (returns.dim() - 2))
    others = logits.unsqueeze(1).masked_fill(own, -torch.inf).logsumexp(2) - (n - 1).clamp(min=1).log()
    together = logits.logsumexp(1, keepdim=True) - n.clamp(min=1).log()
    return torch.where(counted & (n > 1), together - others, 0.0)


ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    **{estimator.__name__: estimator for estimator in (leave_one_out, group_mean, group_std, batch_std, iwae)},
    "none": no_baseline,
}


def dead_groups(returns: Tensor, counted: Tensor, tolerance: float = 1e-6) -> Tensor:
    """[D] bool: groups whose returns are all equal and so carry no signal."""
    spread = torch.where(counted, (returns - _mean(returns, counted)).abs(), 0.0)
    return spread.flatten(1).amax(1) <= tolerance


def _mean(returns: Tensor, counted: Tensor) -> Tensor:
    """The mean of each group, exactly that of equal entries: a division by the spread would make rounding a signal."""
    n, least = counted.sum(1, keepdim=True).clamp(min=1), returns.masked_fill(~counted, torch.inf).amin(1, keepdim=True)
    least = torch.where(least.isfinite(), least, 0.0)
    return least + torch.where(counted, returns - least, 0.0).sum(1, keepdim=True) / n
