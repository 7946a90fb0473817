"""What the latents are worth on held-out text: likelihood with and without them, their places, their truth."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log
from statistics import mean

from torch import Tensor

from ra3.config.settings import UpdateSettings
from ra3.data.latents import EncodedDocument
from ra3.em.annotate import comment_texts, text_record
from ra3.measure.counterfactuals import code_changes
from ra3.measure.latent_index import last_word
from ra3.measure.statistics import Interval, bootstrap, boundary_agreement, information, wilson
from ra3.model.action_spaces import TokenScores, step_logp
from ra3.model.policy import Policy
from ra3.model.update import sampling_cost, score, scoring_cost
from ra3.rl.credit import Boundaries, step_sums
from ra3.rollout.interleave import LatentRules, expert_rows, interleave
from ra3.rows import Rows
from ra3.run.ledger import Ledger
from ra3.run.results import AnnotatedCode, CurvePoint, Results, Score
from ra3.seeds import derive

DISCOUNT = 0.95
"""Per step, to say what latents make of a horizon: the mean of DISCOUNT^tau over the steps tau that each covers."""
MAX_CODES = 500
"""Documents that are kept with the latents that a model wrote into them, for the report."""
Measure = tuple[str, int, Interval]
"""Metric, how many documents or latents it is of, and its value."""


def measure_heldout(
    model: str, policy: Policy, documents: Sequence[EncodedDocument], max_latent_tokens: int, update: UpdateSettings,
    seed: int, ledger: Ledger | None = None,
) -> Results:  # fmt: skip
    """Measures one model on held-out text.

    Nats per expert token without latents and given sampled ones, and the think rate, each a mean over documents; share
    of the latents whose code changes when another one of the document takes their place, and when they are deleted;
    how many steps a latent covers; for an embedded world also, do they agree with the true boundaries and chains.
    """
    ledger = ledger or Ledger()

    def scored(rows: Rows) -> TokenScores:
        with ledger.phase("scoring", **scoring_cost(policy, rows, rows.expert)):
            return score(policy, rows, rows.expert, update.micro_batch_tokens)

    plain, seeds = expert_rows(policy, documents), [derive(seed, "heldout", d.id) for d in documents]
    with ledger.phase("rollouts"):
        rows = interleave(policy, documents, 1, LatentRules(max_latent_tokens), seeds)
        ledger.count(**sampling_cost(policy, rows))
    boundaries = Boundaries.of(rows, policy.spaces)
    without, given = scored(plain).logp, scored(rows)
    logp, tokens = step_logp(given.logp, given.logp_action, rows), plain.expert.sum(1)
    means = {
        "nll_per_token": -without.sum(1) / tokens,
        "nll_per_token_given_latents": -logp.sum(1) / tokens,
        "think_rate": boundaries.think.sum(1) / boundaries.decided.sum(1).clamp(min=1),
    }
    found = [(name, len(documents), bootstrap(own.tolist(), derive(seed, name))) for name, own in means.items()]
    with ledger.phase("rollouts"):
        changed = code_changes(policy, rows)
    probes = (("swap_changes_code", changed.swapped), ("delete_changes_code", changed.deleted))
    found += [(name, len(own), wilson(sum(own), len(own))) for name, own in probes if own]
    if taus := durations(boundaries.think, boundaries.exists):
        found += [
            ("duration", len(taus), exactly(mean(taus))),
            ("discount_per_intention", len(taus), exactly(mean(DISCOUNT**tau for tau in taus))),
        ]
    found += truth_measures(policy, documents, rows, boundaries, seed)
    steps = rows.num_steps
    gain = step_sums(logp, rows.step, steps) - step_sums(without * plain.expert, plain.step, steps)
    scores = [Score(model, "heldout", name, *measured, problems=count) for name, count, measured in found]
    curves = gain_curves(model, documents, boundaries, gain, seed)
    return Results(scores=scores, curves=curves, codes=annotated_codes(model, policy, documents, rows, gain))


def annotated_codes(
    model: str, policy: Policy, documents: Sequence[EncodedDocument], rows: Rows, gain: Tensor
) -> list[AnnotatedCode]:
    """The first MAX_CODES documents into which the model wrote, and where it wrote into fewer, the first others.

    gain [B,S] is each step's log-likelihood given the latents minus that without any, in nats.
    """
    written = rows.latent.any(1).tolist()
    found = []
    for r in sorted(range(len(documents)), key=lambda r: not written[r])[:MAX_CODES]:
        comments = comment_texts(policy, rows, r, len(documents[r].step_ids))
        record = text_record(documents[r].document, documents[r].placed(comments))
        starts = [t for t, comment in enumerate(comments) if comment is not None]
        bits = [float(gain[r, a:b].sum()) / log(2) for a, b in pairwise([*starts, len(comments)])]
        found.append(AnnotatedCode(model, record["id"], record["text"], record["latents"], bits, record["context"]))
    return found


def exactly(value: float) -> Interval:
    """A number without an interval, which has itself for both bounds."""
    return Interval(value, value, value)


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


def durations(think: Tensor, exists: Tensor) -> list[int]:
    """think, exists [B,S] -> for each latent the steps up to the next one or the end of its document."""
    found = []
    for row, length in zip(think, exists.sum(1).tolist(), strict=True):
        starts = row.nonzero()[:, 0].tolist()
        found += [end - start for start, end in zip(starts, [*starts, length][1:], strict=True)]
    return found


def truth_measures(
    policy: Policy, documents: Sequence[EncodedDocument], rows: Rows, boundaries: Boundaries, seed: int
) -> list[Measure]:
    """Embedded worlds only: precision, recall and F1 of the places of thought against the true boundaries, the share
    of the comments written there that are the true ones, and what the latents say about what was to be done."""
    truth_of = {r: d.document.truth for r, d in enumerate(documents) if d.document.truth}
    if not truth_of:
        return []
    predicted = [set(boundaries.think[r].nonzero()[:, 0].tolist()) for r in truth_of]
    agreement = boundary_agreement(predicted, [set(truth.boundaries) for truth in truth_of.values()])
    agreed = agreement._asdict() if any(predicted) else {"recall": agreement.recall, "f1": agreement.f1}
    found = [(f"boundary_{name}", len(truth_of), exactly(value)) for name, value in agreed.items()]
    pairs = []
    for r, truth in truth_of.items():
        comments = comment_texts(policy, rows, r, len(documents[r].step_ids))
        pairs += [(comments[t], wanted) for t, wanted in zip(truth.boundaries, truth.comments, strict=True)]
    if written := [comment == wanted for comment, wanted in pairs if comment is not None]:
        found.append(("comments_right", len(written), wilson(sum(written), len(written))))
    if pairs:  # what the last word of a latent, or none, says about the last of the true one
        said, wanted = ([last_word(comment or "") for comment in side] for side in zip(*pairs, strict=True))
        bits, share = information(said, wanted, derive(seed, "information"))
        found.append(("latent_information", len(pairs), exactly(bits)))
        found.append(("latent_information_share", len(pairs), exactly(share)))
    return found
