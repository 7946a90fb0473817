"""VeriFree (arXiv 2505.21493): the exact gradient of the probability of the reference a*, reasoning z and answer alike.

    ∇ E_z pi(a* | x, z) = E_z [ (R - b) ∇ log pi(z | x) + R ∇ log pi(a* | x, z) ],   R = pi(a* | x, z)

with the baseline b of `rlvr.advantage`, by default the mean of the other samples as in the paper. Ours: the weights of
`rlvr.aggregation`, under whose defaults all tokens of a step have one weight.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ra3.model.policy import Policy
from ra3.rl.reference import AnsweredQuestions, AnswerQuestions
from ra3.rows import Rows


class VeriFree(AnswerQuestions):
    """Likelihood as reward, and of the reference also as a lesson, as large as the reward."""

    def reward(self, policy: Policy, rollouts: AnsweredQuestions) -> Tensor:
        """[B] the probability of the reference, by which its tokens are weighted, too."""
        self.logp = self.reference_logp(policy, rollouts.rows, rollouts.answers)
        self.lesson = self.logp.sum(1).exp()
        return self.lesson

    def select(self, rollouts: AnsweredQuestions, advantage: Tensor) -> tuple[Rows, Tensor]:
        """The rows with their references as chosen tokens."""
        return learned_too(rollouts, advantage, self.logp, self.lesson)


def learned_too(rollouts: AnsweredQuestions, advantage: Tensor, logp: Tensor, weight: Tensor) -> tuple[Rows, Tensor]:
    """The rows in which the references, of log-probabilities `logp` [B,T], are learned with advantage `weight` [B]."""
    rows, answers = rollouts.rows, rollouts.answers
    rows = replace(rows, action_mask=rows.action_mask | answers, logp_old=torch.where(answers, logp, rows.logp_old))
    return rows, torch.where(answers, weight[:, None], advantage)
