"""Problems with tests: what a model is asked, and what decides whether its answer is right.

A file of problems is JSON lines, one problem each, or has such rows in another format of ``ra3/data/tables.py``::

    {"id": "add-1", "prompt": "def add(a, b):\\n", "entry_point": "add",
     "tests": [{"args": [1, 2], "expected": 3}], "stop": ["\\ndef "], "meta": {"band": "known"}}
    {"id": "echo-1", "prompt": "# print the line twice\\n", "tests": [{"stdin": "a\\n", "stdout": "a\\na\\n"}]}
    {"id": "half-1", "prompt": "Q: What is half of 14?\\n", "cue": "\\nA:", "reference": " 7\\n"}

``id`` and ``prompt`` are required, and ``tests``, all of one form, or a ``reference``: what a right answer says behind
the ``cue``, to the character, for a reward from likelihood (``ra3.rl.reference``). A test is one of

    {"args": [1, 2], "expected": 3}                    entry_point(*args) returns a value equal to expected
    {"stdin": "1\n", "stdout": "2\n"}                  the program as a script prints that, word by word
    {"stdin": "1\n", "checker": "def check(stdin, output, reference): ...", "reference": "2\n"}
                                                       check returns True; reference may be left out
    {"judge": "assert f(1) == 2", "names": ["g"]}      this code runs without an exception and calls the program
    {"facts": ["The big hats are 7.", "The red cups are the big hats doubled."], "asked": "red cups"}
                                                       the answer is sentences that work it out (``derivation``)
    {"answer": "Bucharest"}                            behind the ``cue`` the answer says that, whatever the case

``entry_point`` goes with calls and judges, and only with those. A JSON value stands for the same Python
value; any other plain value is written as a Python literal, ``{"__python__": "(1, 2)"}``, wherever a value may stand,
also inside lists and objects.

Checkers and judges are the benchmark's own code and trusted, yet each runs in a child of its own and never shares a
process with a program (docs/security.md). A checker must define ``check``; an exception in it pays nothing
(``checker_failed``). A judge's code finds the entry point, and further ``names``, as functions that pass plain values
by value to the program and back; a helper that the program could redefine belongs into it. Objects without a plain form
can be called, passed back, read and given attributes, but not compared, counted or iterated.

``meta`` is free, except for
  numbers    how values and output are compared: "loose", by tolerance, "python", by ``==``, "livecodebench" or "apps",
             by the rules of these benchmarks (see ``ra3.grading.equality``)
  references whole programs, one of which must pass here, or the problem is left out
  atol, rtol       tolerances for floats, 0 to 1
  call_cpu_s       a function's limit for one call, by which the first is tried alone; ``cpu_s`` is for all calls
  any_exit         true: a script may end with any exit code
  cpu_s, memory_mb the program's limits instead of the sandbox's, up to 600 and 128 to 65536

``prefix`` is code before every answer, ``suffix`` code after it. ``"answer": "fenced"`` says that the model replies in
words; the answer is the program in the reply (``ra3.grading.replies``), by default the prompt and what was written.
``"answer": "reply"``, with tests of an answer, says that the reply is no program.

``tools`` ("python", "search") may be called while the problem is solved, ``documents`` be searched: texts, or the name
of a file of ``{"text": "..."}`` beside that of the problems (``ra3.environments.tools``). What is judged is the last
turn. For these, ``meta`` may have
  max_turns        1 to 100, 8 unless given
  max_characters   of what comes back of a call, 1 to 100000, 2000 unless given
  max_documents    found by a search, 1 to 100, 3 unless given
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import get_args

from ra3.data.tables import Row, load_rows
from ra3.errors import UserError, shown
from ra3.grading.equality import RULES
from ra3.grading.problem_tests import (
    AnswerTest,
    CallTest,
    CheckedTest,
    DerivationTest,
    JudgeTest,
    StdioTest,
    Test,
    is_text,
    with_short_literals,
)
from ra3.grading.replies import behind, fenced_program

REQUEST = """Complete this Python program. Answer with the whole of it in one fenced block.

