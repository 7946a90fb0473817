"""HumanEval+ and MBPP+ (Liu et al. 2023), from the files that EvalPlus releases: inputs, and references to answer them.

The rules are those of EvalPlus 0.3.1: base and plus inputs must both pass; values are equal by ``==``, or as numbers
within the problem's ``atol``, which is 1e-6 at least where a float (or a list or tuple of floats) is expected. EvalPlus
applies that 1e-6 from the first such test on, here it holds for all tests of the problem. Thirteen problems have a rule
of their own (evalplus.toml). CPU time is limited by what the reference needs. One test is left out: a value of Mbpp/255
with 1.7 million tuples does not fit into the sandbox.

The files hold no expected values. The references are run in the sandbox, never here, and what they give is kept in a
file named by a hash of solutions, inputs and the version of Python: computed once for a version of a data set.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ra3.benchmarks.contests import LeftOut
from ra3.data.tables import Row
from ra3.errors import UserError
from ra3.grading.problem_tests import CallTest, JudgeTest, is_plain
from ra3.grading.problems import Problem
from ra3.run.files import write_atomic
from ra3.sandbox import Job, Outcome, Sandbox, SandboxError
from ra3.sandbox.inside import values

FLOAT_ATOL = 1e-6
MIN_CPU_S, MAX_CPU_S, CPU_FACTOR, MEMORY_MB = 4.0, 60.0, 4.0, 4096
REFERENCE_WALL_S, REFERENCE_OUTPUT, WORKERS = 300.0, 1 << 28, 2
CACHE_FORMAT = 3


Values = dict[str, Any]
"""What a reference gives in the sandbox's encoding, by the number of the input as text; less what is too large."""


@dataclass(frozen=True)
class Answered:
    """A row, its reference with the arguments of every test, and what that gave."""

    row: Row
    inputs: list[list]
    reference: Job
    values: Values | str
    """Or why it fails."""
    cpu_s: float
    """CPU seconds for all of them."""


def answered(rows: Sequence[Row]) -> list[Answered]:
    """Run the references of all rows for their expected values, or read those from disk if they were run before.

    UserError for the first bad row.
    """
    inputs = [[*_inputs(row, "base_input"), *_inputs(row, "plus_input")] for row in rows]
    jobs = list(map(_reference, rows, inputs))
    path = _cache_file(jobs)
    found = _stored(path, len(jobs))
    if found is None:
        with Sandbox(WORKERS, MAX_CPU_S, REFERENCE_WALL_S, MEMORY_MB) as sandbox:
            outcomes = sandbox.run(jobs)
        if any(outcome.fault == "infra" for outcome in outcomes):
            raise SandboxError("a reference could not be run")
        found = [(_values(*ran), ran[-1].cpu_s) for ran in zip(jobs, outcomes, strict=True)]
        with contextlib.suppress(OSError):  # without a place to keep it, the next run computes it again
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, gzip.compress(json.dumps(found).encode(), 3))
    trees, cpu_s = zip(*found, strict=True)
    return list(map(Answered, rows, inputs, jobs, trees, cpu_s))


def evalplus(found: Answered, stop: tuple[str, ...]) -> Problem:
    """Convert a row whose reference was run. UserError if it is bad, LeftOut if its reference failed."""
    if isinstance(found.values, str):
        raise LeftOut(found.row, f"its own reference fails here: {found.values}")
    row, entry_point = found.row, str(found.reference.entry_point)
    expected = {int(number): values.from_wire(tree) for number, tree in found.values.items()}
    atol = tolerance(expected.values(), row.number("atol"))
    meta = {"numbers": "python", "atol": atol, "references": [found.reference.source]}
    meta |= {"cpu_s": min(MAX_CPU_S, MIN_CPU_S + CPU_FACTOR * found.cpu_s), "memory_mb": MEMORY_MB}
    cases = [(args, expected[i]) for i, args in enumerate(found.inputs) if i in expected]
    try:
        rule = rule_test(entry_point, cases, atol)
        tests = (rule,) if rule else tuple(CallTest(tuple(args), value) for args, value in cases)
        return Problem(row.text("task_id"), row.text("prompt"), entry_point, tests, stop, meta)
    except UserError as error:
        raise row.wrong(error.what, error.allowed or "") from error
    except ValueError as error:
        raise row.wrong(str(error)) from error


def _reference(row: Row, inputs: list[list]) -> Job:
    """The job that calls a row's reference on all inputs."""
    if not inputs:
        raise row.wrong("it has no inputs", "'base_input' and 'plus_input' with one list of arguments per test")
    prompt, solution, entry = row.text("prompt"), row.text("canonical_solution"), row.text("entry_point")
    if not solution.strip():
        raise row.wrong("'canonical_solution' is empty", "the solution whose values are expected")
    if not entry.isidentifier():
        raise row.wrong(f"'entry_point' is {entry!r}", "a function's name")
    try:
        return Job.call(prompt + solution, entry, inputs, REFERENCE_OUTPUT)
    except TypeError as error:
        raise row.wrong(f"task {row.text('task_id')} has an input that is {error}") from error


