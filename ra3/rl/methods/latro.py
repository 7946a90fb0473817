"""LaTRO (arXiv 2411.04282): reasoning is a latent, paid by what it says of the reference and held near the first model.

    max E_z [ log pi(a* | x, z) - beta log pi(z | x) / pi_0(z | x) ]

by REINFORCE with that bracket as reward and the mean of the other samples as baseline, and ∇ log pi(a* | x, z) for the
reference. beta = 0.05. Ours: the weights of `rlvr.aggregation`, the baseline of `rlvr.advantage`.
"""

import torch
from torch import Tensor

from ra3.model.policy import Policy
from ra3.model.update import score, scoring_cost
from ra3.rl.methods.verifree import learned_too
from ra3.rl.reference import AnsweredQuestions, AnswerQuestions
from ra3.rows import Rows

BETA = 0.05


class Latro(AnswerQuestions):
    """Log-likelihood as reward, less the distance from the model that training began with."""

    def start(self, policy: Policy) -> Policy:
        """Keeps a copy of the model as it comes."""
        self.first = policy.snapshot()
        return policy

    def reward(self, policy: Policy, rollouts: AnsweredQuestions) -> Tensor:
        """[B] the bracket above."""
        rows, chosen = rollouts.rows, rollouts.rows.action_mask
        self.logp = self.reference_logp(policy, rows, rollouts.answers)
        with self.recorder.phase("scoring", **scoring_cost(policy, rows, chosen)):
            own = self.first, rows, chosen, self.update.micro_batch_tokens, self.loss.temperature
            gap = torch.where(chosen, rows.logp_old - score(*own).logp_action, 0.0)
        return self.logp.sum(1) - BETA * gap.sum(1)

    def select(self, rollouts: AnsweredQuestions, advantage: Tensor) -> tuple[Rows, Tensor]:
        """The rows with their references as chosen tokens, of advantage 1."""
        return learned_too(rollouts, advantage, self.logp, torch.ones(len(advantage)))
