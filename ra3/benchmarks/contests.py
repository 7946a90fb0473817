"""Contest problems: CodeContests, Codeforces and APPS, as published and as repackaged, and LiveCodeBench.

Output is compared word for word; where the expected output holds numbers with a decimal point, these may differ by
1e-6. A problem that accepts several answers needs its checker; one whose file gives none but says so, that reads and
writes files, or whose file lacks some of its tests, cannot be graded and is left out with the reason.

LiveCodeBench (Jain et al. 2024): its private tests are base64 of zlib of a pickle of JSON text. They are read by an
unpickler that refuses every class, so a file can hold data and nothing else. How LiveCodeBench and APPS (Hendrycks et
al. 2021) compare stands in ``ra3.grading.equality``; what they do and we do not, in docs/benchmarks.md.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import pickle
import re
import zlib
from collections.abc import Sequence
from typing import Any, NoReturn

from ra3.data.tables import Row
from ra3.errors import shown
from ra3.grading.problem_tests import CallTest, CheckedTest, StdioTest, syntax_tree
from ra3.grading.problems import Problem
from ra3.sandbox.inside.values import whole_number

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
LIVECODEBENCH_CPU_S, APPS_CPU_S, MAX_CPU_S = 6.0, 4.0, 600.0
"""Per test, as in these benchmarks; and for all calls of a problem together at most."""
MAX_TESTS_BYTES = 1 << 28
CODE_CONTESTS_PYTHON_3, MOST_REFERENCES = 3, 3
"""The number of the language among the solutions of CodeContests; and how many solutions of a problem are kept."""
MODULES = (
    "string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics", "itertools",
    "functools", "operator", "io", "sys", "json", "builtins", "typing",
)  # fmt: skip
IMPORTS = "".join(map("from {} import *\n".format, MODULES))
IMPORTS += f"import {', '.join(MODULES)}\nsys.setrecursionlimit(50000)\nsys.set_int_max_str_digits(50000)\n"
"""The prefix of every program in LiveCodeBench: these modules, the names in them, room to recurse and for digits."""
ANY_DIGITS = "__import__('sys').set_int_max_str_digits(0)\n"
"""The prefix of a contest's program: contests know no limit for the digits of an integer."""
APPS_IMPORTS = ANY_DIGITS + (
    "import sys, time, itertools, collections, math, fractions, random, heapq\n"
    "from itertools import accumulate, product, permutations, combinations\n"
    "from collections import Counter, OrderedDict, deque, defaultdict, ChainMap\n"
    "from functools import lru_cache\n"
    "from math import sqrt, sin, cos, tan, ceil, fabs, floor, gcd, exp, log, log2\n"
    "from typing import List, Tuple\n"
    "from heapq import *\n"
)
"""The prefix of every program in APPS, less NumPy."""

CHECK = """
import builtins, io, sys

def check(stdin, output, reference):
    files = {{"input.txt": stdin, "correct_output.txt": reference, "solution_output.txt": output}}
    on_disk = open
    def in_memory(file, mode="r", *more, **named):
        if (text := files.get(str(file))) is None:
            return on_disk(file, mode, *more, **named)
        return io.BytesIO(text.encode()) if "b" in mode else io.StringIO(text)
    builtins.open = io.open = in_memory
    sys.argv, sys.stdout = ["checker.py", *files], io.StringIO()
    try:
        exec(SOURCE, {{"__name__": "__main__"}})
    except SystemExit:
        pass
    said = sys.stdout.getvalue()
    return said.strip() in ("1", "1.0", "100", "True")

SOURCE = {!r}
"""
"""A checker of open-r1/codeforces: a script that reads three files and prints its score."""

Pairs = list[tuple[str, str]]
"""Inputs with the outputs that are expected."""


class LeftOut(Exception):
    """A problem that no answer could be graded on, and why."""

    def __init__(self, row: Row, why: str):
        super().__init__(why)
        self.id = row_id(row)


def code_contests(row: Row) -> Problem:
    """Convert a row of CodeContests: the published columns, or ``problem`` and ``tests``. LeftOut, or UserError."""
    if "problem" in row.values:
        return _repackaged(row)
    kinds = ("public_tests", "private_tests", "generated_tests")
    pairs = [pair for kind in kinds for pair in _columns(row.nested(kind, {}), "input", "output")]
    if row.values.get("input_file") or row.values.get("output_file"):
        raise LeftOut(row, "reads or writes a file")
    limit = row.nested("time_limit", {})
    seconds = limit.number("seconds", 0) + limit.number("nanos", 0) / 1e9
    meta = _limits(seconds, row.number("memory_limit_bytes", 0) / 1e6) | _references(_of_python_3(row))
    return _stdio_problem(row, row.text("description"), pairs, meta)


