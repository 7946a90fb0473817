"""What the latents are worth on held-out text: likelihood with and without them, their places, their truth."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from torch import Tensor

from ra3.config.settings import UpdateSettings
from ra3.data.latents import EncodedDocument
from ra3.em.annotate import comment_texts
from ra3.measure.counterfactuals import code_changes
from ra3.measure.latent_index import last_word
from ra3.measure.statistics import bootstrap, boundary_agreement, information, wilson
from ra3.model.action_spaces import TokenScores, step_logp
from ra3.model.policy import Policy
from ra3.model.update import sampling_cost, score, scoring_cost
from ra3.rl.credit import Boundaries
from ra3.rl.rewards import step_sums
from ra3.rollout.cursor import LatentRules
from ra3.rollout.interleave import expert_rows, interleave
from ra3.rows import Rows
from ra3.run.ledger import Ledger
from ra3.run.results import CurvePoint, Results, Score
from ra3.seeds import derive

DISCOUNT = 0.95
"""Per step, to say what latents make of a horizon."""


def measure_heldout(
    model: str,
    policy: Policy,
    documents: Sequence[EncodedDocument],
    max_latent_tokens: int,
    update: UpdateSettings,
    seed: int,
    ledger: Ledger | None = None,
) -> Results:
    """Measures one model on held-out text.

    Nats per expert token without latents and given sampled ones, and the think rate, each a mean over documents; does
    the code follow the latents; for an embedded world also, do they agree with the true boundaries and chains.
    """
    ledger = ledger or Ledger()

    def scored(rows: Rows) -> TokenScores:
        with ledger.phase("scoring"):
            ledger.count(**scoring_cost(policy, rows, rows.expert))
            return score(policy, rows, rows.expert, update.micro_batch_tokens)

    plain, seeds = expert_rows(policy, documents), [derive(seed, "heldout", d.id) for d in documents]
    with ledger.phase("rollouts"):
        rows = interleave(policy, documents, 1, LatentRules(max_latent_tokens), seeds)
        ledger.count(**sampling_cost(policy, rows))
    boundaries = Boundaries.of(rows, policy.syntax.newline_id)
    without, given = scored(plain).logp, scored(rows)
    logp, tokens = step_logp(given.logp, given.logp_action, rows), plain.expert.sum(1)
    measured = {
        "nll_per_token": -without.sum(1) / tokens,
        "nll_per_token_given_latents": -logp.sum(1) / tokens,
        "think_rate": boundaries.think.sum(1) / boundaries.decided.sum(1).clamp(min=1),
    }
    scores = [
        _score(model, metric, len(documents), *bootstrap(values.tolist(), derive(seed, metric)))
        for metric, values in measured.items()
    ]
    with ledger.phase("rollouts"):
        scores += probe_scores(model, policy, rows)
    scores += duration_scores(model, boundaries)
    scores += truth_scores(model, policy, documents, rows, boundaries, seed)
    steps = rows.num_steps
    gain = step_sums(logp, rows.step, steps) - step_sums(without * plain.expert, plain.step, steps)
    return Results(scores=scores, curves=gain_curves(model, documents, boundaries, gain, seed))


def gain_curves(
    model: str, documents: Sequence[EncodedDocument], boundaries: Boundaries, gain: Tensor, seed: int
) -> dict[str, list[CurvePoint]]:
    """Embedded worlds only, by chain length: nats that a latent at a true boundary gains to the next boundary.

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
        CurvePoint(model, length, *bootstrap(values, derive(seed, "gain", length)))
        for length, values in sorted(gained.items())
    ]
    return {"latent_gain_by_chain": points} if points else {}


def probe_scores(model: str, policy: Policy, rows: Rows) -> list[Score]:
    """Share of the latents whose code changes when another one of the document takes their place, and when they are
    deleted; a score only where there is a latent to swap, or to delete."""
    changed = code_changes(policy, rows)
    found = (("swap_changes_code", changed.swapped), ("delete_changes_code", changed.deleted))
    return [
        _score(model, metric, len(changes), *wilson(sum(changes), len(changes))) for metric, changes in found if changes
    ]


def duration_scores(model: str, boundaries: Boundaries) -> list[Score]:
    """Mean number of steps tau that a latent covers, and what it makes of a discount: mean of DISCOUNT^tau."""
    taus = durations(boundaries.think, boundaries.exists)
    if not taus:
        return []
    measured = {"duration": mean(taus), "discount_per_intention": mean(DISCOUNT**tau for tau in taus)}
    return [_score(model, name, len(taus), value) for name, value in measured.items()]


def durations(think: Tensor, exists: Tensor) -> list[int]:
    """think, exists [B,S] -> for each latent the steps up to the next one or the end of its document."""
    found = []
    for row, length in zip(think, exists.sum(1).tolist(), strict=True):
        starts = row.nonzero()[:, 0].tolist()
        found += [end - start for start, end in zip(starts, [*starts, length][1:], strict=True)]
    return found


def truth_scores(
    model: str,
    policy: Policy,
    documents: Sequence[EncodedDocument],
    rows: Rows,
    boundaries: Boundaries,
    seed: int,
) -> list[Score]:
    """Embedded worlds only: precision, recall and F1 of the places of thought against the true boundaries, the share
    of the comments written there that are the true ones, and what the latents say about what was to be done."""
    truth_of = {r: d.document.truth for r, d in enumerate(documents) if d.document.truth}
    if not truth_of:
        return []
    known, truths = list(truth_of), list(truth_of.values())
    predicted = [set(boundaries.think[r].nonzero()[:, 0].tolist()) for r in known]
    agreement = boundary_agreement(predicted, [set(truth.boundaries) for truth in truths])
    found = [
        _score(model, f"boundary_{name}", len(known), value)
        for name, value in agreement._asdict().items()
        if name != "precision" or any(predicted)
    ]
    comments = [comment_texts(policy, rows, r, len(documents[r].step_ids)) for r in known]
    pairs = [
        (own[t], wanted)
        for own, truth in zip(comments, truths, strict=True)
        for t, wanted in zip(truth.boundaries, truth.comments, strict=True)
    ]
    written = [(comment, wanted) for comment, wanted in pairs if comment is not None]
    if written:
        right = sum(comment == wanted for comment, wanted in written)
        found.append(_score(model, "comments_right", len(written), *wilson(right, len(written))))
    return found + information_scores(model, pairs, derive(seed, "information"))


def information_scores(model: str, pairs: Sequence[tuple[str | None, str]], seed: int) -> list[Score]:
    """What the latent at a true boundary, its last word or none, says about the true one, beyond chance; `pairs` are
    (comment written or None, true comment)."""
    if not pairs:
        return []
    said = [last_word(comment or "") for comment, _ in pairs]
    found = information(said, [last_word(wanted) for _, wanted in pairs], seed)
    measured = {"latent_information": found.bits, "latent_information_share": found.share}
    return [_score(model, name, len(pairs), value) for name, value in measured.items()]


def _score(
    model: str, metric: str, count: int, mean: float, low: float | None = None, high: float | None = None
) -> Score:
    """A score on held-out text; one without an interval has its mean for both bounds."""
    return Score(model, "heldout", metric, mean, mean if low is None else low, mean if high is None else high, count)
