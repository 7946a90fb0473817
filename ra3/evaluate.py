"""Evaluation: samples -> verdicts -> unbiased pass@k with intervals; and what the latents are worth on held-out text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ra3.actions import expert_logp
from ra3.annotate import comment_texts
from ra3.completions import completion_texts, encode_prompts
from ra3.latents import EncodedDocument
from ra3.policy import Policy
from ra3.problems import Problem
from ra3.rollouts import Boundaries
from ra3.sampler import FreeRules, LatentRules, expert_rows, generate, interleave
from ra3.sandbox import Sandbox
from ra3.sandbox.grade import Verdict, grade
from ra3.seeds import derive
from ra3.settings import Eval, Update
from ra3.statistics import Interval, boundary_agreement, bootstrap, interval, pass_at_k
from ra3.update import score


@dataclass(frozen=True)
class Answer:
    """One graded sample."""

    problem: Problem
    completion: str
    verdict: Verdict


def sample_answers(
    policy: Policy, problems: Sequence[Problem], sandbox: Sandbox, config: Eval, seed: int
) -> list[Answer]:
    """`samples` graded completions of every problem, in order."""
    rules = FreeRules(config.max_new_tokens, config.temperature, problems[0].stop)
    seeds = [derive(seed, "eval", p.id, sample) for p in problems for sample in range(config.samples)]
    rows = generate(policy, encode_prompts(policy, problems), config.samples, rules, seeds)
    pairs = [
        (problems[r // config.samples], text) for r, text in enumerate(completion_texts(policy, rows, rules.stop))
    ]
    verdicts = grade(sandbox, pairs)
    return [Answer(problem, text, verdict) for (problem, text), verdict in zip(pairs, verdicts, strict=True)]


def pass_rows(model: str, answers: Sequence[Answer], config: Eval, seed: int) -> list[dict[str, Any]]:
    """Result rows: pass@k per band, mean over problems with its interval. Samples that no sandbox could judge are left
    out of n; a problem with fewer than k judged samples is left out of pass@k and counted in `problems`."""
    rows = []
    for band, own in _grouped(answers, lambda a: a.problem.meta.get("band", "all")).items():
        counts = [_count(samples) for samples in _grouped(own, lambda a: a.problem.id).values()]
        for k in config.k:
            scores = [pass_at_k(n, c, k) for n, c in counts if n >= k]
            if scores:
                found = interval(scores, derive(seed, "interval", band, k), config.confidence)
                rows.append(_row(model, band, f"pass@{k}", found, len(scores)) | {"samples": config.samples})
    return rows


def chain_curves(model: str, answers: Sequence[Answer], config: Eval, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Embedded world only, by chain length: how often an intention is written first, whether it is right, pass rate."""
    known = [a for a in answers if "chain" in a.problem.meta]
    curves: dict[str, list[dict[str, Any]]] = {"think_rate_by_chain": [], "comment_right_by_chain": [], "pass_by_chain": []}
    for length, own in sorted(_grouped(known, lambda a: a.problem.meta["chain_length"]).items()):
        thought = [a for a in own if a.completion.startswith("#")]
        measured = {
            "think_rate_by_chain": _by_problem(own, lambda a: a.completion.startswith("#")),
            "comment_right_by_chain": _by_problem(thought, comment_is_right),
            "pass_by_chain": _by_problem([a for a in own if a.verdict.passed is not None], lambda a: a.verdict.passed),
        }
        for name, scores in measured.items():
            if scores:
                found = interval(scores, derive(seed, name, length), config.confidence)
                curves[name].append({"model": model, "x": length, **found._asdict()})
    return curves


def comment_is_right(answer: Answer) -> bool:
    """The first line spells out the problem's chain after its head."""
    return answer.completion.split("\n", 1)[0] == "# " + " ".join(answer.problem.meta["chain"][1:])


def heldout_rows(
    model: str, policy: Policy, documents: Sequence[EncodedDocument], max_latent_tokens: int, config: Eval, update: Update,
    seed: int,
) -> list[dict[str, Any]]:
    """Held-out text: nats per expert token without latents and with sampled ones, think rate, and, where the true
    boundaries are known, precision, recall and F1 of the places at which the policy thinks."""
    plain = expert_rows(policy, documents)
    seeds = [derive(seed, "heldout", d.document.id) for d in documents]
    rows = interleave(policy, documents, 1, LatentRules(max_latent_tokens), seeds)
    boundaries = Boundaries.of(rows, policy.syntax.newline_id)
    without = score(policy, plain, plain.expert, update.micro_batch_tokens)
    given = score(policy, rows, rows.expert, update.micro_batch_tokens)
    logp = expert_logp(given.logp, given.logp_act, rows.space, rows.act, rows.expert)
    tokens = plain.expert.sum(1)
    measured = {
        "nll_per_token": -without.logp.sum(1) / tokens,
        "nll_per_token_given_latents": -logp.sum(1) / tokens,
        "think_rate": boundaries.think.sum(1) / boundaries.decided.sum(1).clamp(min=1),
    }
    out = [_mean_row(model, name, values.tolist(), config, seed) for name, values in measured.items()]
    return out + _boundary_rows(model, documents, boundaries)


def intention_rows(model: str, policy: Policy, documents: Sequence[EncodedDocument], rows: Any) -> list[dict[str, Any]]:
    """Embedded world only: share of the comments at true boundaries that spell out the true chain."""
    right, written = 0, 0
    for r, document in enumerate(documents):
        truth = document.document.truth or {}
        comments = comment_texts(policy, rows, r, len(document.step_ids))
        for boundary, comment in zip(truth.get("boundaries", ()), truth.get("comments", ()), strict=True):
            written += comments[boundary] is not None
            right += comments[boundary] == comment
    mean = right / max(written, 1)
    return [_row(model, "heldout", "comments_right", Interval(mean, mean, mean), written)] if written else []


def _boundary_rows(
    model: str, documents: Sequence[EncodedDocument], boundaries: Boundaries
) -> list[dict[str, Any]]:
    known = [r for r, d in enumerate(documents) if d.document.truth]
    if not known:
        return []
    predicted = [set(boundaries.think[r].nonzero()[:, 0].tolist()) for r in known]
    true = [set((documents[r].document.truth or {})["boundaries"]) for r in known]
    agreement = boundary_agreement(predicted, true)
    return [
        _row(model, "heldout", f"boundary_{name}", Interval(value, value, value), len(known))
        for name, value in agreement._asdict().items()
    ]


def _mean_row(model: str, metric: str, values: Sequence[float], config: Eval, seed: int) -> dict[str, Any]:
    found = bootstrap(values, derive(seed, metric), config.confidence)
    return _row(model, "heldout", metric, found, len(values))


def _row(model: str, band: str, metric: str, found: Interval, count: int) -> dict[str, Any]:
    return {"model": model, "band": band, "metric": metric, **found._asdict(), "problems": count}


def _count(answers: Sequence[Answer]) -> tuple[int, int]:
    """(judged samples, passed samples) of one problem."""
    judged = [a.verdict.passed for a in answers if a.verdict.passed is not None]
    return len(judged), sum(judged)


def _grouped(items: Sequence[Any], key) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def _by_problem(answers: Sequence[Answer], holds) -> list[float]:
    return [
        sum(map(bool, map(holds, own))) / len(own) for own in _grouped(answers, lambda a: a.problem.id).values()
    ]
