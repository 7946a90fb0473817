"""DARS (arXiv 2508.13755): problems that few programs solve get more programs.

    a = share of the N programs that pass < 1/2:   more = min( ceil( (N/2 - N S) / S ), N_max - N ),   S = 2 a (1 - a)
    A = R - mean over all programs of the problem

That brings the sum of a problem's |A|, N S, up to N/2, its largest; without a pass N_max - N. Ours: N_max = 4 N.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.rl.solve import Deepened, GradedPrograms, SolveProblems, against_all
from ra3.rows import Rows


class Dars(SolveProblems):
    """RLVR with more programs for hard problems."""

    def rollout(self, policy: Policy, items: Sequence[Problem], step: int) -> Deepened:
        """Programs as usual, then more."""
        first, more = super().rollout(policy, items, step), list[GradedPrograms]()
        verdicts = zip(first.passed.sum(1).tolist(), first.counted.sum(1).tolist(), strict=True)
        counts = [more_programs(*own) for own in verdicts]
        for count in sorted(set(counts) - {0}):
            groups = [p for p, number in enumerate(counts) if number == count]
            written = self.attempt(policy, [first.items[p] for p in groups], step, "more", samples=count)
            more.append(written.renumbered(groups))
        return first.deepened(more)

    def select(self, rollouts: Deepened, advantage: Tensor) -> tuple[Rows, Tensor]:
        """All rows, each against all programs for its problem."""
        return against_all(rollouts)


def more_programs(passes: float, count: int) -> int:
    """How many programs more, where `passes` of `count` passed."""
    accuracy = passes / max(count, 1)
    spread, most = 2 * accuracy * (1 - accuracy), 3 * count
    if accuracy >= 0.5:
        return 0
    return min(math.ceil((0.5 * count - count * spread) / spread - 1e-9), most) if spread else most
