"""Programs that were written otherwise than they are learned: by an older policy, or with help in the prompt.

    L = - sum_t w_t min( rho_t A_t, clip(rho_t) A_t ),   rho_t = q(y_t | x) / b(y_t)

b is what the tokens were drawn from, and no longer the policy before the update; where it is, this is the default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.model.update import score, scoring_cost
from ra3.rl.losses import clipped_policy_loss
from ra3.rl.solve import Deepened, GradedPrograms, SolveProblems, against_all
from ra3.rollout.programs import beyond_positions, encode_prompts
from ra3.rows import FULL, RowBuilder, Rows, build


class LearnOffPolicy(SolveProblems):
    """RLVR on programs of which some were drawn from another distribution."""

    behaviour: Tensor
    """[B,T] log b of the rows that are learned from."""

    def __post_init__(self):
        super().__post_init__()
        self.loss = replace(self.loss, of_rows=self.off_policy_loss)

    def start(self, policy: Policy) -> Policy:
        """The policy that learns."""
        self.policy = policy
        return policy

    def rescored(self, rows: Rows) -> Rows:
        """The rows with the policy's own scores, once it is noted what they were drawn from."""
        chosen, self.behaviour = rows.action_mask & rows.valid, rows.logp_old
        with self.recorder.phase("scoring", **scoring_cost(self.policy, rows, chosen)):
            scores = score(self.policy, rows, chosen, self.update.micro_batch_tokens, self.loss.temperature)
        return replace(rows, logp_old=scores.logp_action)

    def off_policy_loss(self, policy: Policy, logp: Tensor, rows: Rows, advantage: Tensor, weight: Tensor) -> Tensor:
        """The equation above."""
        return clipped_policy_loss(logp, self.behaviour, advantage, weight, self.loss.clip_low, self.loss.clip_high)


class LearnHelped(LearnOffPolicy):
    """RLVR with more programs for some problems, which are written to another prompt and learned behind their own."""

    helped_samples: int = 0
    """Programs with help for a problem; 0: as many as without."""

    def prompts(self, policy: Policy, programs: GradedPrograms) -> Mapping[int, Problem]:
        """{group: its problem with help in the prompt}, for those that need it."""
        raise NotImplementedError

    def rollout(self, policy: Policy, items: Sequence[Problem], step: int) -> Deepened:
        """Programs as usual, then those with help, where the model can read that much."""
        first = super().rollout(policy, items, step)
        put = self.prompts(policy, first)
        long = beyond_positions(policy, list(put.values()), self.settings.max_new_tokens)
        groups = [p for p in put if first.items[p].id not in long]
        if not groups:
            return first.deepened(())
        asked, told = [first.items[p] for p in groups], [put[p] for p in groups]
        written = self.attempt(policy, asked, step, "helped", samples=self.helped_samples, put=told)
        own = [problem for problem in asked for _ in range(written.group_size)]
        return first.deepened([replace(written, rows=behind_prompts(policy, written.rows, own)).renumbered(groups)])

    def select(self, rollouts: Deepened, advantage: Tensor) -> tuple[Rows, Tensor]:
        """All rows, each against all programs for its problem."""
        rows, against = against_all(rollouts)
        self.helped = torch.arange(len(rows)) >= len(rollouts.rows)
        return self.rescored(rows), against


def behind_prompts(policy: Policy, rows: Rows, problems: Sequence[Problem]) -> Rows:
    """What was chosen in each row, as if it had been written behind the prompt of these problems [B]."""
    builders, columns = list[RowBuilder](), (rows.ids, rows.logp, rows.logp_old, rows.importance)
    for r, prompt in enumerate(encode_prompts(policy, problems)):
        row = RowBuilder.start(int(rows.group[r]), [*policy.start_ids, *prompt] or [policy.end_id])
        own = (values[r, rows.action_mask[r]].tolist() for values in columns)
        for token, *scores in zip(*own, strict=True):
            row.append(token, 0, FULL, *scores)
        row.finished = bool(rows.finished[r])
        builders.append(row)
    return build(builders)
