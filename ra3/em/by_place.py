"""Comments tried out at places of a document, each alone, with the lines that follow it.

    gain_g = sum_{k=t}^{t+H-1} [ log pi(a_k | s_t, z_g) - log pi(a_k | s_t, act) ],      z_1..z_G ~ q(. | s_t, think)

s_t has no other latents. The best is written in where it gains more than c; or all of them are kept as branches, rows
that leave the document at t, for pi to learn what such comments are worth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ra3.config.settings import EstepSettings, UpdateSettings
from ra3.data.latents import EncodedDocument
from ra3.model.policy import Policy
from ra3.model.update import sampling_cost, score, scoring_cost
from ra3.rl.credit import Boundaries, step_sums
from ra3.rollout.interleave import LatentRules, expert_rows, interleave
from ra3.rows import CONTEXT, Rows, concatenate
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


def with_branches(
    q: Policy, documents: Sequence[EncodedDocument], settings: EstepSettings, update: UpdateSettings, seed: int,
    em_round: int, ledger: Ledger,
) -> Rows:  # fmt: skip
    """Writes a row for each document as it is, then one for each of G comments of q at its places, in its group. What
    is before a comment is context there; the token that opens it is learned from the first comment of a place alone, as
    `act` is from the document, so that pi thinks at half of these places."""
    plain = expert_rows(q, documents, decisions=True)
    log_act = step_scores(q, plain, update, ledger).log_act
    places = [(d, t) for d, document in enumerate(documents) for t in likely_places(document, log_act[d])]
    if not places:
        return plain
    rows = sampled_branches(q, documents, places, settings, derive(seed, "by_place", em_round), ledger)
    rows = replace(rows, group=torch.tensor([d for d, _ in places]).repeat_interleave(settings.group_size))
    again = torch.arange(len(rows)) % settings.group_size > 0
    return concatenate([plain, replace(rows, step=torch.where(rows.decisions & again[:, None], CONTEXT, rows.step))])


def sampled_branches(
    q: Policy, documents: Sequence[EncodedDocument], places: Sequence[tuple[int, int]], settings: EstepSettings,
    seed: int, ledger: Ledger,
) -> Rows:  # fmt: skip
    """Samples G comments at each of P places, (document, step), each with the H steps that follow: P * G rows."""
    parts = [documents[d].branch(t, settings.horizon) for d, t in places]
    seeds = [derive(seed, documents[d].id, t, g) for d, t in places for g in range(settings.group_size)]
    with ledger.phase("rollouts"):
        rules = LatentRules(settings.max_latent_tokens, think_floor=1.0)
        rows = interleave(q, parts, settings.group_size, rules, seeds)
        ledger.count(**sampling_cost(q, rows))
    return rows


def comment_gains(
    q: Policy, pi: Policy, documents: Sequence[EncodedDocument], places: Sequence[tuple[int, int]], plain: StepScores,
    settings: EstepSettings, update: UpdateSettings, seed: int, ledger: Ledger,
) -> tuple[Rows, Tensor]:  # fmt: skip
    """Samples G comments at each of P places, (document, step). Returns a row for each, and what it gains, [P,G] nats;
    one that did not end by itself pays `format_penalty`. `plain`: scores of the documents without latents."""
    rows = sampled_branches(q, documents, places, settings, seed, ledger)
    given, unclosed = step_scores(pi, rows, update, ledger).logp.sum(1), Boundaries.of(rows, q.spaces).unclosed[:, 0]
    act = torch.stack([plain.logp[d, t : t + settings.horizon].sum() - plain.log_act[d, t] for d, t in places])
    earned = (given - settings.format_penalty * unclosed).unflatten(0, (-1, settings.group_size))
    return rows, earned - act[:, None]


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
