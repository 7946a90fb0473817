"""RLPT (arXiv 2509.19249), next segment: the policy thinks if it likes and writes the text that comes next. No M-step.

    r_g = 1[ what it wrote, without its comments, is the expert's next segment ],    A_g = r_g - mean_{h != g} r_h

Policy gradient on all tokens up to the segment's end, thoughts and text alike. Ours: a segment is the next `horizon`
steps after a random step, and it must be met to the character, where RLPT asks a model whether the meaning agrees;
comment lines count on neither side. Advantages leave one out, where RLPT has GRPO's. As RLPT, it needs a model that can
already do this sometimes.
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
from ra3.em.estep import EStepJob, updates_of
from ra3.em.round import Method, Round, trained_once
from ra3.model.nonfinite import bad_rows_kept
from ra3.model.optimizers import make_optimizer
from ra3.model.policy import Policy
from ra3.rl.advantages import ESTIMATORS, dead_groups
from ra3.rl.loop import PolicyLoss, policy_step
from ra3.rollout.generate import FreeRules, generate
from ra3.rows import Rows
from ra3.seeds import derive


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
    return Segment([*document.context_ids, *before], policy.tokenizer.decode(after), len(after))


def written(text: str, lines: int | None = None, opener: str = COMMENT_OPENER) -> tuple[str, int]:
    """A text without comment lines and those that begin with the opener, up to `lines` lines of code or all of it; and
    how many characters that took.

    written("# go\\nx\\ny", 1) == ("x\\n", 7)
    """
    code, used = [], 0
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        used += len(line)
        if not line.lstrip().startswith((COMMENT_OPENER, opener)):
            code.append(line)
            if len(code) == lines:
                break
    return "".join(code), used


def tokens_of(policy: Policy, ids: Sequence[int], characters: int) -> int:
    """How many of the ids the first characters of their text take."""
    return bisect_left(range(len(ids)), characters, key=lambda n: len(policy.tokenizer.decode(ids[:n])))


def judged(policy: Policy, rows: Rows, segments: Sequence[Segment], samples: int) -> tuple[Rows, Tensor]:
    """The rows with what follows the segment no longer counted as acted; reward [B], 1 where the segment was met."""
    act, reward, opener = rows.act.clone(), torch.zeros(len(rows)), policy.syntax.opener
    for r in range(len(rows)):
        wanted, at = written(segments[r // samples].text, opener=opener)[0], rows.act[r].nonzero()[:, 0]
        ids = [i for i in rows.ids[r][at].tolist() if i != policy.end_id]
        code, used = written(policy.tokenizer.decode(ids), len(wanted.splitlines()) or 1, opener)
        act[r, at[tokens_of(policy, ids, used) :]] = False
        reward[r] = float(code.rstrip("\n") == wanted.rstrip("\n"))
    return replace(rows, act=act), reward


def learn(this: Round) -> Policy:
    """Reinforcement on random segments."""
    own, seed = this.config.midtrain.estep, this.config.run.seed
    q, job = this.pi.snapshot(), EStepJob(this.documents, own, this.config.update, seed, this.em_round)
    optimizer = make_optimizer(q.model, "adamw", own.learning_rate)
    loss = PolicyLoss("clip", own.clip_low, own.clip_high)
    total = updates_of(own, len(this.documents))
    for step in this.recorder.loop(f"estep-{this.em_round}", total, q=q.model, optimizer=optimizer):
        documents = job.batch(step)
        places = [derive(seed, "segment", this.em_round, step, d.document.id) for d in documents]
        segments = [segment(q, d, own.horizon, place) for d, place in zip(documents, places, strict=True)]
        rules = FreeRules(max(s.tokens for s in segments) + own.max_latent_tokens + 1)
        found = generate(q, [s.prefix for s in segments], own.group_size, rules, job.seeds(step, documents))
        rows, reward = judged(q, found, segments, own.group_size)
        groups = reward.unflatten(0, (-1, own.group_size))
        everyone = torch.ones_like(groups, dtype=torch.bool)
        advantage = ESTIMATORS["leave_one_out"](groups, everyone).flatten()[:, None] * rows.act
        names = [d.document.id for d in documents for _ in range(own.group_size)]
        with bad_rows_kept(this.recorder.run, {"stage": "estep", "round": this.em_round, "step": step}, q, names):
            numbers = policy_step(q, optimizer, rows, advantage, loss, this.config.update)
        numbers |= {"reward": float(reward.mean()), "dead_groups": float(dead_groups(groups, everyone).float().mean())}
        numbers["tokens_generated"] = float(found.act.sum())
        this.recorder.log("estep", this.em_round, step, total, numbers)
    return q


def discover(this: Round) -> Policy:
    """The model after reinforcement, made once."""
    return trained_once(this.recorder, f"estep-{this.em_round}", this.pi, lambda: learn(this))


RLPT = Method(discover, write_in=None)
