"""Problems prove themselves before an answer is judged by them: one of a problem's own references must pass its tests,
and a checker must accept the output that its test has for a reference.

References are whole programs in ``meta["references"]``, from a benchmark's column of solutions or a file of problems.
What is found is kept on disk under a hash of the problems, the limits, the code that judges, and the version of Python.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import ra3.benchmarks
import ra3.grading
import ra3.sandbox
from ra3.benchmarks.evalplus import cache_folder
from ra3.benchmarks.samples import standing_alone
from ra3.grading.grade import checker_jobs, grade
from ra3.grading.problem_tests import CheckedTest
from ra3.grading.problems import META, Problem
from ra3.run.files import fingerprint_code, fingerprint_items, write_atomic
from ra3.sandbox import Sandbox

AT_ONCE = 64
"""Problems whose tests are held in memory together."""
SHARES = (0.5, 1.0, 2.0)
"""Of a problem's limit, what a reference is tried with: programs get at least twice the time in which one passes."""


def can_prove_itself(problem: Problem) -> bool:
    """Whether there is anything to try: a reference, or a checker with an output to look at."""
    checked = (test for test in problem.tests if isinstance(test, CheckedTest))
    return bool(problem.meta.get("references")) or any(test.reference for test in checked)


def prove(problems: Sequence[Problem], sandbox: Sandbox) -> dict[str, str | float]:
    """Return by id why problems cannot be graded here, or the CPU seconds that programs get for the others where a
    reference needs more than half of their limit. They are tried once; what was found is read from then on.

    A problem that the sandbox could not judge is not disproved, and nothing is kept then.
    """
    code = [fingerprint_code(Path(room.__path__[0])) for room in (ra3.benchmarks, ra3.grading, ra3.sandbox)]
    key = fingerprint_items([code, sys.version_info[:3], sandbox.limits, *problems])
    path = cache_folder() / f"proofs-{key}.json"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        stored = json.loads(path.read_text(encoding="utf-8")).items()
        return {str(name): said if isinstance(said, str) else float(said) for name, said in stored}
    found: dict[str, str | float | None] = {}
    for start in range(0, len(problems), AT_ONCE):
        part = problems[start : start + AT_ONCE]
        found |= _checker_faults(part, sandbox) | _try_references(part, sandbox)
    if None not in found.values():
        with contextlib.suppress(OSError):  # without a place to keep it, the next run tries again
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, json.dumps(found).encode())
    return {p.id: said for p in problems if (said := found.get(p.id)) is not None}


def _try_references(problems: Sequence[Problem], sandbox: Sandbox) -> dict[str, str | float | None]:
    """Why the first reference of each problem fails none of whose references passes; the limit of one that takes long;
    None where it could not be judged."""
    found: dict[str, str | float | None] = {}
    todo = [(problem, 0, 0) for problem in problems if problem.meta.get("references")]
    while todo:
        attempts = []
        for problem, turn, level in todo:
            limit = _limit_s(problem, sandbox) * SHARES[level]
            attempts.append((standing_alone(with_limit(problem, limit)), problem.meta["references"][turn]))
        tried, todo = zip(todo, grade(sandbox, attempts), strict=True), []
        for (problem, turn, level), verdict in tried:
            if verdict.passed:
                found.pop(problem.id, None)
                if level:
                    found[problem.id] = 2 * SHARES[level] * _limit_s(problem, sandbox)
            elif verdict.passed is None:
                found[problem.id] = None
            elif verdict.reason == "timeout" and level + 1 < len(SHARES):
                todo.append((problem, turn, level + 1))
            else:
                found.setdefault(problem.id, f"its own reference fails here: {verdict.reason}")
                todo += [(problem, turn + 1, 0)] if turn + 1 < len(problem.meta["references"]) else []
    return found


def _limit_s(problem: Problem, sandbox: Sandbox) -> float:
    return problem.meta.get("cpu_s", sandbox.limits.cpu_s)


def with_limit(problem: Problem, cpu_s: float) -> Problem:
    """Return the problem with another limit of CPU seconds for its programs."""
    return replace(problem, meta={**problem.meta, "cpu_s": min(META["cpu_s"][2], max(META["cpu_s"][1], cpu_s))})


def _checker_faults(problems: Sequence[Problem], sandbox: Sandbox) -> dict[str, str | float | None]:
    """What each problem's checker does instead of accepting its own reference output."""
    jobs = [(problem.id, job) for problem in problems for job in checker_jobs(problem)]
    faults: dict[str, str | float | None] = {}
    for (name, _), outcome in zip(jobs, sandbox.run([job for _, job in jobs]), strict=True):
        fault = outcome.fault or outcome.results[0].error
        if outcome.fault == "infra":
            faults.setdefault(name, None)
        elif fault:
            faults.setdefault(name, f"its checker fails on its own reference output: {fault}")
        elif outcome.results[0].data != b"true":
            faults.setdefault(name, "its checker refuses its own reference output")
    return faults
