"""Overlaps of training text and problems with benchmarks: a model that trains on them cannot be measured any more.

Four signs, each enough: thirteen words in a row of a statement or a solution; a function of the same name and argument
names as the one that is asked for, or of its name alone if that is long; a function that is a reference solution but
for its names; tests with the same inputs and outputs. Words that several problems of a benchmark share are its
boilerplate and count for nothing, nor do very short functions, nor a single pair of trivial values.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections import Counter, defaultdict, deque
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from ra3.benchmarks.humaneval_mbpp import NotConstant, constant
from ra3.benchmarks.registry import Loaded
from ra3.grading.problem_tests import CallTest, CheckedTest, JudgeTest, StdioTest, syntax_tree
from ra3.grading.problems import Problem
from ra3.sandbox.inside import values

SIGNS = {
    "words": "13 words in a row", "signature": "a function of this name",
    "solution": "the reference solution", "tests": "tests with the same inputs and outputs",
}  # fmt: skip
RUN_WORDS = 13
COMMON_WORDS = 2
"""A run of words in so many problems of one benchmark is boilerplate."""
LEAST_NODES, LEAST_PAIR, LEAST_NAME = 30, 24, 12
"""Nodes of a function, characters of an input with its output, and of a name: what is smaller is the same by chance."""
WORD = re.compile(r"[a-z0-9_]+")
DEFINITION = re.compile(r"\bdef\s+(\w+)\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)")

Marks = dict[str, set]
"""The marks by which a text is known again, by sign."""


class Overlap(NamedTuple):
    """``Overlap("train/7", "mbpp+", "Mbpp/610", ("signature", "tests"))``."""

    item: str
    """The id of the document or problem to be trained on."""
    benchmark: str
    task: str
    signs: tuple[str, ...]

    def __str__(self) -> str:
        return f"shares with {self.benchmark} {self.task}: {', '.join(SIGNS[sign] for sign in self.signs)}"


class Index:
    """The marks of benchmarks; ``overlap`` finds the problem that a text shares most with."""

    def __init__(self, benchmarks: Iterable[Loaded]):
        self._owners: dict[str, dict[Hashable, list[tuple[str, str]]]] = {sign: defaultdict(list) for sign in SIGNS}
        for benchmark in benchmarks:
            marked = {problem.id: problem_marks(problem) for problem in benchmark.problems}
            uses = Counter(run for marks in marked.values() for run in marks["words"])
            for task, marks in marked.items():
                marks["words"] = {run for run in marks["words"] if uses[run] < COMMON_WORDS}
                for sign, own in marks.items():
                    for mark in own:
                        self._owners[sign][mark].append((benchmark.name, task))

    def overlap(self, item: str, marks: Marks) -> Overlap | None:
        """Return the task that shares the most signs with an item, or None."""
        signs: dict[tuple[str, str], dict[str, list]] = defaultdict(lambda: defaultdict(list))
        for sign, own in marks.items():
            for mark in own:
                for owner in self._owners[sign].get(mark, ()):
                    signs[owner][sign].append(mark)
        for shared in signs.values():
            if len(shared["tests"]) < 2 and sum(map(len, shared["tests"])) < LEAST_PAIR:
                del shared["tests"]
        owner = max(signs, key=lambda owner: len(signs[owner]), default=None)
        return Overlap(item, *owner, tuple(signs[owner])) if owner and signs[owner] else None


def problem_marks(problem: Problem) -> Marks:
    """Mark a problem, of a benchmark or to be trained on: its statement, reference and tests."""
    statement, references = problem.meta.get("statement", problem.prompt), problem.meta.get("references", [])
    judged = [_parsed(test.source) for test in problem.tests if isinstance(test, JudgeTest)]
    entry = problem.entry_point or ""
    heads = _signatures("\n".join([statement, *references]))
    return {
        "words": set().union(*map(_word_runs, [statement, *references])),
        "signature": {head for head in heads if head.startswith(f"{entry}(") or head == entry.lower()},
        "solution": set().union(*(_shapes(_parsed(reference)) for reference in references)),
        "tests": _pairs_of_tests(problem.tests).union(*map(_pairs_of_asserts, judged)),
    }


def text_marks(text: str) -> Marks:
    """Mark a document."""
    words, heads, tree = _word_runs(text), _signatures(text), _parsed(text)
    return {"words": words, "signature": heads, "solution": _shapes(tree), "tests": _pairs_of_asserts(tree)}


def _word_runs(text: str) -> set[int]:
    """Hashes of every RUN_WORDS words in a row, case and punctuation left out."""
    words = WORD.findall(text.lower())
    return {hash(tuple(words[i : i + RUN_WORDS])) for i in range(len(words) - RUN_WORDS + 1)}


def _signatures(text: str) -> set[str]:
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


def _parsed(text: str) -> ast.Module:
    """The syntax tree; an empty one of what is no Python."""
    try:
        return syntax_tree(text)
    except SyntaxError:
        return ast.Module([], [])


def _shapes(tree: ast.Module) -> set[str]:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {_shape(function) for function in functions if sum(1 for _ in ast.walk(function)) >= LEAST_NODES}


def _shape(function: ast.FunctionDef) -> str:
    """A hash that stays the same if a function, its arguments and its variables are given other names, and without
    docstrings and annotations."""
    inside = list(ast.walk(function))
    own = {node.arg for node in inside if isinstance(node, ast.arg)} | {function.name}
    own |= {node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    numbers: dict[str, int] = {}
    parts, todo = [], deque[ast.AST]([function])
    while todo:  # level by level, not by recursion: a sum of a thousand terms is a thousand deep
        node = todo.popleft()
        parts.append(type(node).__name__)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "type_comment", "kind"):
                continue
            items = value if isinstance(value, list) else [value]
            if name == "body" and isinstance(items[0], ast.Expr) and isinstance(items[0].value, ast.Constant):
                items = items[1:]  # a docstring, or what does as little
            for item in items:
                if isinstance(item, ast.AST):
                    todo.append(item)
                elif name in ("id", "arg", "name") and item in own:
                    parts.append(str(numbers.setdefault(item, len(numbers))))
                else:
                    parts.append(f"{item:x}" if type(item) is int else repr(item))  # decimal digits are limited
            parts.append(f"{len(items)};")
    return hashlib.sha256(" ".join(parts).encode("utf-8", "replace")).hexdigest()[:24]


def _pairs_of_tests(tests: Iterable[object]) -> set[str]:
    """Input and output of every test that has both, as text."""
    found = set()
    for test in tests:
        match test:
            case CallTest(args, expected):
                found.add(_pair(args, expected))
            case StdioTest(stdin, output):
                found.add(f"{stdin.strip()}\0{output.strip()}")
            case CheckedTest(stdin, _, output) if output.strip():
                found.add(f"{stdin.strip()}\0{output.strip()}")
    return found


def _pairs_of_asserts(tree: ast.Module) -> set[str]:
    """The pairs of every ``assert f(constants) == constant`` in a program."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Assert(ast.Compare(ast.Call(_, args), [ast.Eq(), *_], [right, *_])):
                try:
                    found.add(_pair([constant(arg) for arg in args], constant(right)))
                except (NotConstant, RecursionError):
                    continue
    return found


def _pair(args: Sequence, expected: object) -> str:
    return f"{values.encode(list(args)).decode()}\0{values.encode(expected).decode()}"
