"""HumanEval+ and MBPP+ (Liu et al. 2023), from the files that EvalPlus releases: inputs, and references to answer them.

The rules are those of EvalPlus 0.3.1: base and plus inputs must both pass; values are equal by ``==``, or as numbers
within the problem's ``atol``, which is 1e-6 at least where a float (or a list or tuple of floats) is expected. EvalPlus
applies that 1e-6 from the first such test on, here it holds for all tests of the problem. Thirteen problems have a rule
of their own (``oracles``). CPU time is limited by what the reference needs. One test is left out: a value of
Mbpp/255 with 1.7 million tuples does not fit into the sandbox.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ra3.benchmarks import humaneval, mbpp
from ra3.benchmarks.mbpp_inputs import deserialised
from ra3.benchmarks.oracles import oracle_test
from ra3.benchmarks.references import Answers, Task, answers
from ra3.benchmarks.rows import Row
from ra3.errors import UserError
from ra3.grading.problem_tests import CallTest
from ra3.grading.problems import Problem

FLOAT_ATOL = 1e-6
MIN_CPU_S, MAX_CPU_S, CPU_FACTOR, MEMORY_MB = 4.0, 60.0, 4.0, 4096


def humaneval_plus(rows: Sequence[Row]) -> list[Problem]:
    """Every row as a problem; the references are run for the expected values. UserError for the first bad row."""
    return _problems(rows, humaneval.STOP)


def mbpp_plus(rows: Sequence[Row]) -> list[Problem]:
    """The same for MBPP+."""
    return _problems(rows, mbpp.STOP)


def _problems(rows: Sequence[Row], stop: tuple[str, ...]) -> list[Problem]:
    tasks = [_task(row) for row in rows]
    found = answers(tasks, rows[0].where)
    return [_problem(*parts, stop) for parts in zip(rows, tasks, found, strict=True)]


def _task(row: Row) -> Task:
    inputs = [*_inputs(row, "base_input"), *_inputs(row, "plus_input")]
    if not inputs:
        raise row.wrong("it has no inputs", "'base_input' and 'plus_input' with one list of arguments per test")
    prompt, solution, entry = row.text("prompt"), row.text("canonical_solution"), row.text("entry_point")
    if not solution.strip():
        raise row.wrong("'canonical_solution' is empty", "the solution whose values are expected")
    if not entry.isidentifier():
        raise row.wrong(f"'entry_point' is {entry!r}", "a function's name")
    return Task(row.text("task_id"), prompt + solution, entry, inputs)


def _inputs(row: Row, key: str) -> list:
    found = [] if row.data.get(key) == {} else row.items(key, [])  # Mbpp/793 is released with an object that is empty
    if not all(isinstance(arguments, list) for arguments in found):
        raise row.wrong(f"{key!r} holds something that is not a list of arguments", "a list of lists")
    task_id = row.text("task_id")
    try:
        return deserialised(task_id, found)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise row.wrong(f"{key!r} does not have the form this task needs: {error}") from error


def _problem(row: Row, task: Task, found: Answers, stop: tuple[str, ...]) -> Problem:
    atol = tolerance(found.values.values(), row.number("atol"))
    meta = {"numbers": "python", "atol": atol, "reference": task.source}
    meta |= {"cpu_s": min(MAX_CPU_S, MIN_CPU_S + CPU_FACTOR * found.cpu_s), "memory_mb": MEMORY_MB}
    cases = [(args, found.values[i]) for i, args in enumerate(task.inputs) if i in found.values]
    try:
        oracle = oracle_test(task.entry_point, cases, atol)
        tests = (oracle,) if oracle else tuple(CallTest(tuple(args), expected) for args, expected in cases)
        return Problem(task.id, row.text("prompt"), task.entry_point, tests, stop, meta)
    except UserError as error:
        raise row.wrong(error.what, error.allowed or "") from error
    except ValueError as error:
        raise row.wrong(str(error)) from error


def tolerance(expected: Iterable[object], atol: float) -> float:
    """The problem's own tolerance, or 1e-6 if it has none and one of its tests expects floats.

    Example: ``tolerance([1, [0.5, 2.0]], 0) == 1e-6``
    """
    return atol or (FLOAT_ATOL if any(map(_is_floats, expected)) else 0.0)


def _is_floats(value: object) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(item, float) for item in value)
    return isinstance(value, float)
