"""Annotation: latents sampled for the whole corpus, written into the expert's text.

One trajectory per document, or the best of G by its reward under pi (likelihood minus the price of the latents).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ra3.latents import EncodedDocument, annotate_text
from ra3.policy import Policy
from ra3.rollouts import Boundaries, estep_credit
from ra3.rows import Rows, concatenate
from ra3.sampler import LatentRules, expert_rows, interleave
from ra3.seeds import derive
from ra3.settings import Midtrain, Update
from ra3.steps import split
from ra3.update import score

DOCUMENTS_AT_ONCE = 64


def annotate(
    q: Policy,
    pi: Policy,
    documents: Sequence[EncodedDocument],
    config: Midtrain,
    update: Update,
    seed: int,
    em_round: int,
) -> Rows:
    """One row per document, in order: its steps with latents sampled from q. c = inf writes none."""
    if math.isinf(config.estep.switch_penalty):
        return expert_rows(q, documents)
    samples = config.estep.group_size if config.mstep.latents == "best" else 1
    rules = LatentRules(config.estep.max_latent_tokens)
    parts = []
    for start in range(0, len(documents), DOCUMENTS_AT_ONCE):
        chunk = documents[start : start + DOCUMENTS_AT_ONCE]
        names = [(d.document.id, sample) for d in chunk for sample in range(samples)]
        rows = interleave(q, chunk, samples, rules, [derive(seed, "annotate", em_round, *name) for name in names])
        parts.append(rows if samples == 1 else best_of_group(q, pi, rows, samples, config, update))
    return concatenate(parts)


def best_of_group(q: Policy, pi: Policy, rows: Rows, samples: int, config: Midtrain, update: Update) -> Rows:
    """The rollout with the highest total reward in each group of `samples`."""
    boundaries = Boundaries.of(rows, q.syntax.newline_id)
    scores = score(pi, rows, rows.expert, update.micro_batch_tokens)
    credit = estep_credit(rows, boundaries, scores, samples, config.estep, config.estep.switch_penalty)
    best = credit.reward.sum(1).unflatten(0, (-1, samples)).argmax(1)
    return rows.select(torch.arange(len(best)) * samples + best)


def annotated_record(policy: Policy, document: EncodedDocument, rows: Rows, r: int, kind: str) -> dict[str, Any]:
    """One line of annotated.jsonl: the text with its latents, where they stand, and the ids that are trained on."""
    comments = comment_texts(policy, rows, r, len(document.step_ids))
    text, spans = annotate_text(split(document.document, kind), comments)
    return {
        "id": document.document.id,
        "context": document.document.context,
        "text": text,
        "latents": spans,
        "ids": rows.tokens(r),
    }


def comment_texts(policy: Policy, rows: Rows, r: int, num_steps: int) -> list[str | None]:
    """The comment line written before each step of row r, newline included; None where it acted."""
    latent = rows.latent[r]
    ids: list[list[int]] = [[] for _ in range(num_steps)]
    for token, step in zip(rows.ids[r][latent].tolist(), rows.seg[r][latent].tolist(), strict=True):
        ids[step].append(token)
    return [policy.tokenizer.decode(i) if i else None for i in ids]
