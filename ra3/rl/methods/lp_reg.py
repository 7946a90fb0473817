"""Lp-Reg (arXiv 2510.03222): rare tokens of wrong programs are held up, unless they are so rare that they are noise.

    L = sum_t w_t ( - rho_t A_t + k(log p_t - log q_t) ) at rare tokens, else the clipped loss,   k(x) = e^x - x - 1

p_t is the token's probability when all below 0.02 of the likeliest are struck out and the rest is scaled to one; rare
are the 1% of the tokens with A_t < 0 that have the least q_t, less those that are struck out. The paper has the whole
KL(p || q) in the place of k; this is what the authors' code does. Ours: `rlvr.clip`, where that code clips to [0, 10].
"""

from dataclasses import replace

import torch
from torch import Tensor

from ra3.model.policy import Policy
from ra3.model.update import over_vocabulary
from ra3.rl.solve import SolveProblems
from ra3.rows import Rows

RARE, NOISE = 0.01, 0.02


class LpReg(SolveProblems):
    """RLVR that keeps rare tokens alive."""

    def __post_init__(self):
        super().__post_init__()
        self.loss = replace(self.loss, of_rows=self.regularised)

    def regularised(self, policy: Policy, logp: Tensor, rows: Rows, advantage: Tensor, weight: Tensor) -> Tensor:
        """The loss, where p_t is computed for the tokens that may be rare alone."""
        wrong = rows.action_mask & rows.valid & (advantage < 0)
        least = wrong & (logp <= rarest(logp.detach()[wrong]))
        proxy = over_vocabulary(policy, rows, least, self.update.micro_batch_tokens, log_proxy, self.loss.temperature)
        rare = least & (logp.detach() < proxy)
        ratio = (logp - rows.logp_old).exp()
        clipped = ratio.clamp(1 - self.loss.clip_low, 1 + self.loss.clip_high)
        plain = (ratio * advantage).minimum(clipped * advantage)
        gap = torch.where(rare, proxy - logp, 0.0)
        return -(weight * torch.where(rare, ratio * advantage - (gap.exp() - gap - 1), plain)).sum()


def rarest(logp: Tensor) -> float:
    """The greatest of the least RARE of log-probabilities [N]; -inf where that is less than two of them."""
    count = int(RARE * len(logp))
    return float(logp.kthvalue(count).values) if count > 1 else -torch.inf


def log_proxy(logits: Tensor, ids: Tensor) -> Tensor:
    """[N] log p of `ids` under logits [N,V] without tokens below NOISE of the likeliest; -inf where it is one."""
    kept = logits >= logits.amax(-1, keepdim=True) + torch.tensor(NOISE).log()
    return logits.masked_fill(~kept, -torch.inf).log_softmax(-1).gather(-1, ids[:, None])[:, 0]
