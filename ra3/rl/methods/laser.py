"""LASER (arXiv 2505.15612): a right program earns half as much again if it is short.

    R = r + 1/2 * 1[ r = 1 and length <= L ]

Ours: L is half of `rlvr.max_new_tokens`; the paper chooses it for the task, and LASER-D anew by difficulty.
"""

from torch import Tensor

from ra3.model.policy import Policy
from ra3.rl.solve import GradedPrograms, SolveProblems

BONUS, SHARE = 0.5, 0.5


class Laser(SolveProblems):
    """RLVR with a bonus on short programs."""

    def reward(self, policy: Policy, rollouts: GradedPrograms) -> Tensor:
        """[B] the equation above."""
        right = super().reward(policy, rollouts)
        short = rollouts.rows.action_mask.sum(1) <= SHARE * self.settings.max_new_tokens
        return right + BONUS * right * short
