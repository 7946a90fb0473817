"""MoPPS (arXiv 2507.04632): problems whose predicted pass rate is near one half, without rollouts to find them.

    p ~ Beta(a, b) for every problem;  the problems with the least |p - 1/2| are taken
    a <- f a + (1 - f) + passes,   b <- f b + (1 - f) + failures,   a = b = 1 at first

Ours: f = 1/2; every problem is a candidate in every step, where the paper draws some first; `rlvr.refills` take
problems in order.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.rl.solve import GradedPrograms, Memory, SolveProblems
from ra3.seeds import derive

FORGETTING = 0.5


class Mopps(SolveProblems):
    """RLVR on problems that are neither easy nor hopeless."""

    def __post_init__(self):
        super().__post_init__()
        self.beliefs = Memory(passes=[1.0] * len(self.problems), failures=[1.0] * len(self.problems))

    def items(self, step: int) -> list[Problem]:
        """The problems whose draw is nearest to one half."""
        draws = np.random.default_rng(derive(self.seed, "mopps", step)).beta(*self.beliefs.values())
        nearest = np.argsort(np.abs(draws - 0.5), kind="stable")[: self.settings.batch_problems]
        return [self.problems[i] for i in nearest]

    def reward(self, policy: Policy, rollouts: GradedPrograms) -> Tensor:
        """[B] 1 for a pass; the beliefs learn of it."""
        every = rollouts.sampled or rollouts
        passes = every.passed.sum(1)
        self.learn([problem.id for problem in every.items], passes, every.counted.sum(1) - passes)
        return super().reward(policy, rollouts)

    def learn(self, names: Sequence[str], passes: Tensor, failures: Tensor) -> None:
        """Beliefs about these problems, after so many passes and failures [P]."""
        index = {problem.id: i for i, problem in enumerate(self.problems)}
        for kind, new in (("passes", passes), ("failures", failures)):
            for name, count in zip(names, new.tolist(), strict=True):
                old = self.beliefs[kind][index[name]]
                self.beliefs[kind][index[name]] = FORGETTING * old + 1 - FORGETTING + count
