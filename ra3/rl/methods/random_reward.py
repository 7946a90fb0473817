"""Random reward (arXiv 2506.10947): a control. A coin pays the programs, whatever they do; no gain may come of it.

    R ~ Bernoulli(1/2)

What a model gains by it, it gains from the clip range, from sampling or from knowing the problems.
"""

import numpy as np
import torch
from torch import Tensor

from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.rl.solve import GradedPrograms, SolveProblems
from ra3.seeds import derive


class RandomReward(SolveProblems):
    """RLVR paid by a coin."""

    def items(self, step: int) -> list[Problem]:
        """The next problems; the coins are the step's."""
        self.step = step
        return super().items(step)

    def reward(self, policy: Policy, rollouts: GradedPrograms) -> Tensor:
        """[B] 0 or 1."""
        coins = np.random.default_rng(derive(self.seed, "random-reward", self.step))
        return torch.from_numpy(coins.integers(0, 2, len(rollouts.rows))).float()
