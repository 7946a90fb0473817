"""ROVER (arXiv 2509.24981): log ratios are values of the uniformly random policy, learned by regression.

    L = sum_t w_t ( Q_t - sg[ R - mean_h R_h + mean_v Q(s_{t+1}, v) ] )^2,   Q(s, a) = log q(a | s) - log q_old(a | s)

with the mean over all v of the vocabulary, 0 behind the last token. With q = q_old all Q are 0, and a step is REINFORCE
with the mean of the group as baseline: the values act from the second of `rlvr.epochs` on. Ours: w_t is
`rlvr.aggregation`.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ra3.model.policy import Policy
from ra3.model.update import over_vocabulary
from ra3.rl.advantages import group_mean
from ra3.rl.solve import GradedPrograms, SolveProblems
from ra3.rows import Rows


class Rover(SolveProblems):
    """RLVR as regression on values."""

    def __post_init__(self):
        super().__post_init__()
        self.loss, self.old = replace(self.loss, of_rows=self.regression), None

    def advantage(self, rollouts: GradedPrograms, reward: Tensor) -> Tensor:
        """[B,T] R - mean_h R_h. New rollouts have come, so the policy is the old one."""
        self.old = None
        centred = group_mean(rollouts.grouped(reward), rollouts.counted)
        return centred.flatten()[:, None] * rollouts.rows.action_mask

    def regression(self, policy: Policy, logp: Tensor, rows: Rows, advantage: Tensor, weight: Tensor) -> Tensor:
        """The equation above."""
        if self.epochs == 1:
            return rover_loss(logp, rows, advantage, weight, torch.zeros_like(logp))
        place = policy, rows, rows.action_mask & rows.valid, self.update.micro_batch_tokens
        now = over_vocabulary(*place, mean_logp, self.loss.temperature)
        self.old = now if self.old is None else self.old
        return rover_loss(logp, rows, advantage, weight, now - self.old)


def rover_loss(logp: Tensor, rows: Rows, centred: Tensor, weight: Tensor, value: Tensor) -> Tensor:
    """The equation above, `value` [B,T] being mean_v Q(s_t, v) at every chosen token, 0 elsewhere."""
    after = torch.cat([value[:, 1:], torch.zeros_like(value[:, :1])], 1)
    return (weight * (logp - rows.logp_old - centred - after).square()).sum()


def mean_logp(logits: Tensor, ids: Tensor) -> Tensor:
    """[N] mean_v log p_v of logits [N,V]."""
    return logits.log_softmax(-1).mean(-1)
