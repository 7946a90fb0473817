"""TreePO (arXiv 2508.17445): programs that share a beginning are also judged against each other.

    A_i = sum_j n_j (R_i - mean of R over G_j) / sum_j n_j

less its mean over all tokens of the step, and divided by its standard deviation. G_j are the sets of n_j programs that
share a beginning with the i-th, the first of them all for the problem. Ours: a tree of two levels. Half of the programs
are whole; each is cut after a multiple of a fourth of `rlvr.max_new_tokens`, where the next token was least likely, or
at its beginning where it is shorter, and another goes on from there.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.rl.advantages import group_mean
from ra3.rl.prefixes import continued
from ra3.rl.solve import GradedPrograms, SolveProblems
from ra3.rows import Rows, concatenate, grafted

SEGMENTS = 4


class TreePo(SolveProblems):
    """RLVR on trees of programs."""

    def rollout(self, policy: Policy, items: Sequence[Problem], step: int) -> GradedPrograms:
        """Pairs of programs with a common beginning."""
        half = max(1, self.settings.samples // 2)
        whole = self.attempt(policy, items, step, samples=half)
        segment = -(-self.settings.max_new_tokens // SEGMENTS)
        starts = [(r, cut) for r, cut in enumerate(least_likely_cuts(whole.rows, segment))]
        branch = continued(self, policy, whole, starts, 1, step, "branch")
        rows = concatenate([whole.rows, replace(grafted(whole.rows, branch.rows), group=whole.rows.group)])
        pairs = torch.arange(len(rows)).reshape(2, -1).T.flatten()
        verdicts = [*whole.verdicts, *branch.verdicts]
        return GradedPrograms(rows.select(pairs), items, 2 * half, [verdicts[r] for r in pairs.tolist()])

    def advantage(self, rollouts: GradedPrograms, reward: Tensor) -> Tensor:
        """[B,T] the equation above."""
        against = tree_advantage(rollouts.grouped(reward), rollouts.counted).reshape(-1, 1)
        chosen = rollouts.rows.action_mask & rollouts.counted.reshape(-1, 1)
        every = against.expand(chosen.shape)[chosen]
        return (against - every.mean()) / (every.std(correction=0) + 1e-6) * chosen


def tree_advantage(returns: Tensor, counted: Tensor) -> Tensor:
    """[P,G] A_i before it is whitened, where programs 2 i and 2 i + 1 share a beginning."""
    pairs = group_mean(returns.reshape(-1, 2), counted.reshape(-1, 2)).reshape(returns.shape)
    size = returns.shape[1]
    return (size * group_mean(returns, counted) + 2 * pairs) / (size + 2)


def least_likely_cuts(rows: Rows, segment: int) -> list[int]:
    """[B] after how many tokens to cut: at a multiple of `segment`, where the next was least likely; 0: too short."""
    logps = [own[mask][segment::segment] for own, mask in zip(rows.logp_old, rows.action_mask, strict=True)]
    return [segment * (int(own.argmin()) + 1) if len(own) else 0 for own in logps]
