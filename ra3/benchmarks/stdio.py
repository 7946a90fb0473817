"""Contest problems with stdin/stdout tests: CodeContests, Codeforces and APPS, as published and as repackaged.

Output is compared strictly, word for word; where the expected output holds a number with a decimal point, numbers may
differ by 1e-6. A problem that accepts several answers needs its checker; one whose file gives none but says so, or that
reads and writes files, cannot be graded and is left out with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ra3.benchmarks.rows import Row
from ra3.grading.problem_tests import CallTest, CheckedTest, StdioTest
from ra3.grading.problems import Problem

DECIMAL = re.compile(r"(?<![\w.])-?\d+\.\d+(?:[eE][-+]?\d+)?(?![\w.])")
ASK = (
    "Solve this problem with a Python program that reads from standard input and writes to standard output. Reply with "
    "the program in one ```python block.\n\n{}\n"
)
ASK_FUNCTION = (
    "Solve this problem. Reply with one ```python block that completes this code.\n\n{}\n\n```python\n{}\n```\n"
)
PYTHON_FACTOR, MIN_MEMORY_MB = 3, 512
"""Contests set their limits for compiled programs: a Python program gets three times the time."""

CHECK = """
import io, sys

def check(stdin, output, reference):
    files = {{"input.txt": stdin, "correct_output.txt": reference, "solution_output.txt": output}}
    sys.argv, real, sys.stdout = ["checker.py", *files], sys.stdout, io.StringIO()
    names = {{"__name__": "__main__", "open": lambda name, *_, **__: io.StringIO(files[name])}}
    try:
        exec(SOURCE, names)
    except SystemExit:
        pass
    finally:
        said, sys.stdout = sys.stdout.getvalue(), real
    return said.strip() in ("1", "1.0", "100", "True")

