"""ScaleRL (arXiv 2510.13786), where it is no question of scale: CISPO, problems that weigh alike, easy ones put aside.

    L = - 1/P sum_p 1/|tokens of p| sum_t sg( min(rho_t, 1 + high) ) A_t log q(y_t),   A = (R - mean of the group) / std

with the standard deviation of the batch. Problems of equal rewards are no part of P, and one that 90% of the programs
have solved is not drawn again. Ours: `high` is that of `rlvr.clip`.
"""

from dataclasses import replace

from torch import Tensor

from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.rl.advantages import batch_std
from ra3.rl.losses import cispo_loss, each_token_whole
from ra3.rl.solve import GradedPrograms, Memory, SolveProblems
from ra3.rows import Rows


class ScaleRl(SolveProblems):
    """RLVR with ScaleRL's loss and choice of problems."""

    def __post_init__(self):
        super().__post_init__()
        self.loss, self.solved = replace(self.loss, loss=cispo_loss, aggregation=each_token_whole), Memory()

    def items(self, step: int) -> list[Problem]:
        """The next problems that are not put aside; all again, once that is all of them."""
        if len(self.solved) == len(self.problems):
            self.solved.clear()
        found = list[Problem]()
        while len(found) < self.settings.batch_problems:
            drawn = [self.problems[i] for i in self.order.take(self.settings.batch_problems - len(found))]
            found += [problem for problem in drawn if problem.id not in self.solved]
        return found

    def reward(self, policy: Policy, rollouts: GradedPrograms) -> Tensor:
        """[B] 1 for a pass; what is easy is put aside."""
        every = rollouts.sampled or rollouts
        rates = every.passed.sum(1) / every.counted.sum(1).clamp(min=1)
        self.solved.update({p.id: True for p, rate in zip(every.items, rates.tolist(), strict=True) if rate >= 0.9})
        return super().reward(policy, rollouts)

    def advantage(self, rollouts: GradedPrograms, reward: Tensor) -> Tensor:
        """[B,T] against the group's mean, in standard deviations of the batch without dead groups."""
        alive = rollouts.counted & ~rollouts.dead[:, None]
        return batch_std(rollouts.grouped(reward), alive).flatten()[:, None] * rollouts.rows.action_mask

    def select(self, rollouts: GradedPrograms, advantage: Tensor) -> tuple[Rows, Tensor]:
        """All rows, their advantages weighted so that problems count alike."""
        tokens, count = rollouts.grouped(rollouts.rows.action_mask.sum(1)).sum(1), (~rollouts.dead).sum()
        weight = 1 / (count.clamp(min=1) * tokens.clamp(min=1))
        return rollouts.rows, advantage * weight.repeat_interleave(rollouts.group_size)[:, None]
