"""SAR (self-aligned reward, arXiv 2509.05489): besides the verdict, what the question says of the answer.

    R = r + max( (PPL(y) - PPL(y | x)) / PPL(y), -1 ),   PPL(y | x) = exp( - 1/|y| sum_t log pi(y_t | x, y_<t) )

An answer to the point is hardly likely without its question; one that rambles is likely anyway. Ours: without the
question the first token counts only where sequences begin with a token of their own.
"""

from typing import Any

import torch
from torch import Tensor

from ra3.model.policy import Policy
from ra3.model.update import score, scoring_cost
from ra3.rl.solve import SolveProblems
from ra3.rows import RowBuilder, Rows, build


class Sar(SolveProblems):
    """RLVR that also pays answers to the point."""

    def reward(self, policy: Policy, rollouts: Any) -> Tensor:
        """[B] the equation above, under the policy as it is now."""
        rows = rollouts.rows
        alone = without_prompt(policy, rows)
        with self.recorder.phase("scoring", **scoring_cost(policy, alone, alone.action_mask)):
            logp = score(policy, alone, alone.action_mask, self.update.micro_batch_tokens).logp
        with_it, without = perplexity(rows.logp, rows.action_mask), perplexity(logp, alone.action_mask)
        return super().reward(policy, rollouts) + ((without - with_it) / without).clamp(min=-1)


def perplexity(logp: Tensor, chosen: Tensor) -> Tensor:
    """[B] exp of minus the mean of log-probabilities [B,T] over `chosen` [B,T]."""
    return (-torch.where(chosen, logp, 0.0).sum(1) / chosen.sum(1).clamp(min=1)).exp()


def without_prompt(policy: Policy, rows: Rows) -> Rows:
    """The chosen tokens of each row behind what begins every sequence, or behind the first of them."""
    builders = []
    for r, ids in enumerate(own[mask].tolist() for own, mask in zip(rows.ids, rows.action_mask, strict=True)):
        start = list(policy.start_ids) or ids[:1]
        row = RowBuilder.start(r, start)
        for token in ids if policy.start_ids else ids[1:]:
            row.append(token, 0, 0, 0.0, 0.0)
        builders.append(row)
    return build(builders)
