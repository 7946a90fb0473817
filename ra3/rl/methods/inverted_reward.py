"""Inverted reward (arXiv 2507.10532): a control. Wrong programs are paid; what a model learns of it must be to fail.

    R = 1 - r
"""

from torch import Tensor

from ra3.model.policy import Policy
from ra3.rl.solve import GradedPrograms, SolveProblems


class InvertedReward(SolveProblems):
    """RLVR paid for failing."""

    def reward(self, policy: Policy, rollouts: GradedPrograms) -> Tensor:
        """[B] 1 for a program that does not pass."""
        return 1 - super().reward(policy, rollouts)
