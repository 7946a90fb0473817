"""Programs that solve nothing. A problem that pays one of them teaches nothing, and is no problem to train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ra3.grading.grade import grade
from ra3.grading.problems import Problem
from ra3.sandbox import Sandbox

VALUES = (
    "None", "0", "1", "-1", "0.0", "''", "'0'", "[]", "[0]", "[[]]", "()", "{}", "set()", "True", "False", "args[0]",
    "args[-1]", "list(args)", "args", "object()",
)  # fmt: skip
"""What a function returns, whatever it is asked."""
OUTPUTS = (
    "''", "0", "1", "-1", "2", "'0 0'", "'1 1'", "'YES'", "'NO'", "'Yes'", "'No'", "'True'", "'None'", "'-1 -1'",
    "'IMPOSSIBLE'", "'[]'", "stdin", "stdin.split('\\n')[0]", "stdin.split('\\n')[-1]", "(stdin.split() or [''])[0]",
)  # fmt: skip
"""What a script prints, whatever it reads."""


def null_programs(problem: Problem) -> dict[str, str]:
    """{what it gives: program}, twenty of them."""
    if problem.entry_point is None:
        return {value: f"import sys\nstdin = sys.stdin.read()\nprint({value})\n" for value in OUTPUTS}
    return {value: f"def {problem.entry_point}(*args):\n    return {value}\n" for value in VALUES}


def paid_null_programs(problems: Sequence[Problem], sandbox: Sandbox) -> dict[str, list[str]]:
    """Which of them each problem pays, by id; only problems that pay one are in it."""
    attempts = [
        (bare, value, source) for bare in map(standing_alone, problems) for value, source in null_programs(bare).items()
    ]
    verdicts = grade(sandbox, [(bare, source) for bare, _, source in attempts])
    paid: dict[str, list[str]] = {}
    for (bare, value, _), verdict in zip(attempts, verdicts, strict=True):
        if verdict.passed:
            paid.setdefault(bare.id, []).append(value)
    return paid


def standing_alone(problem: Problem) -> Problem:
    """The same problem for answers that are whole programs, with neither prompt nor fence."""
    return replace(problem, prompt="", answer="completion")