```python
{}
```
"""
"""What a model is asked that is to complete a program in a chat."""
KEYS = {"id", "prompt", "entry_point", "tests", "stop", "meta", "prefix", "suffix", "answer", "cue", "reference"}
KEYS |= {"tools", "documents"}
TOOLS = "python", "search"
LITERAL = "__python__"
META = {
    "atol": ((int, float), 0, 1), "rtol": ((int, float), 0, 1),
    "cpu_s": ((int, float), 0.01, 600), "call_cpu_s": ((int, float), 0.01, 600), "memory_mb": (int, 128, 65536),
    "max_turns": (int, 1, 100), "max_characters": (int, 1, 100_000), "max_documents": (int, 1, 100),
}  # fmt: skip
"""Type and bounds of the numbers in ``meta`` that mean something."""


@dataclass(frozen=True)
class Problem:
    """A task and its tests. UserError if it could not be graded: no tests, mixed kinds, values that are not plain data.

    Example: ``Problem("add-1", "def add(a, b):\\n", "add", (CallTest((1, 2), 3),), stop=("\\ndef ",))``
    """

    id: str
    prompt: str
    """Given to the model as it is."""
    entry_point: str | None
    """The function that is called; None for stdin/stdout."""
    tests: tuple[Test, ...]
    """All of one kind, at least one unless there is a reference."""
    stop: tuple[str, ...] = ()
    """Generation ends before any of these."""
    meta: dict = field(default_factory=dict)
    prefix: str = ""
    """Code before every answer: what a program may take for granted."""
    suffix: str = ""
    """Code after every answer: what the tests need beside it."""
    answer: str = "completion"
    """"completion": the program is the prompt and what follows it; "fenced": the program in a reply."""
    cue: str = "\nAnswer:"
    """What stands between the reasoning and the answer, where there is a reference."""
    reference: str = ""
    """The answer behind the cue, white space and all; "": none is known."""
    tools: tuple[str, ...] = ()
    """What may be called while it is answered: "python", "search"."""
    documents: tuple[str, ...] = ()
    """What can be searched."""

    @property
    def band(self) -> str:
        """The band that it is counted in; "all" where a file names none."""
        return self.meta.get("band", "all")

    def __post_init__(self):
        for what, allowed in self._faults():
            raise UserError(f"problem {self.id!r} {what}", allowed=allowed)

    def _faults(self) -> Iterator[tuple[str, str]]:
        kinds = {type(test) for test in self.tests}
        if not kinds and not self.reference:
            yield "has no tests", "one or more of one kind, or a reference"
        if len(kinds) > 1 or not kinds <= set(get_args(Test)):
            yield "mixes kinds of tests", "one or more of one kind"
        if kinds & {CallTest, JudgeTest}:
            if not (isinstance(self.entry_point, str) and self.entry_point.isidentifier()):
                yield f"has the entry point {self.entry_point!r}", "the name of the tested function"
        elif self.entry_point is not None:
            yield "has an entry point and stdin/stdout tests", "an entry point with tests that call it"
        in_words = {DerivationTest: ("completion",), AnswerTest: ("completion", "reply")}
        allowed = [own for kind, own in in_words.items() if kind in kinds] or [("completion", "fenced")]
        if kinds & in_words.keys() and (self.prefix or self.suffix):
            yield "adds code to an answer in words", "no prefix, no suffix"
        if self.answer not in allowed[0]:
            yield f"has answer = {self.answer!r}", " | ".join(allowed[0])
        if unknown := [tool for tool in self.tools if tool not in TOOLS]:
            yield f"has the tool {shown(unknown[0])}", " | ".join(TOOLS)
        if ("search" in self.tools) != bool(self.documents):
            yield "has a search without documents, or documents that nothing searches", "both, or neither"
        if not is_text(*self.documents):
            yield "has documents that are no text", "strings without halves of surrogate pairs"
        if (rule := self.meta.get("numbers", "strict")) not in list(RULES):
            yield f"has meta numbers = {shown(rule)}", f"{', '.join(RULES)}, or leave it out"
            return
        if not isinstance(self.meta.get("any_exit", False), bool):
            yield f"has meta any_exit = {shown(self.meta['any_exit'])}", "true or false"
        for key, (kind, least, most) in META.items():
            value = self.meta.get(key, least)
            if not isinstance(value, kind) or isinstance(value, bool) or not least <= value <= most:
                yield f"has meta {key} = {shown(value)}", f"a number from {least} to {most}"
        references = self.meta.get("references", [])
        if not (isinstance(references, list) and is_text(*references)):
            yield "has meta references that are no list of programs", "whole programs that pass its tests"
        for name in ("id", "prompt", "prefix", "suffix", "cue", "reference"):
            if not is_text(getattr(self, name)):
                yield f"has {name} = {str(getattr(self, name))[:60]!r}", "text without halves of surrogate pairs"
        for number, test in enumerate(self.tests):
            for what, allowed in test.faults(self.entry_point, finite=RULES[rule].numbers != "python"):
                yield f"has {what} in test {number}", allowed


def as_request(problem: Problem) -> Problem:
    """Return the problem as a request for the whole program in a fenced block, which may take for granted what the
    prompt defines. One that asks for a reply already, or for sentences, is returned as it is."""
    in_words = not problem.tests or any(isinstance(test, DerivationTest | AnswerTest) for test in problem.tests)
    if problem.answer != "completion" or in_words:
        return problem
    try:
        ast.parse(problem.prompt)
    except (SyntaxError, ValueError):  # a program that is not begun far enough to stand before another
        given = ""
    else:
        given = f"{problem.prompt}\n"
    request = REQUEST.format(problem.prompt.rstrip())
    return replace(problem, prompt=request, prefix=given, answer="fenced", stop=())


def program(problem: Problem, completion: str) -> str:
    """Return the source that is executed for what a model wrote."""
    written = problem.prompt + completion if problem.answer == "completion" else completion
    source = behind(problem.prefix, fenced_program(written) if problem.answer == "fenced" else written)
    return f"{source}\n{problem.suffix}" if problem.suffix else source


def load(path: str | Path) -> list[Problem]:
    """Read the problems of a file. UserError with file and line for the first bad row, and for an empty file."""
    found: dict[str, Problem] = {}
    for row in load_rows(Path(path)):
        problem = read_problem(row)
        if problem.id in found:
            raise row.wrong(f"the id {problem.id!r} is used twice")
        found[problem.id] = problem
    return list(found.values())


def read_problem(row: Row) -> Problem:
    """Read a row of a file of problems. UserError with its place where it is none."""
    if unknown := sorted(row.values.keys() - KEYS):
        raise row.wrong(f"unknown key {unknown[0]!r}", ", ".join(sorted(KEYS)))
    try:
        tests = row.items("tests", []) if "reference" in row.values else row.items("tests")
        return Problem(
            row.text("id"), row.text("prompt"), row.values.get("entry_point"),
            tuple(_test(row, test) for test in tests), tuple(row.texts("stop", [])),
            row.nested("meta", {}).values, row.text("prefix", ""), row.text("suffix", ""),
            row.text("answer", "completion"), row.text("cue", Problem.cue), row.text("reference", ""),
            tuple(row.items("tools", [])), _documents(row),
        )  # fmt: skip
    except UserError as error:
        raise row.wrong(error.what, error.allowed or "") from error


def _documents(row: Row) -> tuple[str, ...]:
    named = row.values.get("documents", [])
    return corpus(Path(row.file).parent / named) if isinstance(named, str) else tuple(row.items("documents", []))


@cache
def corpus(path: Path) -> tuple[str, ...]:
    """Read the texts of a file of documents, once for all problems that name it. UserError for a row without one."""
    return tuple(row.text("text") for row in load_rows(path))


def _test(row: Row, value) -> Test:
    keys = set(value) if isinstance(value, dict) else set()
    test = row.inner(value) if keys else row
    if keys == {"args", "expected"}:
        return CallTest(tuple(map(_value, test.items("args"))), _value(value["expected"]))
    if keys == {"stdin", "stdout"}:
        return StdioTest(test.text("stdin"), test.text("stdout"))
    if keys - {"reference"} == {"stdin", "checker"}:
        return CheckedTest(test.text("stdin"), test.text("checker"), test.text("reference", ""))
    if keys - {"names"} == {"judge"}:
        return JudgeTest(test.text("judge"), tuple(test.items("names", [])))
    if keys == {"facts", "asked"}:
        return DerivationTest(tuple(test.items("facts")), test.text("asked"))
    if keys == {"answer"}:
        return AnswerTest(test.text("answer"))
    allowed = (
        "args, expected; stdin, stdout; stdin, checker (and reference); judge (and names); facts, asked; or answer"
    )
    raise row.wrong(f"{shown(value)} is not a test", allowed)


def _value(item):
    """The Python value of a JSON value, with ``{"__python__": "literal"}`` evaluated."""
    if isinstance(item, list):
        return [_value(member) for member in item]
    if not isinstance(item, dict):
        return item
    if set(item) != {LITERAL}:
        return {key: _value(member) for key, member in item.items()}
    try:
        return ast.literal_eval(with_short_literals(item[LITERAL]))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise UserError(f"{item[LITERAL]!r} is not a Python literal", allowed='such as "(1, 2)" or "{1, 2}"') from error
