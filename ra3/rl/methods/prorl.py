"""ProRL (arXiv 2505.24864): a penalty on leaving a reference policy, which is moved up to the policy now and then.

    L = clipped loss + beta sum_t w_t k(log p_ref(y_t) - log q(y_t)),   k(x) = e^x - x - 1

k is an estimate of KL(q || p_ref) that is never negative. Ours: beta = 0.01; the reference moves after each quarter of
the steps, where the paper moves it when progress ends, and the optimiser keeps its moments.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ra3.model.policy import Policy
from ra3.model.update import score, scoring_cost
from ra3.rl.losses import clipped_policy_loss
from ra3.rl.solve import GradedPrograms, SolveProblems
from ra3.rows import Rows
from ra3.run.recorder import Stateful

BETA, QUARTERS = 0.01, 4


class ProRl(SolveProblems):
    """RLVR near a reference that moves."""

    def start(self, policy: Policy) -> Policy:
        """The first reference is the policy itself."""
        self.policy, self.reference = policy, policy.snapshot()
        self.loss = replace(self.loss, of_rows=self.penalised)
        return policy

    def state(self) -> dict[str, Stateful]:
        """The reference, too, must outlive a restart."""
        return {**super().state(), "reference": self.reference.learnt}

    def select(self, rollouts: GradedPrograms, advantage: Tensor) -> tuple[Rows, Tensor]:
        """All rows, once the reference has scored them."""
        rows = rollouts.rows
        with self.recorder.phase("scoring"):
            self.recorder.count(**scoring_cost(self.reference, rows, rows.action_mask))
            own = self.reference, rows, rows.action_mask, self.update.micro_batch_tokens, self.loss.temperature
            self.reference_logp = score(*own).logp_action
        return rows, advantage

    def penalised(self, policy: Policy, logp: Tensor, rows: Rows, advantage: Tensor, weight: Tensor) -> Tensor:
        """The equation above."""
        chosen = rows.action_mask & rows.valid
        gap = torch.where(chosen, self.reference_logp - logp, 0.0)
        clip = self.loss.clip_low, self.loss.clip_high
        return (
            clipped_policy_loss(logp, rows.logp_old, advantage, weight, *clip)
            + (BETA * weight * (gap.exp() - gap - 1)).sum()
        )

    def after_step(self, step: int, numbers: Mapping[str, float]) -> None:
        """Moves the reference after each quarter of the steps."""
        if (step + 1) % max(1, self.num_steps // QUARTERS) == 0:
            self.reference.learnt.load_state_dict(self.policy.learnt.state_dict())
