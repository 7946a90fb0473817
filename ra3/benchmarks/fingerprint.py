"""Marks by which a text is known again: runs of words, signatures and shapes of functions, inputs with outputs."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence

from ra3.benchmarks.asserts import NotConstant, constant
from ra3.grading.problem_tests import CallTest, CheckedTest, StdioTest, syntax_tree
from ra3.sandbox.inside import values

RUN = 13
"""Words in a row."""
LEAST_NODES = 30
"""A smaller function is the same by chance."""
LEAST_PAIR = 24
"""Characters of input and output; a smaller pair is the same by chance."""
LEAST_NAME = 12
"""Characters of a name; a shorter one is the same by chance."""
WORD = re.compile(r"[a-z0-9_]+")
DEFINITION = re.compile(r"\bdef\s+(\w+)\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)")


def word_runs(text: str, length: int = RUN) -> set[int]:
    """Hashes of every ``length`` words in a row, case and punctuation left out."""
    words = WORD.findall(text.lower())
    return {hash(tuple(words[i : i + length])) for i in range(len(words) - length + 1)}


def signatures(text: str) -> set[str]:
    """``name(argument, names)`` of every function that a text defines, be it valid Python or not.

    A name of several words that is long enough to be nobody else's stands for itself as well, in small letters.
    """
    heads = DEFINITION.findall(text)
    own = {name.lower() for name, _ in heads if "_" in name.strip("_") and len(name) >= LEAST_NAME}
    return own | {f"{name}({', '.join(_argument_names(inside))})" for name, inside in heads}


def _argument_names(inside: str) -> list[str]:
    """``"a: int, b=(1, 2)"`` -> ``["a", "b"]``."""
    depth, top = 0, ""
    for character in inside:
        depth += (character in "([{") - (character in ")]}")
        top += character if depth == 0 else ""
    parts = [part.split("=")[0].split(":")[0].strip() for part in top.split(",")]
    return [part for part in parts if part and part not in ("*", "/", "self")]


def parsed(text: str) -> ast.Module | None:
    """The syntax tree, or None for what is no Python."""
    try:
        return syntax_tree(text)
    except SyntaxError:
        return None


def function_shapes(tree: ast.AST | None) -> set[str]:
    """A hash of each function that stays the same if it, its arguments and its variables are given other names."""
    found = [node for node in ast.walk(tree or ast.Module([], [])) if isinstance(node, ast.FunctionDef)]
    return {_shape(node) for node in found if sum(1 for _ in ast.walk(node)) >= LEAST_NODES}


def _shape(function: ast.FunctionDef) -> str:
    names: dict[str, int] = {}
    own = {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)} | {function.name}
    own |= {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    parts = []
    for node in _walk(function):
        parts.append(type(node).__name__)
        name = getattr(node, "id", None) or getattr(node, "arg", None) or getattr(node, "name", None)
        if isinstance(node, ast.Constant):
            parts.append(repr(node.value))
        elif isinstance(node, ast.Attribute):
            parts.append(node.attr)
        elif isinstance(name, str):
            parts.append(str(names.setdefault(name, len(names))) if name in own else name)
    return hashlib.sha256(" ".join(parts).encode("utf-8", "replace")).hexdigest()[:24]


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """Every node in the order of the text, without docstrings and annotations; a Pass ends each list of statements."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_comment"):
            continue
        items = value if isinstance(value, list) else [value]
        if name == "body" and isinstance(value, list) and _is_docstring(value[0]):
            items = value[1:]
        for item in items:
            if isinstance(item, ast.AST):
                yield from _walk(item)
        if name in ("body", "orelse") and isinstance(value, list):
            yield ast.Pass()


def _is_docstring(statement: ast.AST) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def pairs_of_tests(tests: Iterable[object]) -> set[str]:
    """Input and output of every test that has both, as text."""
    found = set()
    for test in tests:
        if isinstance(test, CallTest):
            found.add(call_pair(test.args, test.expected))
        elif isinstance(test, StdioTest):
            found.add(f"{test.stdin.strip()}\0{test.expected_stdout.strip()}")
        elif isinstance(test, CheckedTest) and test.reference.strip():
            found.add(f"{test.stdin.strip()}\0{test.reference.strip()}")
    return found


def call_pair(args: Sequence, expected: object) -> str:
    """A call's arguments and value, as text."""
    return f"{values.encode(list(args)).decode()}\0{values.encode(expected).decode()}"


def pairs_of_asserts(tree: ast.AST | None) -> set[str]:
    """The pairs of every ``assert f(constants) == constant`` in a program."""
    found = set()
    for node in ast.walk(tree or ast.Module([], [])):
        test = node.test if isinstance(node, ast.Assert) else None
        if isinstance(test, ast.Compare) and isinstance(test.left, ast.Call) and isinstance(test.ops[0], ast.Eq):
            try:
                args = [constant(arg) for arg in test.left.args]
                found.add(call_pair(args, constant(test.comparators[0])))
            except NotConstant:
                continue
    return found
