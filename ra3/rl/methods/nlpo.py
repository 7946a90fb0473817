"""NLPO (arXiv 2210.01241): programs are drawn from what an earlier copy of the policy finds likely.

    y_t ~ q(. | s_t) on M(s_t),   M: the fewest tokens that q_copy(. | s_t) gives 0.9 together
    q_copy <- q  after every 5 steps

A mask of all tokens leaves the default. Ours: 0.9 and 5; the ratio of the loss is that of q over all tokens, so that
the probability of M is taken for the sampler's and not for the policy's.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.model.update import sampling_cost
from ra3.rl.solve import GradedPrograms, SolveProblems
from ra3.rollout.generate import Companion
from ra3.run.recorder import Stateful

TOP, EVERY = 0.9, 5


class Nlpo(SolveProblems):
    """RLVR inside what was likely a while ago."""

    def start(self, policy: Policy) -> Policy:
        """The first copy is the policy itself."""
        self.policy, self.copy = policy, policy.snapshot()
        self.companion = Companion(self.copy, inside_nucleus)
        return policy

    def state(self) -> dict[str, Stateful]:
        """The copy, too, must outlive a restart."""
        return {**super().state(), "copy": self.copy.learnt}

    def rollout(self, policy: Policy, items: Sequence[Problem], step: int) -> GradedPrograms:
        """Programs as the copy allows, which reads them, too."""
        rollouts = super().rollout(policy, items, step)
        with self.recorder.phase("rollouts"):
            self.recorder.count(flops=sampling_cost(self.copy, (rollouts.sampled or rollouts).rows)["flops"])
        return rollouts

    def after_step(self, step: int, numbers: Mapping[str, float]) -> None:
        """Moves the copy up every few steps."""
        if (step + 1) % EVERY == 0:
            self.copy.learnt.load_state_dict(self.policy.learnt.state_dict())


def inside_nucleus(copy: Tensor, logits: Tensor) -> Tensor:
    """[R,V] the logits, -inf outside the fewest tokens that have TOP of the copy's probability together."""
    p, order = copy.softmax(-1).sort(-1, descending=True)
    inside = torch.zeros_like(p, dtype=torch.bool).scatter(-1, order, p.cumsum(-1) - p < TOP)
    return logits.masked_fill(~inside, -torch.inf)
