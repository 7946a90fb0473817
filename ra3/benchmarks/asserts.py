"""Asserts of a benchmark's own test code, turned into calls where that says exactly the same.

``assert f(1, [2]) == (3,)`` is the call ``f(1, [2])`` with the expected value ``(3,)``. Only constants are evaluated:
literals, their arithmetic, nothing that could run code. An assert that says anything else is left to a judge.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Iterable

from ra3.grading.problem_tests import CallTest, is_plain, syntax_tree

ARITHMETIC = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
MAX_POWER = 64


class NotConstant(ValueError):
    """An expression whose value is not known from its text alone."""


def as_calls(source: str, function: str) -> list[CallTest] | None:
    """The calls that a piece of test code consists of, or None if it does anything beside asserting equality of calls
    of ``function`` with constants. SyntaxError if it is no Python."""
    found = []
    for statement in _body(syntax_tree(source.replace("\r\n", "\n"))):
        test = _call(statement, function)
        if test is None:
            return None
        found.append(test)
    return found


def as_calls_of_check(source: str) -> list[CallTest] | None:
    """The same for the body of ``def check(candidate)``, which HumanEval's tests consist of."""
    checks = [n for n in syntax_tree(source).body if isinstance(n, ast.FunctionDef) and n.name == "check"]
    if len(checks) != 1 or len(checks[0].args.args) != 1:
        return None
    return as_calls(ast.unparse(ast.Module(checks[0].body, [])), checks[0].args.args[0].arg)


def _body(tree: ast.Module) -> Iterable[ast.stmt]:
    """The statements that do something."""
    return [s for s in tree.body if not isinstance(s, ast.Pass) and not _says_nothing(s)]


def _says_nothing(statement: ast.stmt) -> bool:
    """A docstring, the bare name ``print``, or ``assert True``."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant | ast.Name)
    test = statement.test if isinstance(statement, ast.Assert) else None
    return isinstance(test, ast.Constant) and test.value is True


def _call(statement: ast.stmt, function: str) -> CallTest | None:
    sides = _equation(statement)
    if sides is None:
        return None
    call = sides[0]
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == function):
        return None
    try:
        args, expected = tuple(constant(item) for item in call.args), constant(sides[1])
    except NotConstant:
        return None
    fits = not call.keywords and is_plain(args) and is_plain(expected, finite=True)
    return CallTest(args, expected) if fits else None


def _equation(statement: ast.stmt) -> tuple[ast.expr, ast.expr] | None:
    """The two sides of ``assert left == right``."""
    test = statement.test if isinstance(statement, ast.Assert) else None
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return None
    if not isinstance(test.ops[0], ast.Eq) and not _is_none(test):
        return None
    return test.left, test.comparators[0]


def _is_none(test: ast.Compare) -> bool:
    right = test.comparators[0]
    return isinstance(test.ops[0], ast.Is) and isinstance(right, ast.Constant) and right.value is None


def constant(node: ast.expr) -> object:
    """The value of an expression of literals. NotConstant for any other.

    Example: ``constant(ast.parse("(3 + 5, -2 ** 4)", mode="eval").body) == (8, -16)``
    """
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        return _arithmetic(node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = constant(node.operand)
        if isinstance(value, int | float | complex):
            return -value
    if isinstance(node, ast.List):
        return [constant(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(constant(item) for item in node.elts)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise NotConstant(ast.unparse(node)[:80]) from error


def _arithmetic(node: ast.BinOp) -> object:
    left, right = constant(node.left), constant(node.right)
    numbers = isinstance(left, int | float | complex) and isinstance(right, int | float | complex)
    joined = isinstance(node.op, ast.Add) and type(left) is type(right) and type(left) in (str, list, tuple)
    if not (numbers or joined) or (isinstance(node.op, ast.Pow) and abs(right) > MAX_POWER):  # type: ignore[arg-type]
        raise NotConstant(ast.unparse(node)[:80])
    try:
        return ARITHMETIC[type(node.op)](left, right)
    except (ArithmeticError, ValueError) as error:
        raise NotConstant(ast.unparse(node)[:80]) from error
