"""ReST-GRPO (arXiv 2508.19576): where some programs pass, others go on from the beginning of one that does.

    new start: the first i + 1 lines of a passing program of n lines, with probability 0.95^i / sum_j 0.95^j

for every problem that some pass and some do not: one more group, judged by itself. Ours: starts are drawn in the same
step, one for a problem, where the paper first samples for all problems and then trains on what it drew.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.rl.prefixes import Start, continued
from ra3.rl.solve import Deepened, GradedPrograms, SolveProblems
from ra3.rows import Rows, concatenate
from ra3.seeds import derive

DECAY = 0.95


class RestGrpo(SolveProblems):
    """RLVR also from within programs that passed."""

    def rollout(self, policy: Policy, items: Sequence[Problem], step: int) -> Deepened:
        """Programs as usual, then those that go on from the new starts."""
        first = super().rollout(policy, items, step)
        random = np.random.default_rng(derive(self.seed, "rest-grpo", step))
        starts = new_starts(policy, first, random)
        if not starts:
            return first.deepened(())
        written = continued(self, policy, first, starts, self.settings.samples, step, "starts")
        return first.deepened([written.renumbered([r // first.group_size for r, _ in starts])])

    def select(self, rollouts: Deepened, advantage: Tensor) -> tuple[Rows, Tensor]:
        """All rows, each against those that began as it did."""
        against = [self.advantage(part, part.passed.flatten()) for part in rollouts.more]
        rows = concatenate([part.rows for part in (rollouts, *rollouts.more)])
        width = rows.ids.shape[1]
        return rows, torch.cat([pad(own, (0, width - own.shape[1])) for own in (advantage, *against)])


def new_starts(policy: Policy, programs: GradedPrograms, random: np.random.Generator) -> list[Start]:
    """A start in the first program that passed, for every problem that some pass and some do not."""
    starts = list[Start]()
    for p in (~programs.dead).nonzero()[:, 0].tolist():
        r = p * programs.group_size + int(programs.passed[p].argmax())
        ids = programs.rows.ids[r, programs.rows.action_mask[r]].tolist()
        if ends := [t + 1 for t, token in enumerate(ids[:-1]) if "\n" in policy.token_text(token)]:
            odds = DECAY ** np.arange(len(ends))
            starts.append((r, ends[random.choice(len(ends), p=odds / odds.sum())]))
    return starts