SOURCE = {!r}
"""
"""A checker of open-r1/codeforces: a script that reads three files and prints its score."""


class LeftOut(Exception):
    """A problem that no answer could be graded on, and why."""


def code_contests(rows: Sequence[Row]) -> tuple[list[Problem], dict[str, str]]:
    """(problems, reasons of those left out by id). The published columns, or ``problem`` and ``tests``."""
    return _collect(rows, lambda row: _repackaged(row) if "problem" in row.data else _code_contests(row))


def codeforces(rows: Sequence[Row]) -> tuple[list[Problem], dict[str, str]]:
    """The same for Codeforces in the columns of open-r1/codeforces, or ``problem`` and ``tests``."""
    return _collect(rows, lambda row: _repackaged(row) if "problem" in row.data else _codeforces(row))


def apps(rows: Sequence[Row]) -> tuple[list[Problem], dict[str, str]]:
    """The same for APPS (``question``, ``input_output``), functions included."""
    return _collect(rows, _apps)


def _collect(rows: Sequence[Row], convert) -> tuple[list[Problem], dict[str, str]]:
    problems, left_out = [], {}
    for row in rows:
        try:
            problems.append(convert(row))
        except LeftOut as reason:
            left_out[_id(row)] = str(reason)
    return problems, left_out


def _id(row: Row) -> str:
    for key in ("id", "task_id", "problem_id", "name"):
        if isinstance(row.data.get(key), str | int):
            return str(row.data[key])
    return row.where.rpartition(":")[2].strip().replace("row ", "")


def _repackaged(row: Row) -> Problem:
    """``tests`` is a list of {input, output}, or {inputs: [...], outputs: [...]}."""
    tests = row.data.get("tests")
    pairs = _zipped(row, tests, "inputs", "outputs") if isinstance(tests, dict) else _listed(row, row.items("tests"))
    return _stdio_problem(row, row.text("problem"), pairs, {})


def _code_contests(row: Row) -> Problem:
    pairs = []
    for kind in ("public_tests", "private_tests", "generated_tests"):
        pairs += _zipped(row, row.mapping(kind, {}), "input", "output")
    if row.data.get("input_file") or row.data.get("output_file"):
        raise LeftOut("reads or writes a file")
    limit = Row(row.mapping("time_limit", {}), row.where)
    limits = _limits(
        limit.number("seconds", 0) + limit.number("nanos", 0) / 1e9, row.number("memory_limit_bytes", 0) / 1e6
    )
    return _stdio_problem(row, row.text("description"), pairs, limits)


def _codeforces(row: Row) -> Problem:
    if row.text("input_mode", "stdio") != "stdio":
        raise LeftOut("reads or writes a file")
    if row.data.get("executable") is False:
        raise LeftOut("its tests cannot be run")
    parts = [("", "description"), ("Input\n", "input_format"), ("Output\n", "output_format"), ("Note\n", "note")]
    texts = [head + row.text(key, "") for head, key in parts if row.text(key, "")]
    examples = [Row(item, row.where) for item in row.items("examples", [])]
    texts += [f"Example\n{item.text('input')}\n->\n{item.text('output')}" for item in examples]
    pairs = _listed(row, row.items("official_tests", []) or row.items("examples", []))
    limits = _limits(row.number("time_limit", 0), row.number("memory_limit", 0))
    return _stdio_problem(row, "\n\n".join(texts), pairs, limits, row.text("generated_checker", ""))


def _apps(row: Row) -> Problem:
    try:
        tests = Row(json.loads(row.text("input_output") or "{}"), row.where)
    except (ValueError, RecursionError) as error:
        raise row.wrong(f"'input_output' is no valid JSON: {error}") from error
    inputs, outputs = tests.items("inputs", []), tests.items("outputs", [])
    if not inputs:
        raise LeftOut("has no tests")
    if len(inputs) != len(outputs):
        raise row.wrong(f"{len(inputs)} inputs and {len(outputs)} outputs", "one output per input")
    if name := tests.text("fn_name", ""):
        return _function_problem(row, name, inputs, outputs)
    pairs = [(_joined(given), _joined(wanted)) for given, wanted in zip(inputs, outputs, strict=True)]
    return _stdio_problem(row, row.text("question"), pairs, {})


def _function_problem(row: Row, name: str, inputs: list, outputs: list) -> Problem:
    """APPS wraps an expected value in a list of one."""
    unwrapped = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in outputs]
    tests = tuple(CallTest(tuple(given), wanted) for given, wanted in zip(inputs, unwrapped, strict=True))
    prompt = ASK_FUNCTION.format(row.text("question").strip(), row.text("starter_code", "").strip())
    meta = {"numbers": "python", "statement": row.text("question")}
    return Problem(_id(row), prompt, name, tests, (), meta, "", method_call(name), "fenced")


def method_call(name: str) -> str:
    """Code that makes ``name(...)`` call ``Solution().name(...)`` where there is such a class; tuples become lists."""
    return (
        "if 'Solution' in globals():\n"
        f"    def {name}(*args):\n"
        f"        result = Solution().{name}(*args)\n"
        "        return list(result) if type(result) is tuple else result\n"
    )


def _stdio_problem(
    row: Row, statement: str, pairs: Iterable[tuple[str, str]], limits: dict[str, float], checker: str = ""
) -> Problem:
    pairs = list(pairs)
    if not pairs:
        raise row.wrong("it has no tests", "one test or more")
    check = CHECK.format(checker) if checker else ""
    tests = tuple(CheckedTest(stdin, check, out) if check else StdioTest(stdin, out) for stdin, out in pairs)
    meta: dict[str, Any] = {"statement": statement, **limits}
    if any(DECIMAL.search(output) for _, output in pairs):
        meta["numbers"] = "loose"
    return Problem(_id(row), ASK.format(statement.strip()), None, tests, (), meta, answer="fenced")


def _limits(seconds: float, megabytes: float) -> dict[str, float]:
    """The problem's own limits, where it has them."""
    limits = {"cpu_s": PYTHON_FACTOR * seconds, "memory_mb": max(MIN_MEMORY_MB, int(megabytes))}
    return {name: value for name, value in limits.items() if seconds}


def _zipped(row: Row, tests: dict[str, Any], inputs: str, outputs: str) -> list[tuple[str, str]]:
    given, wanted = (Row(tests, row.where).texts(key, []) for key in (inputs, outputs))
    if len(given) != len(wanted):
        raise row.wrong(f"{len(given)} inputs and {len(wanted)} outputs", "one output per input")
    return list(zip(given, wanted, strict=True))


def _listed(row: Row, tests: list) -> list[tuple[str, str]]:
    found = [Row(item, row.where) for item in tests]
    return [(item.text("input"), item.text("output")) for item in found]


def _joined(value: Any) -> str:
    """Some of APPS's texts are lists of lines."""
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)
