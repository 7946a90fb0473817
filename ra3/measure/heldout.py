"""What the latents are worth on held-out text: likelihood with and without them, their places, their truth."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from torch import Tensor

from ra3.config.settings import EvalSettings, UpdateSettings
from ra3.data.documents import Truth
from ra3.data.latents import EncodedDocument
from ra3.em.annotate import comment_texts
from ra3.measure.counterfactuals import code_changes
from ra3.measure.latent_index import last_word
from ra3.measure.mutual_information import information
from ra3.measure.pass_at_k import Record
from ra3.measure.statistics import bootstrap, boundary_agreement, wilson
from ra3.model.action_spaces import expert_logp
from ra3.model.policy import Policy
from ra3.model.update import score
from ra3.rl.credit import Boundaries
from ra3.rl.rewards import step_sums
from ra3.rollout.cursor import LatentRules
from ra3.rollout.interleave import expert_rows, interleave
from ra3.rows import Rows
from ra3.seeds import derive

DISCOUNT = 0.95
"""Per step, to say what intentions make of a horizon."""


def measure_heldout(
    model: str,
    policy: Policy,
    documents: Sequence[EncodedDocument],
    max_latent_tokens: int,
    config: EvalSettings,
    update: UpdateSettings,
    seed: int,
) -> Record:
    """{"rows": ..., "curves": ...} of one model on held-out text.

    Nats per expert token without latents and given sampled ones, and the think rate, each a mean over documents; does
    the code follow the latents; for an embedded world also, do they agree with the true boundaries and chains.
    """
    plain = expert_rows(policy, documents)
    seeds = [derive(seed, "heldout", d.document.id) for d in documents]
    rows = interleave(policy, documents, 1, LatentRules(max_latent_tokens), seeds)
    boundaries = Boundaries.of(rows, policy.syntax.newline_id)
    without = score(policy, plain, plain.expert, update.micro_batch_tokens).logp
    given = score(policy, rows, rows.expert, update.micro_batch_tokens)
    logp = expert_logp(given.logp, given.logp_act, rows.space, rows.act, rows.expert)
    tokens = plain.expert.sum(1)
    measured = {
        "nll_per_token": -without.sum(1) / tokens,
        "nll_per_token_given_latents": -logp.sum(1) / tokens,
        "think_rate": boundaries.think.sum(1) / boundaries.decided.sum(1).clamp(min=1),
    }
    out = []
    for metric, values in measured.items():
        found = bootstrap(values.tolist(), derive(seed, metric), config.confidence)
        out.append(_row(model, metric, len(values), **found._asdict()))
    out += probe_rows(model, policy, rows, config) + duration_rows(model, boundaries)
    out += truth_rows(model, policy, documents, rows, boundaries, config, seed)
    steps = rows.num_steps
    gain = step_sums(logp, rows.seg, steps) - step_sums(without * plain.expert, plain.seg, steps)
    return {"rows": out, "curves": gain_curves(model, documents, boundaries, gain, config, seed)}


def gain_curves(
    model: str,
    documents: Sequence[EncodedDocument],
    boundaries: Boundaries,
    gain: Tensor,
    config: EvalSettings,
    seed: int,
) -> dict[str, list[Record]]:
    """Embedded worlds only, by chain length: nats that an intention at a true boundary gains to the next boundary.

    gain [B,S] is each step's log-likelihood given the latents minus that without any.
    """
    gained: dict[int, list[float]] = {}
    for r, document in enumerate(documents):
        if (truth := document.document.truth) is None:
            continue
        ends = [*truth.boundaries, gain.shape[1]][1:]
        for start, end, chain in zip(truth.boundaries, ends, truth.chains, strict=True):
            if boundaries.think[r, start]:
                gained.setdefault(len(chain) - 1, []).append(float(gain[r, start:end].sum()))
    points = [
        {"model": model, "x": length, **bootstrap(values, derive(seed, "gain", length), config.confidence)._asdict()}
        for length, values in sorted(gained.items())
    ]
    return {"latent_gain_by_chain": points} if points else {}


def probe_rows(model: str, policy: Policy, rows: Rows, config: EvalSettings) -> list[Record]:
    """Share of the intentions whose code changes when another one of the document takes their place, and when they are
    deleted; a row only where there is an intention to swap, or to delete."""
    changed = code_changes(policy, rows)
    found = (("swap_changes_code", changed.swapped), ("delete_changes_code", changed.deleted))
    return [
        _row(model, metric, len(changes), **wilson(sum(changes), len(changes), config.confidence)._asdict())
        for metric, changes in found
        if changes
    ]


def duration_rows(model: str, boundaries: Boundaries) -> list[Record]:
    """Mean number of steps tau that an intention covers, and what it makes of a discount: mean of DISCOUNT^tau."""
    taus = durations(boundaries.think, boundaries.exists)
    if not taus:
        return []
    measured = {"duration": mean(taus), "discount_per_intention": mean(DISCOUNT**tau for tau in taus)}
    return [_row(model, name, len(taus), mean=value, low=value, high=value) for name, value in measured.items()]


def durations(think: Tensor, exists: Tensor) -> list[int]:
    """think, exists [B,S] -> for each intention the steps up to the next one or the end of its document."""
    found = []
    for row, length in zip(think, exists.sum(1).tolist(), strict=True):
        starts = row.nonzero()[:, 0].tolist()
        found += [end - start for start, end in zip(starts, [*starts, length][1:], strict=True)]
    return found


def truth_rows(
    model: str,
    policy: Policy,
    documents: Sequence[EncodedDocument],
    rows: Rows,
    boundaries: Boundaries,
    config: EvalSettings,
    seed: int,
) -> list[Record]:
    """Embedded worlds only: precision, recall and F1 of the places of thought against the true boundaries, the share
    of the comments written there that are the true ones, and what the latents say about what was to be done."""
    truth_of = {r: d.document.truth for r, d in enumerate(documents) if d.document.truth}
    if not truth_of:
        return []
    known, truths = list(truth_of), list(truth_of.values())
    predicted = [set(boundaries.think[r].nonzero()[:, 0].tolist()) for r in known]
    agreement = boundary_agreement(predicted, [set(truth.boundaries) for truth in truths])
    out = [
        _row(model, f"boundary_{name}", len(known), mean=value, low=value, high=value)
        for name, value in agreement._asdict().items()
        if name != "precision" or any(predicted)
    ]
    comments = [comment_texts(policy, rows, r, len(documents[r].step_ids)) for r in known]
    pairs = [pair for own, truth in zip(comments, truths, strict=True) for pair in _at_boundaries(own, truth)]
    written = [(comment, wanted) for comment, wanted in pairs if comment is not None]
    if written:
        found = wilson(sum(comment == wanted for comment, wanted in written), len(written), config.confidence)
        out.append(_row(model, "comments_right", len(written), **found._asdict()))
    return out + information_rows(model, pairs, derive(seed, "information"))


def information_rows(model: str, pairs: Sequence[tuple[str | None, str]], seed: int) -> list[Record]:
    """What the latent at a true boundary, its last word or none, says about the true one, beyond chance."""
    if not pairs:
        return []
    said = [last_word(comment or "") for comment, _ in pairs]
    found = information(said, [last_word(wanted) for _, wanted in pairs], seed)
    measured = {"latent_information": found.bits, "latent_information_share": found.share}
    return [_row(model, name, len(pairs), mean=value, low=value, high=value) for name, value in measured.items()]


def _at_boundaries(comments: Sequence[str | None], truth: Truth) -> list[tuple[str | None, str]]:
    """(comment written or None, true comment) at each true boundary."""
    return [(comments[t], wanted) for t, wanted in zip(truth.boundaries, truth.comments, strict=True)]


def _row(model: str, metric: str, count: int, **found: float) -> Record:
    return {"model": model, "band": "heldout", "metric": metric, **found, "problems": count}
