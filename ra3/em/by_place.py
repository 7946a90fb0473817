"""The best of G comments at each place of a document, chosen by the lines that follow it.

    gain_g = sum_{k=t}^{t+H-1} [ log pi(a_k | s_t, z_g) - log pi(a_k | s_t, act) ],      z_1..z_G ~ q(. | s_t, think)

s_t has no other latents, so that a comment is judged alone. The best is written where it gains more than c.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ra3.config.settings import EstepSettings, UpdateSettings
from ra3.data.latents import EncodedDocument
from ra3.model.policy import Policy
from ra3.model.update import sampling_cost, score, scoring_cost
from ra3.rl.credit import Boundaries, step_sums
from ra3.rollout.cursor import LatentRules
from ra3.rollout.interleave import expert_rows, interleave
from ra3.rows import Rows
from ra3.run.ledger import Ledger
from ra3.seeds import derive

PROPOSED = 0.25
"""Share of a document's boundaries at which comments are tried: those where pi is most inclined to think."""


@dataclass(frozen=True)
class StepScores:
    """What pi says of the steps of some rows."""

    logp: Tensor
    """[B,S] log-likelihood of each step."""
    log_act: Tensor
    """[B,S] log q(act) in front of each step, 0 where nothing was to decide."""


def best_by_place(
    q: Policy, pi: Policy, documents: Sequence[EncodedDocument], settings: EstepSettings, update: UpdateSettings,
    seed: int, em_round: int, ledger: Ledger,
) -> Rows:  # fmt: skip
    """Writes one row per document, in order, with the best comments of q where they gain more than their price."""
    plain = step_scores(pi, expert_rows(pi, documents, decisions=True), update, ledger)
    places = [(d, t) for d, document in enumerate(documents) for t in likely_places(document, plain.log_act[d])]
    latents: list[dict[int, list[int]]] = [{} for _ in documents]
    if places:
        own = settings, update, derive(seed, "by_place", em_round), ledger
        rows, gain = comment_gains(q, pi, documents, places, plain, *own)
        best, which = gain.max(1)
        for n, (d, t) in enumerate(places):
            if best[n] > settings.price(em_round):
                r = n * settings.group_size + int(which[n])
                latents[d][t] = rows.ids[r][rows.latent[r]].tolist()
    return expert_rows(q, documents, latents=latents)


def comment_gains(
    q: Policy, pi: Policy, documents: Sequence[EncodedDocument], places: Sequence[tuple[int, int]], plain: StepScores,
    settings: EstepSettings, update: UpdateSettings, seed: int, ledger: Ledger,
) -> tuple[Rows, Tensor]:  # fmt: skip
    """Samples G comments at each of P places, (document, step). Returns a row for each, and what it gains, [P,G] nats;
    one that did not end by itself pays `format_penalty`. `plain`: scores of the documents without latents."""
    size, horizon = settings.group_size, settings.horizon
    parts = [documents[d].upto(t + horizon).thinking_only_at(t) for d, t in places]
    seeds = [derive(seed, documents[d].id, t, g) for d, t in places for g in range(size)]
    with ledger.phase("rollouts"):
        rows = interleave(q, parts, size, LatentRules(settings.max_latent_tokens, think_floor=1.0), seeds)
        ledger.count(**sampling_cost(q, rows))
    given, unclosed = step_scores(pi, rows, update, ledger).logp, Boundaries.of(rows, q.spaces).unclosed
    gain = torch.empty(len(places), size)
    for n, (d, t) in enumerate(places):
        group, ahead = slice(n * size, (n + 1) * size), slice(t, t + horizon)
        act = plain.logp[d, ahead].sum() - plain.log_act[d, t]
        gain[n] = given[group, ahead].sum(1) - act - settings.format_penalty * unclosed[group, t]
    return rows, gain


def step_scores(pi: Policy, rows: Rows, update: UpdateSettings, ledger: Ledger) -> StepScores:
    """Scores of the steps of these rows under pi, booked."""
    with ledger.phase("scoring", **scoring_cost(pi, rows, rows.expert)):
        scores = score(pi, rows, rows.expert, update.micro_batch_tokens)
    logp, log_act = scores.logp * rows.expert, scores.logp_action * (rows.decisions & rows.expert)
    return StepScores(*(step_sums(each, rows.step, rows.num_steps) for each in (logp, log_act)))


def likely_places(document: EncodedDocument, log_act: Tensor) -> list[int]:
    """The boundaries to try, in order: PROPOSED of those that may think, where log q(act) [S] is least."""
    places = [t for t, opening in enumerate(document.openings) if opening]
    count = math.ceil(PROPOSED * len(places))
    return sorted(sorted(places, key=lambda t: float(log_act[t]))[:count])