def codeforces(row: Row) -> Problem:
    """Do the same for Codeforces in the columns of open-r1/codeforces, or ``problem`` and ``tests``."""
    if "problem" in row.values:
        return _repackaged(row)
    if row.text("input_mode", "stdio") != "stdio":
        raise LeftOut(row, "reads or writes a file")
    if row.values.get("executable") is False:
        raise LeftOut(row, "its tests cannot be run")
    if not row.values.get("official_tests") or row.values.get("official_tests_complete") is False:
        raise LeftOut(row, "its file does not hold all official tests")
    parts = [("", "description"), ("Input\n", "input_format"), ("Output\n", "output_format"), ("Note\n", "note")]
    texts = [head + row.text(key, "") for head, key in parts if row.text(key, "")]
    examples = _listed(row, row.items("examples", []))
    texts += [f"Example\n{stdin}\n->\n{stdout}" for stdin, stdout in examples]
    pairs = _listed(row, row.items("official_tests"))
    limits = _limits(row.number("time_limit", 0), row.number("memory_limit", 0))
    return _stdio_problem(row, "\n\n".join(texts), pairs, limits, row.text("generated_checker", ""))


def apps(row: Row) -> Problem:
    """Do the same for APPS (``question``, ``input_output``), functions included."""
    tests = row.decoded("input_output", row.text("input_output") or "{}").nested("input_output")
    inputs, outputs = tests.items("inputs", []), tests.items("outputs", [])
    if not inputs:
        raise LeftOut(row, "has no tests")
    pairs = _paired(row, inputs, outputs)
    statement, name = row.text("question"), tests.text("fn_name", "")
    solutions = row.decoded("solutions", row.text("solutions", "") or "[]").texts("solutions")
    references = _references(solutions)
    if not name:
        texts = [(_joined(given), _joined(wanted)) for given, wanted in pairs]
        limits = {"cpu_s": APPS_CPU_S, "any_exit": True, **references}
        return _stdio_problem(row, statement, texts, limits, prefix=APPS_IMPORTS)
    if not all(isinstance(given, list) for given in inputs):
        raise LeftOut(row, "one of its inputs is no list of arguments")
    calls = tuple(
        CallTest((*map(_with_whole_keys, given[:1]), *given[1:]), _apps_value(wanted)) for given, wanted in pairs
    )
    meta = {"numbers": "apps", "statement": statement, "cpu_s": APPS_CPU_S, **references}
    return _function_problem(row, row_id(row), statement.strip(), name, calls, meta, APPS_IMPORTS)


def livecodebench(row: Row) -> Problem:
    """Convert a row of LiveCodeBench: a contest problem on stdin, or as a method of ``class Solution``."""
    public = row.decoded("public_test_cases").items("public_test_cases")
    tests = [row.inner(test) for test in (*public, *_private_tests(row))]
    if not tests:
        raise row.wrong("it has no tests", "one test or more")
    statement, task_id = row.text("question_content").strip(), row.text("question_id")
    meta: dict[str, Any] = {"numbers": "livecodebench", "cpu_s": LIVECODEBENCH_CPU_S, "statement": statement}
    meta |= {key: row.text(key, "") for key in ("contest_date", "difficulty", "platform")}
    if {test.text("testtype", "stdin") for test in tests} == {"stdin"}:
        runs = tuple(StdioTest(test.text("input"), test.text("output")) for test in tests)
        return Problem(task_id, ASK.format(statement), None, runs, (), meta | {"any_exit": True}, IMPORTS, "", "fenced")
    name = row.decoded("metadata").nested("metadata").text("func_name")
    calls = tuple(_call(test) for test in tests)
    return _function_problem(row, task_id, statement, name, calls, meta, IMPORTS)


def row_id(row: Row) -> str:
    """Return a problem's own id, else the number of its row."""
    for key in ("id", "task_id", "problem_id", "name"):
        if isinstance(found := row.values.get(key), str | int):
            return found if isinstance(found, str) else shown(found)
    return str(row.line)


def _repackaged(row: Row) -> Problem:
    """``tests`` is a list of {input, output}, or {inputs: [...], outputs: [...]}."""
    apart = isinstance(row.values.get("tests"), dict)
    pairs = _columns(row.nested("tests"), "inputs", "outputs") if apart else _listed(row, row.items("tests"))
    return _stdio_problem(row, row.text("problem"), pairs)


def _stdio_problem(
    row: Row, statement: str, pairs: Pairs, limits: dict | None = None, checker: str = "", prefix: str = ANY_DIGITS
) -> Problem:
    if not pairs:
        raise row.wrong("it has no tests", "one test or more")
    checker = checker.removeprefix("\ufeff")
    try:
        syntax_tree(checker)
    except SyntaxError as error:
        raise LeftOut(row, f"its checker is no Python: {error}") from error
    check = CHECK.format(checker) if checker.strip() else ""
    tests = tuple(CheckedTest(stdin, check, out) if check else StdioTest(stdin, out) for stdin, out in pairs)
    meta: dict[str, Any] = {"statement": statement, **(limits or {})}
    if any(DECIMAL.search(output) for _, output in pairs):
        meta["numbers"] = "loose"
    return Problem(row_id(row), ASK.format(statement.strip()), None, tests, (), meta, prefix, answer="fenced")


