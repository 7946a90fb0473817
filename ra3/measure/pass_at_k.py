"""Evaluation on problems: graded answers -> unbiased pass@k with intervals, curves, and paired comparisons."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import mean
from typing import Any, TypeVar

from ra3.config.settings import EvalSettings
from ra3.grading.grade import Verdict
from ra3.grading.problems import Problem
from ra3.measure.statistics import interval, paired_difference, pass_at_k
from ra3.run.results import CurvePoint, Difference, ProblemCount, Results, Score
from ra3.seeds import derive

Item = TypeVar("Item")


@dataclass(frozen=True)
class Answer:
    """One graded sample."""

    problem: Problem
    completion: str  # what was graded
    verdict: Verdict
    reply: str | None = None  # what was written, every latent as a comment; None where that is what was graded

    @property
    def written(self) -> str:
        """The completion with its latents."""
        return self.completion if self.reply is None else self.reply

    def to_json(self) -> dict[str, Any]:
        """The line of samples.jsonl; a whole program is a solution."""
        whole = self.problem.answer == "completion" and not self.problem.prompt
        form = "solution" if whole else "completion"
        verdict = {"passed": self.verdict.passed, "reason": self.verdict.reason, "cpu_s": round(self.verdict.cpu_s, 4)}
        reply = {} if self.reply is None else {"reply": self.reply}
        return {"task_id": self.problem.id, form: self.completion, **reply, **verdict}


def latent_is_right(answer: Answer) -> bool:
    """Whether the first line is the problem's true latent."""
    return first_line(answer) == answer.problem.meta["intention"]


def first_line(answer: Answer) -> str:
    """The first line of what was written, without its indentation."""
    return answer.written.partition("\n")[0].strip()


CHAIN_CURVES: dict[str, Callable[[Answer], bool | None]] = {
    "think_rate_by_chain": lambda a: first_line(a).startswith("#"),
    "comment_right_by_chain": lambda a: latent_is_right(a) if first_line(a).startswith("#") else None,
    "pass_by_chain": lambda a: bool(a.verdict.passed),
}
"""What is said of an answer; None leaves it out."""


def pack(answers: Sequence[Answer]) -> dict[str, Any]:
    """Answers as plain values for a checkpoint, without their problems."""
    graded = [(a.completion, a.verdict.passed, a.verdict.reason, a.verdict.cpu_s) for a in answers]
    return {"answers": graded, "replies": {i: a.reply for i, a in enumerate(answers) if a.reply is not None}}


def unpack(packed: dict[str, Any], problems: Sequence[Problem]) -> list[Answer]:
    """The inverse of `pack`: equally many answers to each problem, in order."""
    each = len(packed["answers"]) // len(problems)
    return [
        Answer(problems[i // each], completion, Verdict(passed, reason, cpu_s), packed["replies"].get(i))
        for i, (completion, passed, reason, cpu_s) in enumerate(packed["answers"])
    ]


def measure_answers(model: str, answers: Sequence[Answer], settings: EvalSettings, seed: int) -> Results:
    """Everything measured on one model: pass@k by band, counts by problem, curves by k and by chain length."""
    counts = problem_counts(model, answers)
    curves = chain_curves(model, answers, seed) | reach_curves(model, counts, seed)
    return Results(scores=pass_scores(model, counts, settings.k, seed), problems=counts, curves=curves)


def problem_counts(model: str, answers: Sequence[Answer]) -> list[ProblemCount]:
    """Counts one problem's verdicts each; what could not be judged counts among the reasons alone."""
    found = []
    for problem, own in grouped(answers, lambda a: a.problem.id).items():
        judged = [a.verdict.passed for a in own if a.verdict.passed is not None]
        reasons = dict(Counter(a.verdict.reason for a in own))
        found.append(ProblemCount(model, own[0].problem.band, problem, len(judged), sum(judged), reasons))
    return found


def pass_scores(model: str, counts: Sequence[ProblemCount], ks: Iterable[int], seed: int) -> list[Score]:
    """pass@k per band: mean over problems with its interval. A problem with fewer than k samples has no pass@k and is
    not among the `problems` of the score. Samples without a verdict count as failed: the score is a bound from below,
    and its interval ends where that of the bound from above does."""
    found = []
    for band, own in grouped(counts, lambda c: c.band).items():
        samples, unjudged = max(c.judged + c.unjudged for c in own), sum(c.unjudged for c in own)
        for k in ks:
            asked = [(c.judged + c.unjudged, c) for c in own if c.judged + c.unjudged >= k]
            least, most = ([pass_at_k(n, c.passed + u * c.unjudged, k) for n, c in asked] for u in (0, 1))
            if asked:
                place = derive(seed, "interval", band, k)
                (mean, low, high), bound = interval(least, place), interval(most, place)
                high, top = (bound.high, bound.mean) if unjudged else (high, math.nan)
                found.append(Score(model, band, f"pass@{k}", mean, low, high, len(asked), samples, unjudged, top))
    return found


def reach_curves(model: str, counts: Sequence[ProblemCount], seed: int) -> dict[str, list[CurvePoint]]:
    """pass@k by k, for k = 1, 2, 4, ... up to the samples that every problem of the band has: what is reachable."""
    curves = {}
    for band, own in grouped(counts, lambda c: c.band).items():
        ks = [2**i for i in range(min(c.judged + c.unjudged for c in own).bit_length())]
        scores = pass_scores(model, own, ks, seed)
        curves[f"pass_on_{band}_by_k"] = [
            CurvePoint(model, k, s.mean, s.low, s.high) for k, s in zip(ks, scores, strict=True)
        ]
    return curves


def paired_differences(a: Sequence[ProblemCount], b: Sequence[ProblemCount], seed: int) -> list[Difference]:
    """Differences a - b of pass@1 per band, from the counts of two models on the same problems, those that have every
    verdict of both."""
    found = []
    second = grouped(b, lambda c: c.band)
    for band, first in grouped(a, lambda c: c.band).items():
        whole = ([c for c in own if c.judged and not c.unjudged] for own in (first, second[band]))
        one, other = ({c.id: c.passed / c.judged for c in own} for own in whole)
        shared = sorted(one.keys() & other.keys())
        own_seed = derive(seed, "paired", band)
        gap = paired_difference([one[name] for name in shared], [other[name] for name in shared], own_seed)
        found.append(Difference(first[0].model, second[band][0].model, band, "pass@1", *gap))
    return found


def chain_curves(model: str, answers: Sequence[Answer], seed: int) -> dict[str, list[CurvePoint]]:
    """Embedded worlds only, by chain length: how often a latent comes first, whether it is right, the pass rate."""
    known = [a for a in answers if "intention" in a.problem.meta]
    by_length = sorted(grouped(known, lambda a: a.problem.meta["chain_length"]).items())
    curves: dict[str, list[CurvePoint]] = {name: [] for name in CHAIN_CURVES}
    for (length, own), (name, holds) in product(by_length, CHAIN_CURVES.items()):
        found = grouped([(a.problem.id, held) for a in own if (held := holds(a)) is not None], lambda item: item[0])
        if values := [mean(held for _, held in answered) for answered in found.values()]:
            curves[name].append(CurvePoint(model, length, *interval(values, derive(seed, name, length))))
    return curves


def grouped(items: Iterable[Item], key: Callable[[Item], Any]) -> dict[Any, list[Item]]:
    """The items by key, keys and items in order of appearance."""
    groups: dict[Any, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
