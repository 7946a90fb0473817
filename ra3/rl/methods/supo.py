"""SUPO (arXiv 2510.06727): where the context is full, a summary of it is written, and the episode goes on behind that.

    L = - sum over rows of episodes, sum_t w_t min( rho_t A, clip(rho_t) A ),   A = R - mean of the problem's episodes

A row ends with its summary, the next begins with the problem and the summary; R is the verdict on the last. Episodes
that come to no end teach nothing. Where all end in their first context it is the default. Ours: that context is
`rlvr.max_new_tokens`, a fourth of it for the summary, and there are two summaries at the most; the turn that is cut is
taken back; A is `rlvr.advantage`, where the paper divides by the standard deviation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ra3.errors import UserError
from ra3.grading.problems import Problem
from ra3.model.policy import Policy
from ra3.model.update import sampling_cost
from ra3.rl.solve import GradedPrograms, SolveProblems
from ra3.rollout.generate import SamplingParams
from ra3.rollout.turns import go_on, observation_ids
from ra3.rows import Rows, concatenate, shortened, with_others
from ra3.seeds import derive

SUMMARIES, LEAST = 2, 32
OPEN, CLOSE = "\n<summary>", "</summary>"


@dataclass
class Summarised(GradedPrograms):
    """Episodes by their last rows, and the rows before those."""

    earlier: Sequence[Rows] = ()
    episode: Sequence[int] = ()
    """Of each of these, the last row."""


class Supo(SolveProblems):
    """RLVR in a context that is too short."""

    def __post_init__(self):
        super().__post_init__()
        self.context = self.settings.max_new_tokens
        if self.context < LEAST:
            raise UserError("too short for a summary", f"rlvr.max_new_tokens = {self.context}", f"{LEAST} or more")
        self.settings = self.settings.model_copy(update={"max_new_tokens": self.context - self.context // 4})

    def rollout(self, policy: Policy, items: Sequence[Problem], step: int) -> Summarised:
        """Episodes, and those that were cut once more behind their summaries."""
        written = self.attempt(policy, items, step)
        rows, verdicts, earlier, episode = written.rows, written.verdicts, list[Rows](), list[int]()
        asked = [problem for problem in items for _ in range(written.group_size)]
        for number in range(SUMMARIES):
            cut = (~rows.finished & rows.observed.any(1)).nonzero()[:, 0].tolist()
            if not cut:
                break
            told = self.summarised(policy, rows.select(cut), [derive(self.seed, "supo", step, number, r) for r in cut])
            own = [asked[r] for r in cut]
            put = [replace(p, prompt=p.prompt.rstrip() + OPEN + said(policy, told, n)) for n, p in enumerate(own)]
            new = self.attempt(policy, own, step, "summary", number, samples=1, put=put)
            rows = with_others(rows, cut, replace(new.rows, group=told.group))
            verdicts = [*(dict(enumerate(verdicts)) | dict(zip(cut, new.verdicts, strict=True))).values()]
            earlier, episode = [*earlier, told], [*episode, *cut]
        return Summarised(rows, items, written.group_size, verdicts, earlier=earlier, episode=episode)

    def summarised(self, policy: Policy, rows: Rows, seeds: Sequence[int]) -> Rows:
        """The rows up to the last observation, and a summary behind that."""
        (mark,) = observation_ids(policy, [OPEN])
        kept = shortened(rows, (rows.observed * torch.arange(rows.ids.shape[1])).amax(1) + 1)
        params = SamplingParams(self.context, self.settings.temperature)
        with self.recorder.phase("rollouts"):
            told = go_on(policy, kept, [mark] * len(rows), params, seeds, [(CLOSE,)] * len(rows), rows.num_steps)
            self.recorder.count(**sampling_cost(policy, told))
        return told

    def select(self, rollouts: Summarised, advantage: Tensor) -> tuple[Rows, Tensor]:
        """All rows, each with what its episode earned."""
        mask = rollouts.rows.action_mask
        against = (advantage * mask).sum(1) / mask.sum(1) * rollouts.rows.finished
        rows = concatenate([rollouts.rows, *rollouts.earlier])
        every = torch.cat([against, against[torch.tensor(rollouts.episode, dtype=torch.int64)]])
        return rows, every[:, None] * rows.action_mask


def said(policy: Policy, rows: Rows, r: int) -> str:
    """The summary with which a row ends, closed."""
    text = "".join(map(policy.token_text, rows.last_turn(r)))
    return text.partition(CLOSE)[0] + CLOSE
