"""Pass@k training (arXiv 2508.10751): a set of k programs is paid if one of them passes, in expectation over all sets.

    R = 1 - C(n, k) / C(N, k),   s = sqrt( R (1 - R) )
    A = (1 - R) / s  for a pass,   A = ( 1 - R - C(n - 1, k - 1) / C(N - 1, k - 1) ) / s  for a failure

where n of the N programs for a problem fail: the mean over all sets of k that hold the program, each set's reward less
R, over s. With k = 1 it is GRPO's advantage. Ours: k = N / 2.
"""

from math import comb

import torch
from torch import Tensor

from ra3.rl.solve import GradedPrograms, SolveProblems


class PassAtK(SolveProblems):
    """RLVR for one pass among k programs."""

    def advantage(self, rollouts: GradedPrograms, reward: Tensor) -> Tensor:
        """[B,T] the equation above, 0 where a set is sure to be paid or sure not to be."""
        against = torch.zeros_like(rollouts.passed)
        for p, (passed, counted) in enumerate(zip(rollouts.passed, rollouts.counted, strict=True)):
            right, wrong = pass_at_k_advantages(int(passed.sum()), int(counted.sum()))
            against[p] = torch.where(counted, torch.where(passed > 0, right, wrong), 0.0)
        return against.flatten()[:, None] * rollouts.rows.action_mask


def pass_at_k_advantages(passes: int, count: int, k: int = 0) -> tuple[float, float]:
    """(advantage of a pass, of a failure) where `passes` of `count` programs passed; k = 0: half of them."""
    failures, k = count - passes, k or max(1, count // 2)
    if not passes or failures < k:
        return 0.0, 0.0
    paid = 1 - comb(failures, k) / comb(count, k)
    spread = (paid * (1 - paid)) ** 0.5
    return (1 - paid) / spread, (1 - paid - comb(failures - 1, k - 1) / comb(count - 1, k - 1)) / spread
