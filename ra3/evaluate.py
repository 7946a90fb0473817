"""`ra3 eval`: a model's own samples or those of a file, graded part by part, as pass@k, tables and samples.jsonl."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ra3.benchmarks.samples import Sample, read_samples
from ra3.commands.inputs import load_eval_problems
from ra3.commands.run import finish, opened, opened_sandbox
from ra3.commands.sources import load_policy
from ra3.config.flags import RunOptions
from ra3.config.tree import Config
from ra3.data.latents import COMMENT_OPENER
from ra3.errors import UserError
from ra3.grading.problems import Problem
from ra3.measure.pass_at_k import Answer, graded, measures, pack, sample_answers, unpack
from ra3.model.policy import Policy
from ra3.rollout.completions import beyond_positions, completion_of_text
from ra3.rollout.generate import MAX_SAMPLED_ROWS
from ra3.run.display import show_problems
from ra3.run.files import write_atomic
from ra3.run.fingerprints import of_items
from ra3.run.recorder import Recorder
from ra3.run.results import Results
from ra3.sandbox import Sandbox
from ra3.seeds import derive


def evaluate(config: Config, options: RunOptions) -> Path:
    """Evaluates the model, or the samples of a file, on the problems; returns the run folder."""
    if config.eval.samples_file:
        return grade_samples(config.eval.samples_file, config, options)
    policy = load_policy(config)
    found = load_eval_problems(config, config.run.seed)
    refuse_long(beyond_positions(policy, found.problems, config.eval.max_new_tokens), config)
    with opened(config, options, policy) as recorder, opened_sandbox(config, recorder) as sandbox:
        problems, name = found.noted(recorder), Path(config.model.path).name
        results = evaluated(recorder, name, policy, problems, sandbox, config)
        show_problems(Results.from_json(results)[0].problems)
        return finish(recorder, results)


def grade_samples(path: str, config: Config, options: RunOptions) -> Path:
    """Grades the samples of a file, whoever wrote them; returns the run folder."""
    found = load_eval_problems(config, config.run.seed)
    samples = read_samples(path, found.problems)
    refuse_gaps(samples, found.problems, path)
    name = Path(path).name.split(".")[0]
    with opened(config, options, None) as recorder, opened_sandbox(config, recorder) as sandbox:
        found.noted(recorder)
        recorder.run.pin_inputs(exam=of_items(found.problems), samples=of_items(samples))
        asked = [sample.problem for sample in samples]
        opener = config.model.opener or COMMENT_OPENER
        attempts = [(sample.problem, completion_of_text(sample.text, opener)) for sample in samples]
        answers = answered(recorder, name, asked, MAX_SAMPLED_ROWS, lambda part: graded(sandbox, attempts[part]))
        results = measures(name, answers, config.eval, derive(config.run.seed, "evaluate"))
        show_problems(Results.from_json(results)[0].problems)
        return finish(recorder, results)


def refuse_gaps(samples: Sequence[Sample], problems: Sequence[Problem], path: str) -> None:
    """A score over only those problems that somebody chose to answer is none of the benchmark's."""
    there = {sample.problem.id for sample in samples}
    missing = [problem.id for problem in problems if problem.id not in there]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(problems)} tasks have no sample: {', '.join(missing[:5])}"
            + (", ..." if len(missing) > 5 else ""),
            where=path,
            fix="add them; an empty completion counts as a wrong one",
        )


def refuse_long(too_long: Mapping[str, str], config: Config) -> None:
    """A score without the longest problems is none of the benchmark's."""
    if too_long:
        first = "; ".join(f"{name}: {why}" for name, why in list(too_long.items())[:3])
        raise UserError(
            f"{len(too_long)} of its problems are longer than the model reads ({first})",
            where=config.eval.problems,
            fix="lower eval.max_new_tokens, or take those problems out of a copy of the file",
        )


def evaluated(
    recorder: Recorder, name: str, policy: Policy, problems: Sequence[Problem], sandbox: Sandbox, config: Config
) -> dict[str, Any]:
    """Pass rates and curves of one model; what is graded is saved part by part."""
    recorder.run.pin_inputs(exam=of_items(problems))
    seed = derive(config.run.seed, "evaluate")
    size = max(1, MAX_SAMPLED_ROWS // config.eval.samples)
    answers = answered(
        recorder, name, problems, size,
        lambda part: sample_answers(policy, problems[part], sandbox, config.eval, seed),
    )  # fmt: skip
    return measures(name, answers, config.eval, seed)


def answered(
    recorder: Recorder,
    name: str,
    problems: Sequence[Problem],
    size: int,
    answer: Callable[[slice], list[Answer]],
) -> list[Answer]:
    """The answers to all problems, `size` of them at a time, shown as they come and written to samples.jsonl."""
    parts = [slice(start, start + size) for start in range(0, len(problems), size)]

    def compute(number: int) -> dict[str, Any]:
        own = answer(parts[number])
        judged = [a.verdict.passed for a in own if a.verdict.passed is not None]
        shares = {"pass_rate": sum(judged) / max(1, len(judged)), "infra": 1 - len(judged) / len(own)}
        recorder.display.update("eval", 0, number, len(parts), shares)
        return pack(own)

    saved = recorder.parts(f"eval-{name}", len(parts), compute)
    answers = [a for packed, part in zip(saved, parts, strict=True) for a in unpack(packed, problems[part])]
    lines = [json.dumps(a.record) + "\n" for a in answers]
    with recorder.run.guard("write samples.jsonl"):
        write_atomic(recorder.run.path("samples.jsonl"), "".join(lines).encode())
    return answers
