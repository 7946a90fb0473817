"""Direct advantage (DAPO of 2024, arXiv 2412.18279): log ratios of steps are fitted to what the steps add.

    L = 1/K sum_k 1/2 ( log q(step k) / q_old(step k) - A_k / beta )^2,   A_k = V(s_{k+1}) - V(s_k)

over all K steps of all programs, a line each. With q = q_old its gradient is -A_k / beta ∇ log q(step k) / K: a policy
gradient with credit for steps. Ours: beta = 1; V from 4 programs that go on, where the paper trains a critic on such;
the policy that sampled in the place of one reference for all of training. Not DAPO of ByteDance, which is settings.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ra3.model.policy import Policy
from ra3.rl.methods.spo import Spo
from ra3.rl.solve import GradedPrograms
from ra3.rows import Rows

BETA = 1.0


class DirectAdvantage(Spo):
    """RLVR as regression on what lines add."""

    def __post_init__(self):
        super().__post_init__()
        self.loss = replace(self.loss, of_rows=self.regression)

    def segments(self, policy: Policy, rows: Rows) -> Tensor:
        """[B,T] the number of the line that a chosen token is in; its line break ends it."""
        breaks = torch.tensor([["\n" in policy.token_text(token) for token in own] for own in rows.ids.tolist()])
        ended = (breaks & rows.action_mask).long()
        return ended.cumsum(1) - ended

    def advantage(self, rollouts: GradedPrograms, reward: Tensor) -> Tensor:
        """[B,T] A_k of the step that a token is in."""
        return self.gains(rollouts, reward)

    def regression(self, policy: Policy, logp: Tensor, rows: Rows, advantage: Tensor, weight: Tensor) -> Tensor:
        """The equation above."""
        return step_regression(logp, rows, advantage, self.segment)


def step_regression(logp: Tensor, rows: Rows, advantage: Tensor, segment: Tensor) -> Tensor:
    """The equation above; `advantage` [B,T] is the same for all tokens of a step, whose number is `segment` [B,T]."""
    chosen = rows.action_mask & rows.valid
    size = int(segment.max()) + 1
    step = (torch.arange(len(rows))[:, None] * size + segment)[chosen]
    empty = logp.new_zeros(len(rows) * size)
    ratio, tokens, gain = (
        empty.index_add(0, step, values[chosen])
        for values in (logp - rows.logp_old, torch.ones_like(logp), advantage.to(logp))
    )
    exists = tokens > 0
    return 0.5 * (ratio - gain / tokens.clamp(min=1) / BETA)[exists].square().mean()
