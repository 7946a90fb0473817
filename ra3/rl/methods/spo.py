"""SPO, the chain of segments (arXiv 2505.23564): a part of a program is paid for what it adds to the chance to pass.

    A_t = V(s_{k+1}) - V(s_k)  for t in segment k with q_old(y_t) < 0.9,  else 0

A segment is 5 such tokens with what follows each. V(s_k) is the mean reward of 4 programs that go on from there, at the
beginning that of the group, at the end the verdict itself, so that a program of one segment has R - mean R. Ours: 4,
where the paper has 9; the weights of `rlvr.aggregation`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.rl.prefixes import continued, segment_gains, segment_starts
from ra3.rl.solve import GradedPrograms, SolveProblems
from ra3.rows import Rows

SURE, EVERY, TRIES = 0.9, 5, 4


class Spo(SolveProblems):
    """RLVR with credit for segments."""

    def rollout(self, policy: Policy, items: Sequence[Problem], step: int) -> GradedPrograms:
        """Programs, and others that go on from each of their segments."""
        rollouts = super().rollout(policy, items, step)
        self.segment = self.segments(policy, rollouts.rows)
        starts = segment_starts(self.segment, rollouts.rows.action_mask)
        tried = continued(self, policy, rollouts, starts, TRIES, step, "values") if starts else None
        worth = tried.passed.sum(1) / tried.counted.sum(1).clamp(min=1) if tried else torch.zeros(0)
        self.worth = dict(zip(starts, worth.tolist(), strict=True))
        return rollouts

    def segments(self, policy: Policy, rows: Rows) -> Tensor:
        """[B,T] the number of the segment that a chosen token is in."""
        uncertain = rows.action_mask & (rows.logp_old.exp() < SURE)
        return (uncertain.cumsum(1) - 1).clamp(min=0) // EVERY

    def advantage(self, rollouts: GradedPrograms, reward: Tensor) -> Tensor:
        """[B,T] the equation above."""
        return self.gains(rollouts, reward) * (rollouts.rows.logp_old.exp() < SURE)

    def gains(self, rollouts: GradedPrograms, reward: Tensor) -> Tensor:
        """[B,T] what the segment of each chosen token adds."""
        group, counted = rollouts.grouped(reward), rollouts.counted
        begin = ((group * counted).sum(1) / counted.sum(1).clamp(min=1)).repeat_interleave(rollouts.group_size)
        gains = segment_gains(self.segment, rollouts.rows.action_mask, self.worth, begin, reward)
        return gains * counted.reshape(-1, 1)
