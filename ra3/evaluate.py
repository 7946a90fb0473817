"""Evaluation: problems -> sampled programs -> verdicts -> pass@k with intervals. Each part is saved when graded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence

from ra3.config.settings import EvalSettings
from ra3.errors import UserError
from ra3.grading.grade import Verdict, grade
from ra3.grading.problems import Problem
from ra3.measure.pass_at_k import Answer, measure_answers, pack, unpack
from ra3.model.policy import Policy
from ra3.rl.solve import attempted
from ra3.rollout.generate import MAX_SAMPLED_ROWS
from ra3.rollout.programs import Completion
from ra3.run.files import write_atomic
from ra3.run.recorder import Recorder
from ra3.run.results import Results
from ra3.sandbox import Sandbox
from ra3.seeds import derive

MOST_UNJUDGED = 0.01
"""Share of a part's samples that may lack a verdict; the score is then a bound, and said to be one."""


def evaluate(
    recorder: Recorder, model: str, policy: Policy, problems: Sequence[Problem], sandbox: Sandbox,
    settings: EvalSettings, seed: int,
) -> Results:  # fmt: skip
    """Measures `policy`, called `model` in the results, on the problems."""
    seed, at_once = derive(seed, "evaluate"), max(1, MAX_SAMPLED_ROWS // settings.samples)

    def answer(part: slice) -> list[Answer]:
        written = attempted(recorder, policy, problems[part], sandbox, settings, seed, "eval")
        asked = [problem for problem in problems[part] for _ in range(settings.samples)]
        return answers_of(zip(asked, written.completions, strict=True), written.verdicts)

    return measure_answers(model, answered(recorder, model, problems, at_once, answer), settings, seed)


def evaluate_samples(
    recorder: Recorder, model: str, attempts: Sequence[tuple[Problem, Completion]], sandbox: Sandbox,
    settings: EvalSettings, seed: int,
) -> Results:  # fmt: skip
    """Measures completions that were written elsewhere."""

    def grade_part(part: slice) -> list[Answer]:
        with recorder.phase("grading"):
            verdicts = grade(sandbox, [(problem, completion.program) for problem, completion in attempts[part]])
        return answers_of(attempts[part], verdicts)

    asked = [problem for problem, _ in attempts]
    answers = answered(recorder, model, asked, MAX_SAMPLED_ROWS, grade_part)
    return measure_answers(model, answers, settings, derive(seed, "evaluate"))


def answers_of(attempts: Iterable[tuple[Problem, Completion]], verdicts: Sequence[Verdict]) -> list[Answer]:
    """Attempts and the verdicts on them as answers."""
    return [
        Answer(problem, program, verdict, None if reply == program else reply)
        for (problem, (program, reply)), verdict in zip(attempts, verdicts, strict=True)
    ]


def refuse_bounds_far_apart(unjudged: int, samples: int) -> None:
    """UserError where more than MOST_UNJUDGED of the samples have no verdict: their score would say too little."""
    if unjudged > MOST_UNJUDGED * samples:
        what = f"{unjudged} of {samples} programs could not be judged, so their score is unknown"
        fix = "give the sandbox more of the machine (fewer sandbox.workers), then go on with --resume: they run again"
        raise UserError(what, "evaluation", f"at most {MOST_UNJUDGED:.0%} without a verdict", fix)


def answered(
    recorder: Recorder, model: str, problems: Sequence[Problem], size: int, answer: Callable[[slice], list[Answer]]
) -> list[Answer]:
    """The answers to all problems, `size` of them at a time, shown as they come and written to samples.jsonl."""
    parts = [slice(start, start + size) for start in range(0, len(problems), size)]

    def compute(number: int) -> dict:
        own = answer(parts[number])
        passed, unjudged = ([a.verdict.passed for a in own].count(what) for what in (True, None))
        refuse_bounds_far_apart(unjudged, len(own))
        shares = {"pass_rate": passed / len(own), "infra": unjudged / len(own)}
        recorder.display.update("eval", 0, number, len(parts), shares)
        return pack(own)

    saved = recorder.parts(f"eval-{model}", len(parts), compute)
    answers = [a for packed, part in zip(saved, parts, strict=True) for a in unpack(packed, problems[part])]
    lines = [json.dumps(a.to_json()) + "\n" for a in answers]
    with recorder.run.guard("write samples.jsonl"):
        write_atomic(recorder.run.path("samples.jsonl"), "".join(lines).encode())
    return answers
