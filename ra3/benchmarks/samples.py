"""Files of samples to be graded: JSON lines of a ``task_id`` and what a model wrote for it.

    {"task_id": "HumanEval/0", "completion": "    return 1\\n"}      follows the prompt
    {"task_id": "HumanEval/0", "solution": "def f(): ..."}          a whole program
    {"task_id": "HumanEval/0", "response": "```python\\n...```"}     a reply in words: its last fenced block counts

The block of a reply follows the prompt, whose helpers and imports it may use, where the task is to complete the prompt.

A task may have any number of samples. ``question_id`` is read as ``task_id`` and a bare number as a task of MBPP.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ra3.benchmarks.null_solutions import standing_alone
from ra3.benchmarks.rows import Row, read_rows
from ra3.errors import UserError
from ra3.grading.extraction import fenced_program
from ra3.grading.problems import Problem

FORMS = ("completion", "solution", "response")


class Sample(NamedTuple):
    """One answer, ready to be graded as ``problem`` and ``text``."""

    problem: Problem
    text: str
    """What the problem's program is made of."""


def read_samples(path: str | Path, problems: Sequence[Problem]) -> list[Sample]:
    """The samples of a file in its order. UserError with file and line for the first that is none."""
    by_id = {problem.id: problem for problem in problems}
    whole = {problem.id: standing_alone(problem) for problem in problems}
    return [_sample(row, by_id, whole) for row in read_rows(Path(path).expanduser())]


def _sample(row: Row, by_id: Mapping[str, Problem], whole: Mapping[str, Problem]) -> Sample:
    task = _task_id(row, by_id)
    given = [form for form in FORMS if row.data.get(form) is not None]
    if len(given) != 1:
        what = f"it has {' and '.join(given)}" if given else "it has no answer"
        raise row.wrong(what, f"one of {', '.join(FORMS)}")
    text = row.text(given[0])
    problem = by_id[task]
    if given[0] == "solution":
        return Sample(whole[task], text)
    if given[0] == "response" and problem.answer == "completion":
        return Sample(whole[task], f"{problem.prompt}\n{fenced_program(text)}")
    return Sample(problem, text)


def _task_id(row: Row, by_id: Mapping[str, Problem]) -> str:
    found = row.data.get("task_id", row.data.get("question_id"))
    if found is None:
        raise row.wrong("'task_id' is missing", f"it has: {', '.join(map(str, row.data)) or 'nothing'}")
    for name in (str(found), f"Mbpp/{found}", f"HumanEval/{found}"):
        if name in by_id:
            return name
    close = difflib.get_close_matches(str(found), by_id, n=1)
    raise UserError(
        f"this benchmark has no task {found!r}", where=row.where, allowed=f"tasks such as {next(iter(by_id))!r}",
        fix=f"did you mean {close[0]!r}?" if close else "name the benchmark that these samples are for",
    )  # fmt: skip
