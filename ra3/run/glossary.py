"""What every metric means, how it reads when all is well and when it is not, and when that is said aloud."""

from __future__ import annotations

import math
from typing import NamedTuple


class Alarm(NamedTuple):
    """When a metric is sick: above or below a bound, or below a share of its first value above 0."""

    above: float = math.inf
    below: float = -math.inf
    below_first: float = 0.0
    stage: str = ""
    """The only stage in which that is sick; any if empty."""
    patience: int = 3
    """Steps in a row for which it must hold."""


class Meaning(NamedTuple):
    """One row of the glossary."""

    meaning: str
    healthy: str
    sick: str
    alarm: Alarm | None = None


GLOSSARY: dict[str, Meaning] = {
    "elbo": Meaning(
        "E-step: mean over rollouts of log-likelihood of the expert's steps minus the price of the intentions, per "
        "document, nats. With the exact prior and summed likelihoods, a lower bound on the document's log-likelihood.",
        "rises in the first updates, then flattens",
        "falls: the comments mislead the model, or the learning rate is too high",
    ),
    "return": Meaning(
        "E-step: mean over boundaries of the discounted sum of rewards within the horizon: what the gradient raises.",
        "rises together with elbo",
        "rises while elbo falls: the horizon or gamma hides the cost of an intention",
    ),
    "reward": Meaning(
        "Mean reward of the rollouts before any baseline (E-step: per boundary, nats; RLVR: share of passed programs).",
        "rises",
        "flat from the first step, or jumps to its maximum at once (then read the rollouts: a hole in the grader?)",
    ),
    "switch_penalty": Meaning(
        "E-step: the price c of opening an intention, nats. Moves only if a target think rate is set.",
        "settles",
        "drifts to a bound: the target think rate cannot be reached",
    ),
    "think_rate": Meaning(
        "Share of boundaries at which the policy opens an intention.",
        "between 0.05 and 0.95, higher where intentions help",
        "0: intentions have died out, and RA3 becomes plain next-token prediction (lower switch_penalty, or set "
        "think_floor for the first updates); 1: every line gets one, none is selective (raise switch_penalty)",
        Alarm(above=0.999, below=0.001, stage="estep"),
    ),
    "option_duration": Meaning(
        "Mean number of steps an intention covers, up to the next one or the end of the document.",
        "above 1, near the length of the idioms in the corpus",
        "1: every line its own intention; the document's length: one intention for everything",
    ),
    "comment_tokens": Meaning(
        "Mean length of an intention in tokens, without the comment sign and the line end.",
        "short and steady",
        "shrinks towards 0: the reward pays for opening an intention, not for what it says (lower learning_rate or "
        "raise switch_penalty); sits at max_latent_tokens: comments do not end",
        Alarm(below_first=0.25),
    ),
    "copy_rate": Meaning(
        "Share of intentions that repeat the line they announce.",
        "near 0",
        "above 0.5: they say what the code says anyway (raise switch_penalty, or lengthen horizon so that an intention "
        "must last)",
        Alarm(above=0.5),
    ),
    "echo_rate": Meaning(
        "Share of intentions that repeat the line before them.",
        "near 0",
        "above 0.5: they look back, not ahead (raise switch_penalty, or lengthen horizon so that an intention must "
        "last)",
        Alarm(above=0.5),
    ),
    "latent_gain": Meaning(
        "expert_nll_act - expert_nll: what the intentions save, nats per expert token.",
        "positive, rising in the E-step",
        "negative: a wrong comment costs more than none",
    ),
    "expert_nll": Meaning(
        "Cross-entropy of the expert's tokens with the intentions written in, nats per token.",
        "falls; comparable between methods, since comment tokens are not counted",
        "falls while expert_nll_act rises: the model leans on comments that it may not write when it counts",
    ),
    "expert_nll_act": Meaning(
        "Cross-entropy of the expert's tokens without any intention, nats per token.",
        "falls or stays",
        "rises: training on comments wrecks the prediction of plain code",
    ),
    "nll_total": Meaning(
        "M-step: cross-entropy of all trained tokens, comments included. Not comparable between methods.",
        "falls",
        "rises, or NaN",
    ),
    "loss": Meaning("The number that is differentiated.", "finite; for RL its size means little", "NaN, or explodes"),
    "entropy": Meaning(
        "Mean entropy of the policy where it chose, nats per token.",
        "falls slowly",
        "near 0 early: the policy no longer explores (lower the learning rate or raise clip_high); rises steadily: it "
        "unlearns",
        Alarm(below_first=0.1),
    ),
    "advantage_std": Meaning(
        "Spread of the advantages over the batch.",
        "clearly above 0",
        "0: every rollout scored like its group, no signal",
    ),
    "dead_groups": Meaning(
        "Share of groups whose rollouts all got the same reward and so teach nothing.",
        "below 0.5",
        "above 0.9: in nearly all groups the rollouts score alike, so there is almost nothing to learn from; problems "
        "are all too easy or all too hard, or samples hardly differ",
        Alarm(above=0.9),
    ),
    "refilled": Meaning(
        "RLVR: groups without signal whose place another problem took (`rlvr.refills`).",
        "below `batch_problems`",
        "several times `batch_problems`: most sampling is for nothing, choose other problems",
    ),
    "clip_share": Meaning(
        "Share of chosen tokens whose ratio was clipped.", "below 0.2", "above 0.5: the learning rate is too high"
    ),
    "logp_gap_max": Meaning(
        "Largest difference between a token's log-probability at sampling and at scoring, same weights.",
        "below 1e-5 in float32, below 1e-2 in bfloat16",
        "above 1e-3 in float32: sampling and training disagree about the policy, so the gradient is biased",
        Alarm(above=1e-3, patience=1),
    ),
    "grad_norm": Meaning("Norm of the gradient before clipping.", "steady", "spikes that coincide with worse rewards"),
    "learning_rate": Meaning("Step size of this update.", "follows its schedule", "0 before the last step"),
    "pass_rate": Meaning(
        "RLVR: share of sampled programs that passed all tests; infra failures are left out.",
        "rises",
        "0 or 1 from the start: the problems are outside the edge of competence",
    ),
    "truncated": Meaning(
        "Share of samples cut by the token limit.",
        "near 0",
        "above 0.5: they are cut by the token limit and cannot pass (raise max_new_tokens)",
        Alarm(above=0.5),
    ),
    "infra": Meaning(
        "Share of programs that the sandbox could not judge; they are masked, neither right nor wrong.",
        "0",
        "above 0.01: the machine is overloaded or the sandbox is broken",
    ),
    "tokens_generated": Meaning("Tokens sampled in this step.", "steady", "grows without a rise in reward"),
    "tokens_trained": Meaning(
        "Tokens in this step's forward and backward passes.", "steady", "0: everything was masked"
    ),
}


def markdown() -> str:
    """The glossary as the page docs/metrics.md."""
    rows = (f"| `{key}` | {m.meaning} | {m.healthy} | {m.sick} |\n" for key, m in GLOSSARY.items())
    return PAGE + "".join(rows)


PAGE = """\
# Metrics

Every key of `metrics.jsonl`, as the report's glossary explains it. A line also has `stage` (`estep`, `mstep` or
`rlvr`), `round` (of EM, from 0) and `step` (from 0). Wall-clock times are in `ledger.jsonl`, so that the same seed
gives the same `metrics.jsonl`. This page is made from `ra3/run/glossary.py`, and `tests/test_docs.py` compares the two:

    .venv/bin/python -c "from ra3.run.glossary import markdown; print(markdown(), end='')" > docs/metrics.md

| Key | Meaning | Healthy | Sick |
|---|---|---|---|
"""
