"""MBPP (Austin et al. 2021): a sentence and an assert as the prompt, three asserts as the tests.

The task ids are the split: 1-10 are for prompts, 11-510 the test set, 511-600 for validation, 601-974 for training.
The prompt is the form of bigcode and EvalPlus, a docstring with the first assert.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Sequence

from ra3.benchmarks.asserts import as_calls
from ra3.benchmarks.humaneval import CPU_S
from ra3.benchmarks.rows import Row
from ra3.grading.problem_tests import JudgeTest, syntax_tree
from ra3.grading.problems import Problem

STOP = ("\nclass ", "\nassert ", '\n"""', "\nprint(", "\nif __name__", "\n```")
SPLITS = {"prompt": (1, 10), "test": (11, 510), "validation": (511, 600), "train": (601, 974), "all": (1, 974)}


def mbpp(rows: Sequence[Row], split: str = "test") -> list[Problem]:
    """The rows of a split as problems; UserError for the first that is none."""
    first, last = SPLITS[split]
    return [_problem(row) for row in rows if first <= task_number(row) <= last]


def task_number(row: Row) -> int:
    """``"11"`` and ``11`` are 11, ``"Mbpp/11"`` too."""
    written = str(row.data.get("task_id", "")).rpartition("/")[2]
    if not written.isdecimal() or len(written) > 9:
        raise row.wrong(f"'task_id' is {row.data.get('task_id')!r}", "a whole number")
    return int(written)


def _problem(row: Row) -> Problem:
    number, asserts = task_number(row), row.texts("test_list")
    text, code = row.text("text", "") or row.text("prompt"), row.text("code")
    setup = row.text("test_setup_code", "") or "\n".join(row.texts("test_imports", []))
    if not asserts:
        raise row.wrong("'test_list' is empty", "one assert or more")
    try:
        entry = tested_function(asserts, code)
        calls = None if setup.strip() else as_calls("\n".join(asserts), entry)
        tests = tuple(calls) if calls else (judge_test(code, setup, asserts, entry),)
    except SyntaxError as error:
        raise row.wrong(f"its code is no Python: {error}") from error
    except LookupError as error:
        raise row.wrong(str(error)) from error
    prompt = f'"""\n{text.strip()}\n{asserts[0].strip()}\n"""\n'
    meta = {"numbers": "python", "cpu_s": CPU_S, "reference": code}
    return Problem(f"Mbpp/{number}", prompt, entry, tests, STOP, meta)


def tested_function(asserts: Sequence[str], code: str) -> str:
    """The function of the reference that the asserts call. LookupError if they call none, SyntaxError for no Python."""
    defined = {node.name for node in syntax_tree(code).body if isinstance(node, ast.FunctionDef)}
    called = [
        node.func.id
        for node in ast.walk(syntax_tree("\n".join(asserts)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    known = [name for name in called if name in defined] or [name for name in called if not hasattr(builtins, name)]
    if not known:
        raise LookupError("the asserts call no function")
    return known[0]


def judge_test(code: str, setup: str, asserts: Sequence[str], entry: str) -> JudgeTest:
    """The asserts as they are, after the reference's imports; classes that they take from the program stay there."""
    source = "\n".join([imports(code), setup, *asserts, ""])
    used = {node.id for node in ast.walk(syntax_tree(source)) if isinstance(node, ast.Name)}
    defined = [s.name for s in syntax_tree(code).body if isinstance(s, ast.FunctionDef | ast.ClassDef)]
    return JudgeTest(source, tuple(name for name in dict.fromkeys(defined) if name in used and name != entry))


def imports(code: str) -> str:
    """The imports at the top level of a program: a test may rely on them."""
    found = [s for s in syntax_tree(code).body if isinstance(s, ast.Import | ast.ImportFrom)]
    return "\n".join(ast.unparse(statement) for statement in found)
