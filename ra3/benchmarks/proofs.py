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
from pathlib import Path

import ra3.grading
import ra3.sandbox
from ra3.benchmarks.evalplus import cache_folder
from ra3.benchmarks.samples import standing_alone
from ra3.grading.grade import checker_jobs, grade
from ra3.grading.problem_tests import CheckedTest
from ra3.grading.problems import Problem
from ra3.run.files import fingerprint_code, fingerprint_items, write_atomic
from ra3.sandbox import Sandbox

AT_ONCE = 64
"""Problems whose tests are held in memory together."""


def can_prove_itself(problem: Problem) -> bool:
    """Whether there is anything to try: a reference, or a checker with an output to look at."""
    checked = (test for test in problem.tests if isinstance(test, CheckedTest))
    return bool(problem.meta.get("references")) or any(test.reference for test in checked)


def disproved(problems: Sequence[Problem], sandbox: Sandbox) -> dict[str, str]:
    """Return why problems cannot be graded here, by id; they are tried once, and what was found is read from then on.

    A problem that the sandbox could not judge is not disproved, and nothing is kept then.
    """
    code = [fingerprint_code(Path(room.__path__[0])) for room in (ra3.grading, ra3.sandbox)]
    key = fingerprint_items([code, sys.version_info[:3], sandbox.limits, *problems])
    path = cache_folder() / f"proofs-{key}.json"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return {str(name): str(why) for name, why in json.loads(path.read_text(encoding="utf-8")).items()}
    found: dict[str, str | None] = {}
    for start in range(0, len(problems), AT_ONCE):
        part = problems[start : start + AT_ONCE]
        found |= _checker_faults(part, sandbox) | _reference_faults(part, sandbox)
    if None not in found.values():
        with contextlib.suppress(OSError):  # without a place to keep it, the next run tries again
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, json.dumps(found).encode())
    return {name: why for name, why in found.items() if why is not None}


def _reference_faults(problems: Sequence[Problem], sandbox: Sandbox) -> dict[str, str | None]:
    """Why the first reference of each problem fails none of whose references passes; None: it could not be judged."""
    faults: dict[str, str | None] = {}
    todo, turn = [problem for problem in problems if problem.meta.get("references")], 0
    while todo:
        attempts = [(standing_alone(problem), problem.meta["references"][turn]) for problem in todo]
        verdicts = dict(zip((problem.id for problem in todo), grade(sandbox, attempts), strict=True))
        for name, verdict in verdicts.items():
            if verdict.passed is None:
                faults[name] = None
            elif verdict.passed:
                faults.pop(name, None)
            else:
                faults.setdefault(name, f"its own reference fails here: {verdict.reason}")
        turn += 1
        failed = [problem for problem in todo if not verdicts[problem.id].passed]
        todo = [problem for problem in failed if turn < len(problem.meta["references"])]
    return faults


def _checker_faults(problems: Sequence[Problem], sandbox: Sandbox) -> dict[str, str | None]:
    """What each problem's checker does instead of accepting its own reference output."""
    jobs = [(problem.id, job) for problem in problems for job in checker_jobs(problem)]
    faults: dict[str, str | None] = {}
    for (name, _), outcome in zip(jobs, sandbox.run([job for _, job in jobs]), strict=True):
        fault = outcome.fault or outcome.results[0].error
        if outcome.fault == "infra":
            faults.setdefault(name, None)
        elif fault:
            faults.setdefault(name, f"its checker fails on its own reference output: {fault}")
        elif outcome.results[0].data != b"true":
            faults.setdefault(name, "its checker refuses its own reference output")
    return faults
