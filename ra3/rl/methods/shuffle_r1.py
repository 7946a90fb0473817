"""Shuffle-R1 (arXiv 2508.05612): programs are learned from in pairs of contrast, the greater the contrast the oftener.

    in a group, A_(1) >= ... >= A_(G):  pairs (A_(1), A_(G)), (A_(2), A_(G-1)), ...
    the half of all pairs with the greatest |A| + |A'| is kept; of these as many as there were are drawn, with
    replacement, with probability proportional to |A| + |A'|

Ours: pairs are chosen from the whole batch; `rlvr.samples` is even, or the middle program is left out.
"""

import numpy as np
import torch
from torch import Tensor

from ra3.rl.loop import Rollouts
from ra3.rl.solve import SolveProblems
from ra3.rows import Rows
from ra3.seeds import derive

KEPT = 0.5


class ShuffleR1(SolveProblems):
    """RLVR on pairs of programs."""

    def items(self, step: int) -> list:
        """The next problems; the draws of pairs are the step's."""
        self.step = step
        return super().items(step)

    def select(self, rollouts: Rollouts, advantage: Tensor) -> tuple[Rows, Tensor]:
        """The rows that were drawn, some of them often."""
        chosen = rollouts.rows.action_mask
        pairs = contrasting_pairs((advantage * chosen).sum(1) / chosen.sum(1).clamp(min=1), rollouts.group_size)
        random = np.random.default_rng(derive(self.seed, "shuffle-r1", self.step))
        index = draw_pairs(*pairs, random)
        return rollouts.rows.select(index), advantage[index]


def contrasting_pairs(advantage: Tensor, group_size: int) -> tuple[Tensor, Tensor]:
    """[N,2] rows paired within each group of advantages [B], largest with smallest; and [N] |A| + |A'| of each."""
    order = advantage.unflatten(0, (-1, group_size)).argsort(dim=1, descending=True, stable=True)
    order = order + torch.arange(len(order))[:, None] * group_size
    half = group_size // 2
    pairs = torch.stack([order[:, :half], order.flip(1)[:, :half]], 2).flatten(0, 1)
    return pairs, advantage[pairs].abs().sum(1)


def draw_pairs(pairs: Tensor, contrast: Tensor, random: np.random.Generator) -> Tensor:
    """[2N] rows of pairs drawn by contrast from the better half of them; all rows as they are where none has any."""
    if not bool(contrast.any()):
        return pairs.flatten()
    best = contrast.argsort(dim=0, descending=True, stable=True)[: max(1, round(KEPT * len(pairs)))]
    odds = contrast[best].double().numpy()
    return pairs[best[random.choice(len(best), len(pairs), p=odds / odds.sum())]].flatten()
