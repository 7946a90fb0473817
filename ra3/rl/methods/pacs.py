"""PACS (arXiv 2509.02522): the verdict is a label, and the policy's own log ratios predict it.

    L = 1/B sum_i c_i BCE( sigmoid(psi_i), r_i )
    psi_i = u_i - mean_{j != i} u_j,   u_i = sum_t log q(y_t) / q_old(y_t)

with c_i = G / (2 n) where n of the G programs for a problem have the verdict r_i. With q = q_old all psi_i are 0, and
-dL / d log q(y_i) is c_i (r_i - 1/2) less the mean of the others', over B: a balanced REINFORCE with leave-one-out.
Ours: groups of equal verdicts are left out; with q = q_old their gradient is zero.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from ra3.model.policy import Policy
from ra3.rl.solve import GradedPrograms, SolveProblems
from ra3.rows import Rows


class Pacs(SolveProblems):
    """RLVR as supervised learning of the verdict."""

    def __post_init__(self):
        super().__post_init__()
        self.loss = replace(self.loss, of_rows=self.label_loss)

    def advantage(self, rollouts: GradedPrograms, reward: Tensor) -> Tensor:
        """[B,T] c_i, with the sign of the verdict; 0 where a group has no verdict, or only one kind of it."""
        right, counted = rollouts.grouped(reward) > 0, rollouts.counted & ~rollouts.dead[:, None]
        num_right, num_wrong = ((kind & counted).sum(1, keepdim=True) for kind in (right, ~right))
        alike = torch.where(right, num_right, -num_wrong)
        weight = torch.where(counted, (num_right + num_wrong) / (2.0 * alike), 0.0)
        return weight.flatten()[:, None] * rollouts.rows.action_mask

    def label_loss(self, policy: Policy, logp: Tensor, rows: Rows, advantage: Tensor, weight: Tensor) -> Tensor:
        """The equation above, with the signed c_i in the place of advantages [B,T]."""
        chosen = rows.action_mask & rows.valid
        signed = (advantage * chosen).sum(1) / chosen.sum(1).clamp(min=1)
        counted = self.grouped((signed != 0).to(logp))
        own = self.grouped(((logp - rows.logp_old) * chosen).sum(1)) * counted
        others = (own.sum(1, keepdim=True) - own) / (counted.sum(1, keepdim=True) - 1).clamp(min=1)
        return cross_entropy((own - others).flatten(), (signed > 0).to(logp), signed.abs(), reduction="mean")

    def grouped(self, values: Tensor) -> Tensor:
        """[B] -> [P,G]."""
        return values.unflatten(0, (-1, self.settings.samples))
