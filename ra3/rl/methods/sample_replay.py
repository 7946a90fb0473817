"""Selective sample replay (VL-Rethinker, arXiv 2504.08837): earlier programs for those without a signal.

    for every program of advantage 0 one of the last 256 of another, drawn with probability |A| / sum |A|

with the advantage it had, and ratios to what wrote it. Ours: text for images, without the paper's forced rethinking.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ra3.grading.problems import Problem
from ra3.rl.loop import Rollouts, has_signal
from ra3.rl.off_policy import LearnOffPolicy
from ra3.rl.solve import Memory
from ra3.rows import Rows, concatenate
from ra3.seeds import derive

KEPT = 256


class SampleReplay(LearnOffPolicy):
    """RLVR that learns again from what had a signal."""

    def __post_init__(self):
        super().__post_init__()
        self.replay = Memory()

    def items(self, step: int) -> list[Problem]:
        """The next problems; the draws of old programs are the step's."""
        self.random = np.random.default_rng(derive(self.seed, "sample-replay", step))
        return super().items(step)

    def select(self, rollouts: Rollouts, advantage: Tensor) -> tuple[Rows, Tensor]:
        """The rows with a signal, and earlier ones in the place of the others; all as they are where there are none."""
        rows, live = rollouts.rows, has_signal(rollouts.rows, advantage)
        against = (advantage * rows.action_mask).sum(1) / rows.action_mask.sum(1).clamp(min=1)
        fresh, earned = rows.select(live), against[live]
        if self.replay:
            old, had = Rows(**self.replay["rows"]), self.replay["advantage"]
            drawn = draw(had, int((~live).sum()), self.random)
            rows = concatenate([fresh, replace(old.select(drawn), group=rows.group[~live])])
            against = torch.cat([earned, had[drawn]])
            fresh, earned = concatenate([old, fresh]), torch.cat([had, earned])
        if len(fresh):
            self.replay.update(rows=vars(fresh.select(slice(-KEPT, None))), advantage=earned[-KEPT:])
        return self.rescored(rows), against[:, None] * rows.action_mask


def draw(advantage: Tensor, count: int, random: np.random.Generator) -> list[int]:
    """Indices of `count` of the advantages [N], drawn with replacement by their size."""
    odds = advantage.abs().double().numpy()
    return random.choice(len(odds), count, p=odds / odds.sum()).tolist()
