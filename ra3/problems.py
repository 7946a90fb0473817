"""Problems with tests: what a model is asked, and what decides whether its answer is right.

A file of problems is JSON lines, one problem each::

    {"id": "add-1", "prompt": "def add(a, b):\\n", "entry_point": "add",
     "tests": [{"args": [1, 2], "expected": 3}], "stop": ["\\ndef "], "meta": {"band": "known"}}
    {"id": "echo-1", "prompt": "# print the line twice\\n", "tests": [{"stdin": "a\\n", "stdout": "a\\na\\n"}]}

``id``, ``prompt`` and ``tests`` are required; ``entry_point`` goes with tests of the form args/expected and only with
those. A JSON value stands for the same Python value; any other plain value is written as a Python literal,
``{"__python__": "(1, 2)"}``, wherever a value may stand, also inside lists and objects.

``meta["numbers"] = "loose"`` lets int and float stand for each other and, in output, compares numbers within 1e-6.
"""

import ast
import cmath
import json
from dataclasses import dataclass, field
from pathlib import Path

from ra3.errors import UserError

KEYS = {"id", "prompt", "entry_point", "tests", "stop", "meta"}
LITERAL = "__python__"
PLAIN = "None, bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset; expected numbers are finite"


@dataclass(frozen=True)
class CallTest:
    """``entry_point(*args)`` must return ``expected``."""

    args: tuple
    expected: object


@dataclass(frozen=True)
class StdioTest:
    """The program, run as a script with ``stdin``, must print ``expected_stdout``."""

    stdin: str
    expected_stdout: str


@dataclass(frozen=True)
class Problem:
    """A task and its tests. UserError if it could not be graded: no tests, mixed kinds, values that are not plain data.

    Example: ``Problem("add-1", "def add(a, b):\\n", "add", (CallTest((1, 2), 3),), stop=("\\ndef ",))``
    """

    id: str
    prompt: str
    """Given to the model as it is."""
    entry_point: str | None
    """The function that call tests call; None for stdio tests."""
    tests: tuple[CallTest | StdioTest, ...]
    """All of one kind, at least one."""
    stop: tuple[str, ...] = ()
    """Generation ends before any of these."""
    meta: dict = field(default_factory=dict)

    def __post_init__(self):
        kinds = {type(test) for test in self.tests}
        if kinds == {CallTest}:
            self._check_calls()
        elif kinds != {StdioTest}:
            raise self._wrong("has no tests" if not kinds else "mixes kinds of tests", "one or more of one kind")
        elif self.entry_point is not None:
            raise self._wrong("has an entry point and stdin/stdout tests", "an entry point with args/expected only")
        if self.meta.get("numbers", "loose") != "loose":
            raise self._wrong(f"has meta numbers = {self.meta['numbers']!r}", '"loose", or leave it out')

    def _check_calls(self):
        if not (isinstance(self.entry_point, str) and self.entry_point.isidentifier()):
            raise self._wrong(f"has the entry point {self.entry_point!r}", "the name of the function that is tested")
        for number, test in enumerate(self.tests):
            assert isinstance(test, CallTest)
            if not is_plain(test.args) or not is_plain(test.expected, finite=True):
                raise self._wrong(f"has a value in test {number} that no answer could be compared with", PLAIN)

    def _wrong(self, what: str, allowed: str) -> UserError:
        return UserError(f"problem {self.id!r} {what}", allowed=allowed)


def is_plain(value, finite: bool = False, depth: int = 100) -> bool:
    """Whether a value can be sent to a program and compared; ``finite``: it holds no NaN and no infinity, either."""
    kind = type(value)
    if kind is float or kind is complex:
        return not finite or cmath.isfinite(value)
    if kind is dict:
        value = [*value.keys(), *value.values()]
    elif kind not in (list, tuple, set, frozenset):
        return value is None or kind in (bool, int, str, bytes)
    return depth > 0 and all(is_plain(item, finite, depth - 1) for item in value)


def program(problem: Problem, completion: str) -> str:
    """The source that is executed."""
    return problem.prompt + completion


def load(path: str | Path) -> list[Problem]:
    """The problems of a JSON-lines file. UserError with file and line for the first bad row, and for an empty file."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the problems: {error}", where=str(path)) from error
    found: dict[str, Problem] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            problem = _row(line, f"{path}:{number}")
            if problem.id in found:
                raise UserError(f"the id {problem.id!r} is used twice", where=f"{path}:{number}")
            found[problem.id] = problem
    if not found:
        raise UserError("the file holds no problems", where=str(path), allowed="one JSON object per line")
    return list(found.values())


def _row(line: str, where: str) -> Problem:
    try:
        return _problem(json.loads(line))
    except UserError as error:
        raise UserError(error.what, where=where, allowed=error.allowed, fix=error.fix) from error
    except RecursionError as error:
        raise UserError("this row is nested too deeply", where=where) from error
    except ValueError as error:
        raise UserError(f"this row is no valid JSON: {error}", where=where) from error


def _problem(row) -> Problem:
    if not isinstance(row, dict):
        raise UserError(f"a problem cannot be a {type(row).__name__}", allowed="a JSON object")
    if unknown := sorted(row.keys() - KEYS):
        raise UserError(f"unknown key {unknown[0]!r}", allowed=", ".join(sorted(KEYS)))
    tests = tuple(_test(test) for test in _typed(row, "tests", list))
    stop = tuple(_typed(row, "stop", list, []))
    if not all(isinstance(text, str) for text in stop):
        raise UserError("'stop' holds something that is not a string", allowed="a list of strings")
    entry_point = row.get("entry_point")
    return Problem(
        _typed(row, "id", str), _typed(row, "prompt", str), entry_point, tests, stop, _typed(row, "meta", dict, {})
    )


_REQUIRED = object()


def _typed(row: dict, key: str, kind: type, default=_REQUIRED):
    value = row.get(key, default)
    if value is _REQUIRED:
        raise UserError(f"{key!r} is missing")
    if not isinstance(value, kind):
        names = {str: "a string", list: "a list", dict: "an object"}
        raise UserError(f"{key!r} is {json.dumps(value)[:60]}", allowed=names[kind])
    return value


def _test(row) -> CallTest | StdioTest:
    keys = set(row) if isinstance(row, dict) else None
    if keys == {"args", "expected"}:
        return CallTest(tuple(_value(item) for item in _typed(row, "args", list)), _value(row["expected"]))
    if keys == {"stdin", "stdout"}:
        return StdioTest(_typed(row, "stdin", str), _typed(row, "stdout", str))
    allowed = '{"args": [...], "expected": ...} or {"stdin": "...", "stdout": "..."}'
    raise UserError(f"{json.dumps(row)[:80]} is not a test", allowed=allowed)


def _value(item):
    """The Python value of a JSON value, with ``{"__python__": "literal"}`` evaluated."""
    if isinstance(item, list):
        return [_value(member) for member in item]
    if not isinstance(item, dict):
        return item
    if set(item) != {LITERAL}:
        return {key: _value(member) for key, member in item.items()}
    try:
        return ast.literal_eval(item[LITERAL])
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise UserError(f"{item[LITERAL]!r} is not a Python literal", allowed='such as "(1, 2)" or "{1, 2}"') from error
