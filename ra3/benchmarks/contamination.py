"""What training text or problems share with benchmarks: whoever trains on it is not measured by them any more.

Four signs, each enough: thirteen words in a row of a statement or a solution; a function of the same name and argument
names as the one that is asked for, or of its name alone if that is long; a function that is a reference solution but
for its names; tests with the same inputs and outputs. Words that several problems of a benchmark share are its
boilerplate and count for nothing, nor do very short functions, nor a single pair of trivial values.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from typing import NamedTuple

from ra3.benchmarks import fingerprint
from ra3.benchmarks.fingerprint import function_shapes, pairs_of_asserts, pairs_of_tests, parsed, signatures, word_runs
from ra3.benchmarks.registry import Loaded
from ra3.grading.problem_tests import JudgeTest
from ra3.grading.problems import Problem

SIGNS = {
    "words": "13 words in a row", "signature": "a function of this name",
    "solution": "the reference solution", "tests": "tests with the same inputs and outputs",
}  # fmt: skip
COMMON_WORDS = 2
"""A run of words in so many problems of one benchmark is boilerplate."""


class Overlap(NamedTuple):
    """``Overlap("train/7", "mbpp+", "Mbpp/610", ("signature", "tests"))``."""

    item: str
    """The id of the document or problem to be trained on."""
    benchmark: str
    task: str
    signs: tuple[str, ...]

    def __str__(self) -> str:
        return f"shares with {self.benchmark} {self.task}: {', '.join(SIGNS[sign] for sign in self.signs)}"


Marks = dict[str, set[Hashable]]
"""The marks of a text by sign."""


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
        """The task that shares the most signs with an item, or None."""
        signs: dict[tuple[str, str], list[str]] = defaultdict(list)
        for sign, own in marks.items():
            shared: dict[tuple[str, str], list[Hashable]] = defaultdict(list)
            for mark in own:
                for owner in self._owners[sign].get(mark, ()):
                    shared[owner].append(mark)
            for owner, found in shared.items():
                if sign != "tests" or len(found) > 1 or len(str(found[0])) >= fingerprint.LEAST_PAIR:
                    signs[owner].append(sign)
        if not signs:
            return None
        owner = max(signs, key=lambda owner: len(signs[owner]))
        return Overlap(item, *owner, tuple(signs[owner]))


def problem_marks(problem: Problem) -> Marks:
    """The marks of a benchmark's or a training set's problem: its statement, reference and tests."""
    statement, reference = problem.meta.get("statement", problem.prompt), problem.meta.get("reference", "")
    judged = [parsed(test.source) for test in problem.tests if isinstance(test, JudgeTest)]
    pairs = pairs_of_tests(problem.tests).union(*map(pairs_of_asserts, judged))
    heads = signatures(f"{statement}\n{reference}")
    entry = problem.entry_point or ""
    asked = {head for head in heads if head.startswith(f"{entry}(") or head == entry.lower()}
    return {
        "words": {*word_runs(statement), *word_runs(reference)}, "signature": {*asked},
        "solution": {*function_shapes(parsed(reference))}, "tests": {*pairs},
    }  # fmt: skip


def text_marks(text: str) -> Marks:
    """The marks of a document."""
    tree = parsed(text)
    return {
        "words": {*word_runs(text)}, "signature": {*signatures(text)},
        "solution": {*function_shapes(tree)}, "tests": {*pairs_of_asserts(tree)},
    }  # fmt: skip
