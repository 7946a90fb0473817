"""LiveCodeBench (Jain et al. 2024), code generation: contest problems on stdin or as a method of ``class Solution``.

Private tests are base64 of zlib of a pickle of JSON text. They are read by an unpickler that refuses every class, so
a file can hold data and nothing else. Comparison is the benchmark's: lines stripped, equal as text or as decimal
numbers; values by ``==``, a tuple counting as a list.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import pickle
import zlib
from collections.abc import Sequence
from typing import Any, NoReturn

from ra3.benchmarks.rows import Row
from ra3.benchmarks.stdio import ASK, ASK_FUNCTION, method_call
from ra3.grading.problem_tests import CallTest, StdioTest
from ra3.grading.problems import Problem

CPU_S = 6.0
"""Per test, as in the benchmark."""
MAX_TESTS_BYTES = 1 << 28
MODULES = (
    "string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics", "itertools",
    "functools", "operator", "io", "sys", "json", "builtins", "typing",
)  # fmt: skip
IMPORTS = "".join(f"from {name} import *\n" for name in MODULES) + (
    f"import {', '.join(MODULES)}\nsys.setrecursionlimit(50000)\n"
)
"""What the benchmark gives every program: the names in these modules, the modules, and room to recurse."""


class PlainUnpickler(pickle.Unpickler):
    """Reads what is made of builtin literals; UnpicklingError for anything that names a class or a function."""

    def find_class(self, module: str, name: str) -> NoReturn:
        """Refuses."""
        raise pickle.UnpicklingError(f"it names {module}.{name}, and tests are plain data")

    def persistent_load(self, pid: Any) -> NoReturn:
        """Refuses."""
        raise pickle.UnpicklingError("it refers to something outside itself, and tests are plain data")


def livecodebench(rows: Sequence[Row]) -> list[Problem]:
    """Every row as a problem; UserError for the first that is none."""
    return [_problem(row) for row in rows]


def _problem(row: Row) -> Problem:
    public = _json(row, "public_test_cases", row.text("public_test_cases"))
    private = private_tests(row)
    tests = [Row(test, row.where) for test in (*public, *private)]
    if not tests:
        raise row.wrong("it has no tests", "one test or more")
    meta: dict[str, Any] = {"numbers": "python", "cpu_s": CPU_S}
    meta |= {key: row.text(key, "") for key in ("contest_date", "difficulty", "platform")}
    statement, starter = row.text("question_content").strip(), row.text("starter_code", "").strip()
    meta["statement"] = statement
    if {test.text("testtype", "stdin") for test in tests} == {"stdin"}:
        runs = tuple(StdioTest(test.text("input"), test.text("output")) for test in tests)
        prompt = ASK.format(statement)
        return Problem(row.text("question_id"), prompt, None, runs, (), meta, IMPORTS, "", "fenced")
    name = Row(_json(row, "metadata", row.text("metadata"), dict), row.where).text("func_name")
    calls = tuple(_call(row, test) for test in tests)
    prompt = ASK_FUNCTION.format(statement, starter)
    meta["cpu_s"] *= len(calls)
    return Problem(row.text("question_id"), prompt, name, calls, (), meta, IMPORTS, method_call(name), "fenced")


def _call(row: Row, test: Row) -> CallTest:
    """One JSON value per line of input is one argument."""
    lines = [line for line in test.text("input").split("\n") if line.strip()]
    args = tuple(_json(row, "input", line, object) for line in lines)
    return CallTest(args, _json(row, "output", test.text("output"), object))


def private_tests(row: Row) -> list:
    """The hidden tests: JSON text as it is, or packed."""
    packed = row.text("private_test_cases", "[]")
    if packed.lstrip().startswith("["):
        return _json(row, "private_test_cases", packed)
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode(packed, validate=True), MAX_TESTS_BYTES)
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise ValueError(f"they are cut off or larger than {MAX_TESTS_BYTES >> 20} MiB")
        text = PlainUnpickler(io.BytesIO(data)).load()
    except (ValueError, binascii.Error, zlib.error, EOFError, pickle.UnpicklingError, LookupError, TypeError,
            AttributeError, RecursionError, MemoryError) as error:  # fmt: skip
        raise row.wrong(f"its private tests cannot be decoded: {error}") from error
    if not isinstance(text, str):
        raise row.wrong("its private tests are not JSON text", "base64 of zlib of a pickled string")
    return _json(row, "private_test_cases", text)


def _json(row: Row, key: str, text: str, kind: type = list) -> Any:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise row.wrong(f"{key!r} is no valid JSON: {error}") from error
    if not isinstance(found, kind):
        raise row.wrong(f"{key!r} is of the wrong kind", f"a JSON {kind.__name__}")
    return found
