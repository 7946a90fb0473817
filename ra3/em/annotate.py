"""Annotation: latents sampled for the whole corpus, written into the expert's text.

One trajectory per document, or one of G by its reward under pi (likelihood minus the price of the latents): the best,
or one drawn with probability proportional to the exponential of the reward (importance resampling).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from ra3.config.settings import MidtrainSettings, UpdateSettings
from ra3.data.latents import EncodedDocument, annotate_text
from ra3.data.steps import split
from ra3.model.policy import Policy
from ra3.model.update import sampling_cost, score, scoring_cost
from ra3.rl.credit import estep_credit
from ra3.rollout.cursor import LatentRules
from ra3.rollout.interleave import expert_rows, interleave
from ra3.rows import Rows, concatenate
from ra3.run.ledger import Ledger
from ra3.seeds import derive

DOCUMENTS_AT_ONCE = 512

Latents = Literal["sample", "best", "resample"]
"""Which latents are written in: one sample, or of G the best, or one drawn by exp(reward)."""


def annotate(
    q: Policy, pi: Policy, documents: Sequence[EncodedDocument], settings: MidtrainSettings, update: UpdateSettings,
    seed: int, em_round: int = 0, ledger: Ledger | None = None, latents: Latents = "sample",
) -> Rows:  # fmt: skip
    """Writes one row per document, in order: its steps with latents sampled from q. c = inf writes none."""
    own, ledger = settings.estep, ledger or Ledger()
    if math.isinf(own.switch_penalty):
        return expert_rows(q, documents)
    samples = 1 if latents == "sample" else own.group_size
    always = own.think_floor is not None and own.think_floor[0] == 1
    rules = LatentRules(own.max_latent_tokens, think_floor=float(always))
    seeds = [derive(seed, "annotate", em_round, d.id, sample) for d in documents for sample in range(samples)]
    with ledger.phase("rollouts"):
        rows = interleave(q, documents, samples, rules, seeds)
        ledger.count(**sampling_cost(q, rows))
    if samples == 1:
        return rows
    with ledger.phase("scoring", **scoring_cost(pi, rows, rows.expert)):
        scores = score(pi, rows, rows.expert, update.micro_batch_tokens)
    credit = estep_credit(rows, q.syntax.newline_id, scores, own, own.price(em_round))
    reward = credit.reward.sum(1).unflatten(0, (-1, samples))
    if latents == "best":
        chosen = reward.argmax(1)
    else:
        uniform = [random.Random(derive(seed, "resample")).random() for seed in seeds[::samples]]
        chosen = resample(reward, torch.tensor(uniform, dtype=reward.dtype))
    return rows.select(torch.arange(len(chosen)) * samples + chosen)


def document_parts(documents: Sequence[EncodedDocument]) -> list[Sequence[EncodedDocument]]:
    """The documents as they are annotated together."""
    return [documents[start : start + DOCUMENTS_AT_ONCE] for start in range(0, len(documents), DOCUMENTS_AT_ONCE)]


def resample(reward: Tensor, uniform: Tensor) -> Tensor:
    """[D,G] and uniform draws [D] -> [D], g with probability exp(reward_g) / sum_h exp(reward_h)."""
    return (reward.softmax(1).cumsum(1) < uniform[:, None]).sum(1).clamp(max=reward.shape[1] - 1)


def annotate_whole(
    policy: Policy, documents: Sequence[EncodedDocument], settings: MidtrainSettings, update: UpdateSettings,
    max_tokens: int, seed: int,
) -> list[list[str | None]]:  # fmt: skip
    """Comments before the steps of documents of any length: the policy reads them window by window."""
    comments: list[list[str | None]] = [[None] * len(d.step_ids) for d in documents]
    parts = [(i, first, part) for i, d in enumerate(documents) for first, part in windows(d, max_tokens)]
    parts.sort(key=lambda found: len(found[2].step_ids))  # rows of a batch end together
    if parts:
        batches = document_parts([part for _, _, part in parts])
        rows = concatenate([annotate(policy, policy, batch, settings, update, seed) for batch in batches])
        for r, (i, first, part) in enumerate(parts):
            end = first + len(part.step_ids)
            comments[i][first:end] = comment_texts(policy, rows, r, len(part.step_ids))
    return comments


def windows(document: EncodedDocument, max_tokens: int) -> list[tuple[int, EncodedDocument]]:
    """(first step, part) of the parts of a document that, each after its context, stay within `max_tokens`; a step too
    long even alone is in none. Parts after the first have names of their own, for the seeds."""
    room = max_tokens - len(document.context_ids)
    cuts, used = [0], 0
    for t, ids in enumerate(document.step_ids):
        if used + len(ids) > room and used > 0:
            cuts.append(t)
            used = 0
        used += len(ids)
    parts = []
    for first, end in pairwise([*cuts, len(document.step_ids)]):
        name = f"{document.id}@{first}" if first else document.id
        steps, may_think = document.step_ids[first:end], document.may_think[first:end]
        cut, named = document.cut or end < len(document.step_ids), replace(document.document, id=name)
        if sum(map(len, steps)) <= room:
            parts.append((first, replace(document, document=named, step_ids=steps, may_think=may_think, cut=cut)))
    return parts


def text_record(document: EncodedDocument, comments: Sequence[str | None], kind: str) -> dict[str, Any]:
    """A document's text with its latents, and where they stand."""
    text, spans = annotate_text(split(document.document, kind), comments)
    return {"id": document.id, "context": document.document.context, "text": text, "latents": spans}


def comment_texts(policy: Policy, rows: Rows, r: int, num_steps: int) -> list[str | None]:
    """The comment line written before each step of row r, newline included; None where it acted."""
    latent = rows.latent[r]
    ids: list[list[int]] = [[] for _ in range(num_steps)]
    for token, step in zip(rows.ids[r][latent].tolist(), rows.step[r][latent].tolist(), strict=True):
        ids[step].append(token)
    return [policy.syntax.comment(policy.tokenizer, i) if i else None for i in ids]
