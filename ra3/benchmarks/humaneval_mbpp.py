"""HumanEval (Chen et al. 2021) and MBPP (Austin et al. 2021): complete a function, tested by the set's own asserts.

``assert f(1, [2]) == (3,)`` is turned into the call ``f(1, [2])`` with the expected value ``(3,)``, where that says
exactly the same; an assert that says anything else is left to a judge. Only constants are evaluated: literals, their
arithmetic, nothing that could run code.

The task ids of MBPP are the split: 1-10 are for prompts, 11-510 the test set, 511-600 for validation, 601-974 for
training. Its prompt is the form of bigcode and EvalPlus, a docstring with the first assert.
"""

from __future__ import annotations

import ast
import builtins
import operator
from collections.abc import Iterable, Sequence

from ra3.data.tables import Row
from ra3.errors import shown
from ra3.grading.problem_tests import CallTest, JudgeTest, is_plain, syntax_tree
from ra3.grading.problems import Problem

HUMANEVAL_STOP = (
    "\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert ", "\nif __name__", "\ndef main(", "\nprint(", '\n"""',
)  # fmt: skip
MBPP_STOP = ("\nclass ", "\nassert ", '\n"""', "\nprint(", "\nif __name__", "\n```")
"""Stop strings of EvalPlus for base models on these sets."""
SPLITS = {"prompt": (1, 10), "test": (11, 510), "validation": (511, 600), "train": (601, 974), "all": (1, 974)}
CPU_S = 5.0
"""The official harness gives 3 s by the clock; this has some room, so that a slow host fails no right program."""
ARITHMETIC = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
MAX_POWER = 64


def humaneval(row: Row) -> Problem:
    """Convert a row: the head and docstring of a function, tested by ``check(candidate)``. UserError if it is bad."""
    prompt, entry, check = row.text("prompt"), row.text("entry_point"), row.text("test")
    reference = prompt + row.text("canonical_solution")
    try:
        # the judge's code needs the helpers that the prompt gives to program and test alike (tasks 32, 38 and 50)
        others = [s for s in syntax_tree(reference).body if not (isinstance(s, ast.FunctionDef) and s.name == entry)]
        judge = f"{ast.unparse(ast.Module(others, []))}\n{check}\ncheck({entry})\n"
        tests = tuple(as_calls_of_check(check) or [JudgeTest(judge)])
    except (SyntaxError, ValueError, RecursionError) as error:
        raise row.wrong(f"its code is no Python: {error}") from error
    meta = {"numbers": "python", "cpu_s": CPU_S, "references": [reference]}
    return Problem(row.text("task_id"), prompt, entry, tests, HUMANEVAL_STOP, meta)


def mbpp(row: Row, split: str = "test") -> Problem | None:
    """Convert a row: a sentence and some asserts. None if it is no part of the split, UserError if it is bad."""
    number, (first, last) = _task_number(row), SPLITS[split]
    if not first <= number <= last:
        return None
    asserts, text, code = row.texts("test_list"), row.text("text", "") or row.text("prompt"), row.text("code")
    setup = row.text("test_setup_code", "") or "\n".join(row.texts("test_imports", []))
    if not asserts:
        raise row.wrong("'test_list' is empty", "one assert or more")
    try:
        entry = _tested_function(asserts, code)
        calls = None if setup.strip() else as_calls(syntax_tree("\n".join(asserts).replace("\r\n", "\n")).body, entry)
        tests = tuple(calls or [_judge_test(code, setup, asserts, entry)])
    except (SyntaxError, RecursionError) as error:
        raise row.wrong(f"its code is no Python: {error}") from error
    except LookupError as error:
        raise row.wrong(str(error)) from error
    prompt = f'"""\n{text.strip()}\n{asserts[0].strip()}\n"""\n'
    meta = {"numbers": "python", "cpu_s": CPU_S, "references": [code]}
    return Problem(f"Mbpp/{number}", prompt, entry, tests, MBPP_STOP, meta)


def _task_number(row: Row) -> int:
    """``"11"`` and ``11`` are 11, ``"Mbpp/11"`` too."""
    found = row.values.get("task_id", "")
    written = (found if isinstance(found, str) else shown(found)).rpartition("/")[2]
    if not written.isdecimal() or len(written) > 9:
        raise row.wrong(f"'task_id' is {shown(found)}", "a whole number")
    return int(written)