def _values(reference: Job, outcome: Outcome) -> Values | str:
    """What a reference gave, or why it failed."""
    if fault := outcome.fault or next((r.error for r in outcome.results if r.error not in (None, "MemoryError")), None):
        return fault
    if len(outcome.results) != reference.tests:
        return "it gave too few values"
    return {str(i): json.loads(result.data) for i, result in enumerate(outcome.results) if not result.error}


def _inputs(row: Row, key: str) -> list[list]:
    found = [] if row.values.get(key) == {} else row.items(key, [])  # Mbpp/793 is released with an object that is empty
    if not all(isinstance(arguments, list) for arguments in found):
        raise row.wrong(f"{key!r} holds something that is not a list of arguments", "a list of lists")
    try:
        return with_types(row.text("task_id"), found)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise row.wrong(f"{key!r} does not have the form this task needs: {error}") from error


def tolerance(expected: Iterable[object], atol: float) -> float:
    """Return the problem's own tolerance, or 1e-6 if it has none and one of its tests expects floats.

    Example: ``tolerance([1, [0.5, 2.0]], 0) == 1e-6``
    """
    return atol or (FLOAT_ATOL if any(map(_is_floats, expected)) else 0.0)


def _is_floats(value: object) -> bool:
    items = value if isinstance(value, list | tuple) else [value]
    return bool(items) and all(isinstance(item, float) for item in items)


def _deep_tuple(item: Any) -> Any:
    return tuple(map(_deep_tuple, item)) if isinstance(item, list) else item


FORMS: dict[str, Callable[[Any], Any]] = {
    "as it is": lambda item: item,
    "tuple": tuple,
    "float": float,
    "complex": complex,
    "list of tuples": lambda rows: [tuple(row) for row in rows],
    "tuple of tuples": lambda rows: tuple(tuple(row) for row in rows),
    "mixed tuple": lambda items: tuple(tuple(item) if isinstance(item, list) else item for item in items),
    "deep tuple": _deep_tuple,
    "dict of tuples": lambda items: {key: tuple(value) for key, value in items.items()},
    "sets": lambda items: [set(item) if isinstance(item, list) and item else {} for item in items],  # [] is a dict
}
"""Of arguments, by the names that evalplus.toml gives them."""


@cache
def facts() -> dict[str, Any]:
    """Return what evalplus.toml says: ``forms`` by task, ``rules`` by entry point."""
    found = tomllib.loads((Path(__file__).parent / "evalplus.toml").read_text(encoding="utf-8"))
    return {
        "forms": {f"Mbpp/{number}": form for form in found["forms"] for number in form["tasks"]},
        "rules": {name: rule for rule in found["rules"] for name in rule["entry_points"]},
    }


def with_types(task_id: str, inputs: list[list]) -> list[list]:
    """Return the arguments of every test of a task; those of a task without a form stay as they are.

    Example: ``with_types("Mbpp/106", [[[1], [2]]]) == [[[1], (2,)]]``
    """
    form = facts()["forms"].get(task_id, {"first": []})
    if "all" in form:
        return [list(map(FORMS[form["all"]], arguments)) for arguments in inputs]
    convert = [FORMS[name] for name in form["first"]]
    return [[*(to(arg) for to, arg in zip(convert, args, strict=False)), *args[len(convert) :]] for args in inputs]


def rule_test(entry_point: str, cases: Sequence[tuple], atol: float) -> JudgeTest | None:
    """Return the test of a problem with a rule of its own, None for any other. ValueError for values not plain data."""
    rule = facts()["rules"].get(entry_point)
    if rule is None:
        return None
    if "expected" in rule:
        there = rule["expected"] == "whether there is one"
        cases = [(args, True if there and expected is not None else None) for args, expected in cases]
    if not is_plain(list(cases)):
        raise ValueError("its reference gives a value that is not plain data")
    source = f"import math\n\ninf, atol = math.inf, {atol!r}\nCASES = {list(cases)!r}\nfor args, expected in CASES:\n"
    return JudgeTest(f"{source}    out = {entry_point}(*args)\n{rule['source']}")


def cache_folder() -> Path:
    """Return where computed and downloaded things are kept: ``$XDG_CACHE_HOME/ra3``, else ``~/.cache/ra3``; for a user
    without a home folder one of this process alone."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ra3"
    except RuntimeError:
        return Path(_own_folder().name)


@cache
def _own_folder() -> tempfile.TemporaryDirectory:
    """A folder that goes with this process."""
    return tempfile.TemporaryDirectory(prefix="ra3-")


def _cache_file(jobs: Sequence[Job]) -> Path:
    digest = hashlib.sha256(f"{CACHE_FORMAT} {sys.version_info[:3]}".encode())
    for job in jobs:
        for part in (job.source.encode("utf-8", "surrogatepass"), str(job.entry_point).encode(), job.data):
            digest.update(len(part).to_bytes(8, "big") + part)
    return cache_folder() / f"references-{digest.hexdigest()[:32]}.json.gz"


def _stored(path: Path, count: int) -> list[tuple[Values | str, float]] | None:
    """Read a file of values; None if it is not there or not whole."""
    try:
        found = json.loads(gzip.decompress(path.read_bytes()))
        read = [(trees if isinstance(trees, str) else dict(trees), float(cpu_s)) for trees, cpu_s in found]
        return read if len(read) == count else None
    except (OSError, EOFError, ValueError, TypeError):
        return None
