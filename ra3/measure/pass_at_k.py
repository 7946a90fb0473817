"""Evaluation on problems: samples -> verdicts -> unbiased pass@k with intervals, and paired comparisons."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ra3.config.settings import EvalSettings
from ra3.grading.grade import Verdict, grade, refuse_unjudged
from ra3.grading.problems import Problem
from ra3.measure.statistics import interval, paired_difference, pass_at_k, powers_of_two
from ra3.model.policy import Policy
from ra3.rollout.completions import Completion
from ra3.rollout.generate import FreeRules
from ra3.rollout.programs import attempt
from ra3.sandbox import Sandbox
from ra3.seeds import derive

Record = dict[str, Any]
"""A row of results.json."""


@dataclass(frozen=True)
class Answer:
    """One graded sample."""

    problem: Problem
    completion: str
    """What was graded."""
    verdict: Verdict
    reply: str | None = None
    """What was written, every intention as a comment; None where that is what was graded."""

    @property
    def band(self) -> str:
        """The band of the problem; "all" where a file names none."""
        return self.problem.meta.get("band", "all")

    @property
    def written(self) -> str:
        """The completion with its intentions."""
        return self.completion if self.reply is None else self.reply

    @property
    def record(self) -> Record:
        """The row of samples.jsonl; a whole program is a solution."""
        whole = self.problem.answer == "completion" and not self.problem.prompt
        form = "solution" if whole else "completion"
        verdict = {"passed": self.verdict.passed, "reason": self.verdict.reason, "cpu_s": round(self.verdict.cpu_s, 4)}
        reply = {} if self.reply is None else {"reply": self.reply}
        return {"task_id": self.problem.id, form: self.completion, **reply, **verdict}


def measures(model: str, answers: Sequence[Answer], config: EvalSettings, seed: int) -> Record:
    """Everything measured on one model: {"rows": pass@k by band, "problems": counts, "curves": by k and by chain}."""
    counts = problem_counts(model, answers)
    return {
        "rows": pass_rows(model, counts, config, seed),
        "problems": counts,
        "curves": chain_curves(model, answers, config, seed) | reach_curves(model, counts, config, seed),
    }


def sample_answers(
    policy: Policy, problems: Sequence[Problem], sandbox: Sandbox, config: EvalSettings, seed: int
) -> list[Answer]:
    """`samples` graded completions of every problem, in order."""
    rules = FreeRules(config.max_new_tokens, config.temperature, problems[0].stop)
    seeds = [derive(seed, "eval", p.id, sample) for p in problems for sample in range(config.samples)]
    done = attempt(policy, problems, config.samples, rules, seeds, sandbox)
    asked = [(problems[r // config.samples], completion) for r, completion in enumerate(done.completions)]
    return answers_of(asked, done.verdicts)


def graded(sandbox: Sandbox, attempts: Sequence[tuple[Problem, Completion]]) -> list[Answer]:
    """The answers with their verdicts, in order."""
    return answers_of(attempts, grade(sandbox, [(problem, completion.program) for problem, completion in attempts]))


def answers_of(attempts: Sequence[tuple[Problem, Completion]], verdicts: Sequence[Verdict]) -> list[Answer]:
    """Attempts and the verdicts on them as answers. SandboxError if none of them could be judged."""
    refuse_unjudged(verdicts)
    return [
        Answer(problem, program, verdict, None if reply == program else reply)
        for (problem, (program, reply)), verdict in zip(attempts, verdicts, strict=True)
    ]


def pack(answers: Sequence[Answer]) -> Record:
    """Answers as plain values for a checkpoint, without their problems."""
    graded = [(a.completion, a.verdict.passed, a.verdict.reason, a.verdict.cpu_s) for a in answers]
    return {"answers": graded, "replies": {i: a.reply for i, a in enumerate(answers) if a.reply is not None}}


def unpack(packed: Record, problems: Sequence[Problem]) -> list[Answer]:
    """The inverse of `pack`: equally many answers to each problem, in order."""
    each = len(packed["answers"]) // len(problems)
    return [
        Answer(problems[i // each], completion, Verdict(passed, reason, cpu_s), packed.get("replies", {}).get(i))
        for i, (completion, passed, reason, cpu_s) in enumerate(packed["answers"])
    ]


def problem_counts(model: str, answers: Sequence[Answer]) -> list[Record]:
    """One record per problem: `judged` samples, how many of them `passed`, and how often each reason was given; what
    could not be judged counts among the reasons alone."""
    records = []
    for problem, own in grouped(answers, lambda a: a.problem.id).items():
        judged = [a.verdict.passed for a in own if a.verdict.passed is not None]
        record = {"model": model, "band": own[0].band, "id": problem, "judged": len(judged), "passed": sum(judged)}
        records.append({**record, "reasons": dict(Counter(a.verdict.reason for a in own))})
    return records


def pass_rows(model: str, counts: Sequence[Record], config: EvalSettings, seed: int) -> list[Record]:
    """pass@k per band: mean over problems with its interval. A problem with fewer than k judged samples has no pass@k
    and is not among the `problems` of the row."""
    rows = []
    for band, own in grouped(counts, lambda c: c["band"]).items():
        for k in config.k:
            scores = [pass_at_k(c["judged"], c["passed"], k) for c in own if c["judged"] >= k]
            if scores:
                found = interval(scores, derive(seed, "interval", band, k), config.confidence)
                place = {"model": model, "band": band, "metric": f"pass@{k}"}
                samples = max(c["judged"] for c in own)
                rows.append({**place, **found._asdict(), "problems": len(scores), "samples": samples})
    return rows


def reach_curves(model: str, counts: Sequence[Record], config: EvalSettings, seed: int) -> dict[str, list[Record]]:
    """pass@k by k, for k = 1, 2, 4, ... up to the samples that every problem of the band has: what is reachable."""
    curves = {}
    for band, own in grouped(counts, lambda c: c["band"]).items():
        ks = powers_of_two(min(c["judged"] for c in own))
        scores = {k: [pass_at_k(c["judged"], c["passed"], k) for c in own] for k in ks}
        found = {k: interval(scores[k], derive(seed, "interval", band, k), config.confidence) for k in ks}
        curves[f"pass_on_{band}_by_k"] = [{"model": model, "x": k, **found[k]._asdict()} for k in ks]
    return curves


def paired_rows(a: Sequence[Record], b: Sequence[Record], config: EvalSettings, seed: int) -> list[Record]:
    """Differences a - b of pass@1 per band, from the counts of two models on the same problems."""
    rows = []
    second = grouped(b, lambda c: c["band"])
    for band, first in grouped(a, lambda c: c["band"]).items():
        shares = [{c["id"]: c["passed"] / c["judged"] for c in own if c["judged"]} for own in (first, second[band])]
        shared = sorted(shares[0].keys() & shares[1].keys())
        values = [[share[name] for name in shared] for share in shares]
        found = paired_difference(values[0], values[1], derive(seed, "paired", band), config.confidence)
        names = {"a": first[0]["model"], "b": second[band][0]["model"]}
        rows.append({**names, "band": band, "metric": "pass@1", **found._asdict()})
    return rows


def chain_curves(model: str, answers: Sequence[Answer], config: EvalSettings, seed: int) -> dict[str, list[Record]]:
    """Embedded worlds only, by chain length: how often an intention comes first, whether it is right, the pass rate."""
    curves: dict[str, list[Record]] = {"think_rate_by_chain": [], "comment_right_by_chain": [], "pass_by_chain": []}
    known = [a for a in answers if "intention" in a.problem.meta]
    for length, own in sorted(grouped(known, lambda a: a.problem.meta["chain_length"]).items()):
        judged = [a for a in own if a.verdict.passed is not None]
        measured = {
            "think_rate_by_chain": shares_by_problem(own, thinks_first),
            "comment_right_by_chain": shares_by_problem([a for a in own if thinks_first(a)], comment_is_right),
            "pass_by_chain": shares_by_problem(judged, lambda a: bool(a.verdict.passed)),
        }
        for name, scores in measured.items():
            if scores:
                found = interval(scores, derive(seed, name, length), config.confidence)
                curves[name].append({"model": model, "x": length, **found._asdict()})
    return curves


def thinks_first(answer: Answer) -> bool:
    """The completion opens with an intention."""
    return answer.written.startswith("#")


def comment_is_right(answer: Answer) -> bool:
    """The first line is the problem's true intention."""
    return answer.written.split("\n", 1)[0] == answer.problem.meta["intention"]


def shares_by_problem(answers: Sequence[Answer], holds: Callable[[Answer], bool]) -> list[float]:
    """For each problem the share of its answers for which something holds."""
    return [sum(map(holds, own)) / len(own) for own in grouped(answers, lambda a: a.problem.id).values()]


def grouped(items: Sequence[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    """The items by key, keys and items in order of appearance."""
    groups: dict[Any, list[Any]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups
