"""RLPT (arXiv 2509.19249), next segment: the policy thinks if it likes and writes the text that comes next. No M-step.

    r_g = 1[ what it wrote, without its comments, is the expert's next segment ],    A_g = r_g - mean_{h != g} r_h

Policy gradient on all tokens up to the segment's end, thoughts and text alike. Ours: a segment is the next `horizon`
steps after a random step, and it must be met to the character, where RLPT asks a model whether the meaning agrees;
comment lines count on neither side. Advantages leave one out, where RLPT has GRPO's. The model must succeed sometimes.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ra3.data.latents import COMMENT_OPENER, EncodedDocument
from ra3.data.tokens import decode
from ra3.em.estep import EStep
from ra3.em.round import EMRound
from ra3.model.policy import Policy
from ra3.model.update import sampling_cost
from ra3.rl.advantages import dead_groups, leave_one_out
from ra3.rl.loop import Rollouts
from ra3.rollout.generate import SamplingParams, generate
from ra3.rows import Rows
from ra3.seeds import derive


def rlpt(em: EMRound) -> Policy:
    """The model after reinforcement on random segments."""
    return em.e_step(NextSegment)


class NextSegment(EStep):
    """The E-step's task with free text in the place of latents, and being right in the place of likelihood."""

    def rollout(self, policy: Policy, items: Sequence[EncodedDocument], step: int) -> SegmentRollouts:
        """Completions of the documents up to a random step."""
        own, place = self.settings, ("segment", self.em_round, step)
        segments = [segment(policy, d, own.horizon, derive(self.seed, *place, d.id)) for d in items]
        params = SamplingParams(max(s.tokens for s in segments) + own.max_latent_tokens + 1)
        with self.recorder.phase("rollouts"):
            rows = generate(policy, [s.prefix for s in segments], own.group_size, params, self.row_seeds(step, items))
            self.recorder.count(**sampling_cost(policy, rows))
        rows, met = judge(policy, rows, segments, own.group_size)
        return SegmentRollouts(rows, items, own.group_size, met)

    def reward(self, policy: Policy, rollouts: SegmentRollouts) -> Tensor:
        """[B] 1 where the segment was met."""
        return rollouts.met

    def advantage(self, rollouts: SegmentRollouts, reward: Tensor) -> Tensor:
        """[B,T] each row's reward against the others'."""
        groups, rows = rollouts.grouped(reward), rollouts.rows
        return leave_one_out(groups, torch.ones_like(groups, dtype=torch.bool)).flatten()[:, None] * rows.action_mask

    def metrics(self, policy: Policy, rollouts: SegmentRollouts, reward: Tensor) -> dict[str, float]:
        """How often segments were met."""
        groups = rollouts.grouped(reward)
        dead = dead_groups(groups, torch.ones_like(groups, dtype=torch.bool)).float().mean()
        generated = (rollouts.rows.valid & (rollouts.rows.step == 0)).sum()
        return {"reward": float(reward.mean()), "dead_groups": float(dead), "tokens_generated": float(generated)}


@dataclass
class SegmentRollouts(Rollouts):
    """Completions, and whether each met its segment."""

    met: Tensor
    """[B] float."""


@dataclass(frozen=True)
class Segment:
    """A prefix of a document, and the expert's text after it."""

    prefix: list[int]
    text: str
    tokens: int
    """Length of the text in tokens."""


def segment(policy: Policy, document: EncodedDocument, steps: int, seed: int) -> Segment:
    """The `steps` steps after a random boundary of the document."""
    t = random.Random(seed).randrange(len(document.step_ids))
    before = [i for ids in document.step_ids[:t] for i in ids]
    after = [i for ids in document.step_ids[t : t + steps] for i in ids]
    return Segment([*document.context_ids, *before], decode(policy.tokenizer, after).rstrip(" \t\f"), len(after))


def judge(policy: Policy, rows: Rows, segments: Sequence[Segment], samples: int) -> tuple[Rows, Tensor]:
    """The rows with what follows the segment no longer counted as chosen; [B] 1 where the segment was met."""
    mask, met, opener = rows.action_mask.clone(), torch.zeros(len(rows)), policy.syntax.opener
    for r in range(len(rows)):
        wanted, at = without_comments(segments[r // samples].text, opener=opener)[0], mask[r].nonzero()[:, 0]
        ids = [i for i in rows.ids[r][at].tolist() if i not in policy.end_ids]
        code, used = without_comments(decode(policy.tokenizer, ids), len(wanted.splitlines()) or 1, opener)
        kept = bisect_left(range(len(ids)), used, key=lambda n: len(decode(policy.tokenizer, ids[:n])))
        mask[r, at[kept:]] = False
        met[r] = float(code.rstrip("\n") == wanted.rstrip("\n"))
    return replace(rows, action_mask=mask), met


def without_comments(text: str, lines: int | None = None, opener: str = COMMENT_OPENER) -> tuple[str, int]:
    """A text without comment and opener lines, up to `lines` lines of code or all of it; and how many characters of it.

    without_comments("# go\\nx\\ny", 1) == ("x\\n", 7)
    """
    code, used = [], 0
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        used += len(line)
        if not line.lstrip().startswith((COMMENT_OPENER, opener)):
            code.append(line)
            if len(code) == lines:
                break
    return "".join(code), used