def _function_problem(
    row: Row, task_id: str, statement: str, name: str, calls: tuple[CallTest, ...], meta: dict, prefix: str = ""
) -> Problem:
    prompt = ASK_FUNCTION.format(statement, row.text("starter_code", "").strip())
    meta |= {"call_cpu_s": meta["cpu_s"], "cpu_s": min(MAX_CPU_S, meta["cpu_s"] * len(calls))}
    return Problem(task_id, prompt, name, calls, (), meta, prefix, method_call(name), "fenced")


def method_call(name: str) -> str:
    """Write code that makes ``name(...)`` call that method of one ``Solution()`` where there is such a class."""
    return f"if 'Solution' in globals():\n    {name} = Solution().{name}\n"


def _of_python_3(row: Row) -> list[str]:
    """The solutions of a row of CodeContests in this language."""
    solutions = row.nested("solutions", {})
    written = _paired(solutions, solutions.items("language", []), solutions.texts("solution", []))
    return [source for language, source in written if language == CODE_CONTESTS_PYTHON_3]


def _references(sources: Sequence[str]) -> dict[str, list[str]]:
    """The first few solutions that are Python, where there are any."""
    found = []
    for source in sources:
        with contextlib.suppress(SyntaxError):
            syntax_tree(source)
            found.append(source)
        if len(found) == MOST_REFERENCES:
            break
    return {"references": found} if found else {}


def _limits(seconds: float, megabytes: float) -> dict[str, float]:
    """The problem's own limits, where it has them."""
    if not seconds:
        return {}
    return {"cpu_s": PYTHON_FACTOR * seconds, "memory_mb": max(MIN_MEMORY_MB, int(megabytes))}


def _columns(tests: Row, inputs: str, outputs: str) -> Pairs:
    return _paired(tests, tests.texts(inputs, []), tests.texts(outputs, []))


def _paired(row: Row, inputs: Sequence, outputs: Sequence) -> list[tuple]:
    if len(inputs) != len(outputs):
        raise row.wrong(f"{len(inputs)} inputs and {len(outputs)} outputs", "one output per input")
    return list(zip(inputs, outputs, strict=True))


def _listed(row: Row, tests: list) -> Pairs:
    return [(item.text("input"), item.text("output")) for item in map(row.inner, tests)]


def _joined(value: Any) -> str:
    """Some of APPS's texts are lists of lines."""
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _with_whole_keys(value: Any) -> Any:
    """The value with the whole numbers for keys that JSON made text of."""
    if isinstance(value, dict) and all(re.fullmatch(r"-?\d+", key) for key in value):
        return {whole_number(key): item for key, item in value.items()}
    return value


def _apps_value(expected: Any) -> Any:
    """An expected value of APPS, which may be wrapped in a list of one."""
    wrapped = isinstance(expected, list) and len(expected) == 1
    return [_with_whole_keys(expected[0])] if wrapped else _with_whole_keys(expected)


def _call(test: Row) -> CallTest:
    """One JSON value per line of input is one argument."""
    lines = [line for line in test.text("input").split("\n") if line.strip()]
    args = tuple(test.decoded("input", line).values["input"] for line in lines)
    return CallTest(args, test.decoded("output").values["output"])


def _private_tests(row: Row) -> list:
    """The hidden tests: JSON text as it is, or packed."""
    text: Any = row.text("private_test_cases", "[]")
    if not text.lstrip().startswith("["):
        try:
            unpacker = zlib.decompressobj()
            data = unpacker.decompress(base64.b64decode(text, validate=True), MAX_TESTS_BYTES)
            if unpacker.unconsumed_tail or not unpacker.eof:
                raise ValueError(f"they are cut off or larger than {MAX_TESTS_BYTES >> 20} MiB")
            text = PlainUnpickler(io.BytesIO(data)).load()
        except (ValueError, binascii.Error, zlib.error, EOFError, pickle.UnpicklingError, LookupError, TypeError,
                AttributeError, RecursionError, MemoryError) as error:  # fmt: skip
            raise row.wrong(f"its private tests cannot be decoded: {error}") from error
        if not isinstance(text, str):
            raise row.wrong("its private tests are not JSON text", "base64 of zlib of a pickled string")
    return row.decoded("private_test_cases", text).items("private_test_cases")


class PlainUnpickler(pickle.Unpickler):
    """Reads what is made of builtin literals; UnpicklingError for anything that names a class or a function."""

    def find_class(self, module: str, name: str) -> NoReturn:
        """Refuse."""
        raise pickle.UnpicklingError(f"it names {module}.{name}, and tests are plain data")

    def persistent_load(self, pid: Any) -> NoReturn:
        """Refuse."""
        raise pickle.UnpicklingError("it refers to something outside itself, and tests are plain data")
