"""Annotation: latents sampled for the whole corpus, written into the expert's text.

One trajectory per document, or one of G by its reward under pi (likelihood minus the price of the latents): the best,
or one drawn with probability proportional to the exponential of the reward (importance resampling). Or the best of G
comments at each place, judged one by one; or the documents as they are, with comments as branches beside them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ra3.config.settings import MidtrainSettings, UpdateSettings
from ra3.data.documents import Document
from ra3.data.latents import EncodedDocument, annotate_text
from ra3.em.by_place import best_by_place, with_branches
from ra3.model.policy import Policy
from ra3.model.update import sampling_cost, score, scoring_cost
from ra3.rl.credit import estep_credit
from ra3.rollout.interleave import LatentRules, expert_rows, interleave
from ra3.rows import Rows, concatenate
from ra3.run.ledger import Ledger
from ra3.seeds import derive

DOCUMENTS_AT_ONCE = 512

Latents = Literal["sample", "best", "resample", "by_place", "branches"]
"""Which latents are written in: one sample, of G the best, one drawn by exp(reward), the best at each place; or none,
but comments at places in rows of their own."""


def annotate(
    q: Policy, pi: Policy, documents: Sequence[EncodedDocument], settings: MidtrainSettings, update: UpdateSettings,
    seed: int, em_round: int = 0, ledger: Ledger | None = None, latents: Latents = "sample",
) -> Rows:  # fmt: skip
    """Writes one row per document, in order: its steps with latents sampled from q. c = inf writes none. Branches are
    further rows in the group of their document."""
    own, ledger = settings.estep, ledger or Ledger()
    if math.isinf(own.switch_penalty):
        return expert_rows(q, documents)
    if latents == "by_place":
        return best_by_place(q, pi, documents, own, update, seed, em_round, ledger)
    if latents == "branches":
        return with_branches(q, documents, own, update, seed, em_round, ledger)
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
    credit = estep_credit(rows, q.spaces, scores, own, own.price(em_round))
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
    policy: Policy, encoded: Sequence[Sequence[EncodedDocument]], settings: MidtrainSettings, update: UpdateSettings,
    seed: int,
) -> list[dict[int, str]]:  # fmt: skip
    """Comments for documents of any length, each given as its windows, by their place in the document's text."""
    comments: list[dict[int, str]] = [{} for _ in encoded]
    parts = [(i, window) for i, windows in enumerate(encoded) for window in windows]
    parts.sort(key=lambda found: len(found[1].step_ids))  # rows of a batch end together
    if parts:
        batches = document_parts([window for _, window in parts])
        rows = concatenate([annotate(policy, policy, batch, settings, update, seed) for batch in batches])
        for r, (i, window) in enumerate(parts):
            own = comment_texts(policy, rows, r, len(window.step_ids))
            comments[i] |= {window.offset + place: comment for place, comment in window.placed(own).items()}
    return comments


def text_record(document: Document, comments: Mapping[int, str]) -> dict[str, Any]:
    """A document's text with comments at places of it, and where they stand there."""
    text, spans = annotate_text(document.text, comments)
    return {"id": document.id, "context": document.context, "text": text, "latents": spans}


def comment_texts(policy: Policy, rows: Rows, r: int, num_steps: int) -> list[str | None]:
    """The comment line "# ...\\n" written before each step of row r; None where it acted."""
    latent = rows.latent[r]
    ids: list[list[int]] = [[] for _ in range(num_steps)]
    for token, step in zip(rows.ids[r][latent].tolist(), rows.step[r][latent].tolist(), strict=True):
        ids[step].append(token)
    return [policy.syntax.comment(i) if i else None for i in ids]
