"""Answers to be graded: the samples of a file, and programs that solve nothing.

A file of samples is JSON lines of a ``task_id`` and what a model wrote for it::

    {"task_id": "HumanEval/0", "completion": "    return 1\\n"}      follows the prompt
    {"task_id": "HumanEval/0", "solution": "def f(): ..."}          a whole program
    {"task_id": "HumanEval/0", "response": "```python\\n...```"}     a reply in words (``ra3.grading.replies``)

The program of a reply follows the prompt, whose helpers and imports it may use, where that is to be completed.
A task may have any number of samples. ``question_id`` is read as ``task_id`` and a bare number as a task of MBPP.

A problem that pays a program that solves nothing teaches nothing, and is no problem to train on.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ra3.config.load import path_of
from ra3.data.tables import Row, load_rows
from ra3.errors import UserError, shown
from ra3.grading.grade import grade
from ra3.grading.problems import Problem, read_problem
from ra3.grading.replies import behind, fenced_program
from ra3.sandbox import Sandbox

FORMS = ("completion", "solution", "response")
RETURNED = (
    "None", "0", "1", "-1", "0.0", "''", "'0'", "[]", "[0]", "[[]]", "()", "{}", "set()", "True", "False", "args[0]",
    "args[-1]", "list(args)", "args", "object()",
)  # fmt: skip
"""Return values of functions that solve nothing."""
PRINTED = (
    "''", "0", "1", "-1", "2", "'0 0'", "'1 1'", "'YES'", "'NO'", "'Yes'", "'No'", "'True'", "'None'", "'-1 -1'",
    "'IMPOSSIBLE'", "'[]'", "stdin", "stdin.split('\\n')[0]", "stdin.split('\\n')[-1]", "(stdin.split() or [''])[0]",
)  # fmt: skip
"""Output of scripts that solve nothing."""


class Sample(NamedTuple):
    """A completion, a reply or a whole program (as ``problem.answer`` says), ready to be graded."""

    problem: Problem
    text: str


def read_samples(path: str | Path, problems: Sequence[Problem], left_out: Iterable[str] = ()) -> list[Sample]:
    """Read the samples of a file in its order, less those of tasks that are left out. UserError with file and line for
    the first that is none."""
    by_id = {problem.id: (problem, standing_alone(problem)) for problem in problems}
    tasks = dict.fromkeys(left_out) | by_id
    found = ((row, _task(row, tasks)) for row in load_rows(path_of(path)))
    return [_sample(row, *task) for row, task in found if task]


def read_attempt(row: Row) -> Sample:
    """Read a row that is a problem, as a file of problems has it, with an answer beside it: ``{"id": "add-1", "tests":
    [...], "solution": "def add(a, b): ..."}``. Only a completion needs the prompt. UserError where it is none."""
    asked = {key: value for key, value in row.values.items() if key not in FORMS}
    if row.values.get("completion") is None:
        asked.setdefault("prompt", "")
    problem = read_problem(replace(row, values=asked))
    if not problem.tests:
        raise row.wrong(f"problem {problem.id!r} has no tests", "one or more of one kind")
    return _sample(row, problem, standing_alone(problem))


def _sample(row: Row, problem: Problem, bare: Problem) -> Sample:
    given = [form for form in FORMS if row.values.get(form) is not None]
    if len(given) != 1:
        what = f"it has {' and '.join(given)}" if given else "it has no answer"
        raise row.wrong(what, f"one of {', '.join(FORMS)}")
    text = row.text(given[0])
    if given[0] == "solution":
        return Sample(bare, text)
    if given[0] == "response" and problem.answer == "completion":
        return Sample(bare, behind(f"{problem.prompt}\n", fenced_program(text)))
    return Sample(problem, text)


def _task(row: Row, by_id: Mapping[str, tuple[Problem, Problem] | None]) -> tuple[Problem, Problem] | None:
    found = row.values.get("task_id", row.values.get("question_id"))
    if found is None:
        raise row.wrong("'task_id' is missing", f"it has: {', '.join(map(str, row.values)) or 'nothing'}")
    found = found if isinstance(found, str) else shown(found)
    for name in (found, f"Mbpp/{found}", f"HumanEval/{found}"):
        if name in by_id:
            return by_id[name]
    close = difflib.get_close_matches(found, by_id, n=1)
    fix = f"did you mean {close[0]!r}?" if close else "name the benchmark that these samples are for"
    raise UserError(f"this benchmark has no task {found!r}", row.where, f"tasks such as {next(iter(by_id))!r}", fix)


def null_programs(problem: Problem) -> dict[str, str]:
    """Return twenty programs that solve nothing, by what they give."""
    if problem.entry_point is None:
        return {value: f"import sys\nstdin = sys.stdin.read()\nprint({value})\n" for value in PRINTED}
    return {value: f"def {problem.entry_point}(*args):\n    return {value}\n" for value in RETURNED}


def paid_null_programs(problems: Sequence[Problem], sandbox: Sandbox) -> dict[str, list[str]]:
    """Return which null programs each problem pays, by id; only problems that pay one are in it."""
    bare = map(standing_alone, problems)
    attempts = [(problem, value, source) for problem in bare for value, source in null_programs(problem).items()]
    verdicts = grade(sandbox, [(problem, source) for problem, _, source in attempts])
    paid: dict[str, list[str]] = {}
    for (problem, value, _), verdict in zip(attempts, verdicts, strict=True):
        if verdict.passed:
            paid.setdefault(problem.id, []).append(value)
    return paid


def standing_alone(problem: Problem) -> Problem:
    """Return the same problem for answers that are whole programs, with neither prompt nor fence."""
    return replace(problem, prompt="", answer="completion")
