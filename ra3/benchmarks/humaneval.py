"""HumanEval (Chen et al. 2021): a function's head and docstring as the prompt, a ``check(candidate)`` as the test."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from ra3.benchmarks.asserts import as_calls_of_check
from ra3.benchmarks.rows import Row
from ra3.grading.problem_tests import JudgeTest, syntax_tree
from ra3.grading.problems import Problem

STOP = ("\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert ", "\nif __name__", "\ndef main(", "\nprint(", '\n"""')
"""Where EvalPlus ends the completion of a base model on this set."""
CPU_S = 5.0
"""The official harness gives 3 s by the clock; this has some room, so that a slow host fails no right program."""


def humaneval(rows: Sequence[Row]) -> list[Problem]:
    """Every row as a problem; UserError for the first that is none."""
    return [_problem(row) for row in rows]


def _problem(row: Row) -> Problem:
    prompt, entry, check = row.text("prompt"), row.text("entry_point"), row.text("test")
    reference = prompt + row.text("canonical_solution")
    try:
        calls = as_calls_of_check(check)
        tests = tuple(calls) if calls else (JudgeTest(_judge_source(reference, entry, check)),)
    except SyntaxError as error:
        raise row.wrong(f"its code is no Python: {error}") from error
    return Problem(
        row.text("task_id"), prompt, entry, tests, STOP, {"numbers": "python", "cpu_s": CPU_S, "reference": reference}
    )


def _judge_source(reference: str, entry: str, check: str) -> str:
    """The set's own test, after the helpers that the prompt gives to program and test alike (tasks 32, 38 and 50)."""
    return f"{helpers(reference, entry)}\n{check}\ncheck({entry})\n"


def helpers(reference: str, entry: str) -> str:
    """The top level of a program without the function that is tested. SyntaxError if it is no Python."""
    body = [s for s in syntax_tree(reference).body if not (isinstance(s, ast.FunctionDef) and s.name == entry)]
    return ast.unparse(ast.Module(body, []))
