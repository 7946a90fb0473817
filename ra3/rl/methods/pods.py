"""PODS (arXiv 2504.13818): many programs are sampled, and learned from are the half of a group that varies most.

    the m = G/2 of G rewards with the greatest variance: the k greatest and the m - k least, for the best k

Ours: the advantage is `rlvr.advantage` among the chosen, where the paper divides by their standard deviation.
"""

from typing import Any

import torch
from torch import Tensor

from ra3.rl.advantages import ESTIMATORS
from ra3.rl.solve import SolveProblems
from ra3.rows import Rows


class Pods(SolveProblems):
    """RLVR on the most different programs."""

    def advantage(self, rollouts: Any, reward: Tensor) -> Tensor:
        """[B,T] among the chosen programs of a problem; 0 for the others."""
        rewards = rollouts.grouped(reward)
        self.kept = self.choose(rollouts, rewards, max(1, rollouts.group_size // 2))
        return ESTIMATORS[self.settings.advantage](rewards, self.kept).flatten()[:, None] * rollouts.rows.action_mask

    def choose(self, rollouts: Any, rewards: Tensor, size: int) -> Tensor:
        """[P,G] bool, the `size` programs of each problem that are learned from."""
        return most_varied(rewards, rollouts.counted, size)

    def select(self, rollouts: Any, advantage: Tensor) -> tuple[Rows, Tensor]:
        """The chosen programs."""
        index = self.kept.flatten().nonzero()[:, 0]
        return rollouts.rows.select(index), advantage[index]


def most_varied(returns: Tensor, counted: Tensor, size: int) -> Tensor:
    """[P,G] bool, of each group the `size` counted returns of greatest variance, or all where there are no more."""
    kept = counted.clone()
    for p, (own, which) in enumerate(zip(returns, counted, strict=True)):
        index = which.nonzero()[:, 0]
        if len(index) > size:
            order = index[own[index].argsort(stable=True)]
            ends = [torch.cat([order[: size - k], order[len(order) - k :]]) for k in range(size + 1)]
            best = max(ends, key=lambda chosen: float(own[chosen].var(correction=0)))
            kept[p] = torch.zeros_like(which).index_fill(0, best, True)
    return kept