def _tested_function(asserts: Sequence[str], code: str) -> str:
    """The function of the reference that the asserts call. LookupError if they call none, SyntaxError for no Python."""
    defined = {node.name for node in syntax_tree(code).body if isinstance(node, ast.FunctionDef)}
    calls = [node.func for node in ast.walk(syntax_tree("\n".join(asserts))) if isinstance(node, ast.Call)]
    called = [function.id for function in calls if isinstance(function, ast.Name)]
    known = [name for name in called if name in defined] or [name for name in called if not hasattr(builtins, name)]
    if not known:
        raise LookupError("the asserts call no function")
    return known[0]


def _judge_test(code: str, setup: str, asserts: Sequence[str], entry: str) -> JudgeTest:
    """The asserts as they are, after the reference's imports; classes that they take from the program stay there."""
    statements = syntax_tree(code).body
    imports = [ast.unparse(s) for s in statements if isinstance(s, ast.Import | ast.ImportFrom)]
    source = "\n".join(["\n".join(imports), setup, *asserts, ""])
    used = {node.id for node in ast.walk(syntax_tree(source)) if isinstance(node, ast.Name)}
    defined = [s.name for s in statements if isinstance(s, ast.FunctionDef | ast.ClassDef)]
    return JudgeTest(source, tuple(name for name in dict.fromkeys(defined) if name in used and name != entry))


def as_calls_of_check(source: str) -> list[CallTest] | None:
    """Do the same as ``as_calls`` for the body of ``def check(candidate)``, which HumanEval's tests consist of."""
    checks = [n for n in syntax_tree(source).body if isinstance(n, ast.FunctionDef) and n.name == "check"]
    if len(checks) != 1 or len(checks[0].args.args) != 1:
        return None
    return as_calls(checks[0].body, checks[0].args.args[0].arg)


def as_calls(statements: Iterable[ast.stmt], function: str) -> list[CallTest] | None:
    """Return the calls that a piece of test code consists of; None if it does anything beside asserting equality of
    calls of ``function`` with constants."""
    found = []
    for statement in statements:
        match statement:
            case ast.Pass() | ast.Expr(ast.Constant() | ast.Name()) | ast.Assert(ast.Constant(True)):
                continue  # says nothing: a docstring, the bare name ``print``
            case ast.Assert(
                ast.Compare(ast.Call(ast.Name(name), args, []), [ast.Eq()], [right])
                | ast.Compare(ast.Call(ast.Name(name), args, []), [ast.Is()], [ast.Constant(None) as right])
            ) if name == function and (test := _call(args, right)):
                found.append(test)
            case _:
                return None
    return found


def _call(args: Sequence[ast.expr], right: ast.expr) -> CallTest | None:
    """The test, unless it takes more than constants to say what is passed and expected."""
    try:
        test = CallTest(tuple(constant(arg) for arg in args), constant(right))
    except (NotConstant, RecursionError):
        return None
    return test if is_plain(test.args) and is_plain(test.expected, finite=True) else None


class NotConstant(ValueError):
    """An expression whose value is not known from its text alone."""


def constant(node: ast.expr) -> object:
    """Return the value of an expression of literals. NotConstant for any other.

    Example: ``constant(ast.parse("(3 + 5, -2 ** 4)", mode="eval").body) == (8, -16)``
    """
    match node:
        case ast.BinOp(left, op, right) if type(op) in ARITHMETIC:
            return _arithmetic(node, constant(left), op, constant(right))
        case ast.UnaryOp(ast.USub(), operand) if isinstance(value := constant(operand), int | float | complex):
            return -value
        case ast.List(items) | ast.Tuple(items):
            return (list if isinstance(node, ast.List) else tuple)(map(constant, items))
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise NotConstant(type(node).__name__) from error


def _arithmetic(node: ast.BinOp, left: object, op: ast.operator, right: object) -> object:
    numbers = isinstance(left, int | float | complex) and isinstance(right, int | float | complex)
    joined = isinstance(op, ast.Add) and type(left) is type(right) and type(left) in (str, list, tuple)
    if not (numbers or joined) or (isinstance(op, ast.Pow) and abs(right) > MAX_POWER):  # type: ignore[arg-type]
        raise NotConstant(type(node).__name__)
    try:
        return ARITHMETIC[type(op)](left, right)
    except (ArithmeticError, ValueError) as error:
        raise NotConstant(type(node).__name__) from error
