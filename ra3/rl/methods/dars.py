"""DARS (arXiv 2508.13755): problems that few programs solve get more programs.

    a = share of the N programs that pass < 1/2:   more = min( ceil( (N/2 - N S) / S ), N_max - N ),   S = 2 a (1 - a)
    A = R - mean over all programs of the problem

That brings the sum of a problem's |A|, N S, up to N/2, its largest; without a pass N_max - N. Ours: N_max = 4 N.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.rl.advantages import unequal_group_mean
from ra3.rl.solve import GradedPrograms, SolveProblems, attempted
from ra3.rows import Rows, concatenate


@dataclass
class Deepened(GradedPrograms):
    """Programs for problems, and more of them for hard ones, whose rows have the numbers of the same groups."""

    more: Sequence[GradedPrograms] = ()


class Dars(SolveProblems):
    """RLVR with more programs for hard problems."""

    def rollout(self, policy: Policy, items: Sequence[Problem], step: int) -> Deepened:
        """Programs as usual, then more."""
        first, more = super().rollout(policy, items, step), list[GradedPrograms]()
        verdicts = zip(first.passed.sum(1).tolist(), first.counted.sum(1).tolist(), strict=True)
        counts = [more_programs(*own) for own in verdicts]
        for count in sorted(set(counts) - {0}):
            groups = [p for p, number in enumerate(counts) if number == count]
            items, own = [first.items[p] for p in groups], self.settings.model_copy(update={"samples": count})
            written = attempted(self.recorder, policy, items, self.sandbox, own, self.seed, "rlvr", step, "more")
            rows = replace(written.rows, group=torch.tensor(groups).repeat_interleave(count))
            more.append(GradedPrograms(rows, items, count, written.verdicts))
        return Deepened(first.rows, first.items, first.group_size, first.verdicts, first.sampled, more)

    def select(self, rollouts: Deepened, advantage: Tensor) -> tuple[Rows, Tensor]:
        """All rows, each against all programs for its problem."""
        every = [rollouts, *rollouts.more]
        rows = concatenate([part.rows for part in every])
        passed, counted = (torch.cat([getattr(own, name).flatten() for own in every]) for name in ("passed", "counted"))
        return rows, unequal_group_mean(passed, counted, rows.group)[:, None] * rows.action_mask


def more_programs(passes: float, count: int) -> int:
    """How many programs more, where `passes` of `count` passed."""
    accuracy = passes / max(count, 1)
    spread, most = 2 * accuracy * (1 - accuracy), 3 * count
    if accuracy >= 0.5:
        return 0
    return min(math.ceil((0.5 * count - count * spread) / spread - 1e-9), most) if spread else most
