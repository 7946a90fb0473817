"""The kinds of tests a problem can have, a class each: what can be wrong with one, found when it is made and not when
it is run; the job that tries it; and what the job's outcome says."""

import ast
import builtins
import cmath
import io
import re
import symtable
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ra3.grading.derivation import facts_by_name, solution
from ra3.grading.equality import Rule, same_output
from ra3.sandbox.inside.values import whole_number
from ra3.sandbox.jobs import DEFAULT_OUTPUT, Job, Outcome

PLAIN = "None, bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset; expected numbers are finite"
CHECKER = "source that defines check(stdin, output, reference)"
MAX_CHECKED = 1 << 24
"""Bytes that a program may print for a checker, however short the reference is."""
SURROGATE = re.compile("[\ud800-\udfff]")
LONG_NUMBER = re.compile(r"\d[\d_]{4300,}")
Faults = Iterator[tuple[str, str]]
"""(what is wrong, what is allowed) for each thing that is."""


@dataclass(frozen=True)
class CallTest:
    """``entry_point(*args)`` must return ``expected``; all such tests of a problem are one job."""

    args: tuple
    expected: object

    def faults(self, entry_point: str | None, finite: bool) -> Faults:
        """Find values that are not plain data; ``finite``: expected numbers must be."""
        if not is_plain(self.args) or not is_plain(self.expected, finite):
            yield "a value that no answer could be compared with", PLAIN


@dataclass(frozen=True)
class StdioTest:
    """The program, run as a script with ``stdin``, must print ``expected_stdout``."""

    stdin: str
    expected_stdout: str

    def faults(self, entry_point: str | None, finite: bool) -> Faults:
        """Find what is no text."""
        if not is_text(self.stdin, self.expected_stdout):
            yield "an input or output that is no text", "strings"

    def job(self, source: str, entry_point: str | None) -> Job:
        """Run the program on this stdin."""
        return Job.stdio(source, self.stdin, max(DEFAULT_OUTPUT, 4 * len(self.expected_stdout)))

    def reason(self, outcome: Outcome, rule: Rule) -> str:
        """Compare the output."""
        return "passed" if same_output(self.expected_stdout, outcome.stdout, rule) else "wrong_answer"


@dataclass(frozen=True)
class CheckedTest:
    """The program, run as a script with ``stdin``, must print what ``check(stdin, output, reference)`` calls True.

    Example: ``CheckedTest("8\\n", "def check(stdin, output, reference):\\n    return int(output) % 2 == 0\\n")``
    """

    stdin: str
    checker: str
    """Source that defines ``check``; all three arguments are strings."""
    reference: str = ""

    def faults(self, entry_point: str | None, finite: bool) -> Faults:
        """Find what is no text, and a source without ``check``."""
        if not is_text(self.stdin, self.reference):
            yield "an input or reference that is no text", "strings"
        table = _symbols(self.checker)
        if table is None:
            yield "a checker that is no Python", CHECKER
        elif not any(symbol.get_name() == "check" and symbol.is_assigned() for symbol in table.get_symbols()):
            yield "a checker without a function check", CHECKER

    def job(self, source: str, entry_point: str | None) -> Job:
        """Run the program on this stdin."""
        return Job.stdio(source, self.stdin, max(MAX_CHECKED, 4 * len(self.reference)))

    def reason(self, outcome: Outcome, rule: Rule) -> str | Job:
        """Return the job that checks the output, in a child of its own."""
        try:
            output = outcome.stdout.decode()
        except UnicodeDecodeError:
            return "wrong_answer"
        return self.check(output)

    def check(self, output: str) -> Job:
        """Let the checker look at an output."""
        return replace(Job.call(self.checker, "check", [(self.stdin, output, self.reference)]), trusted=True)


@dataclass(frozen=True)
class JudgeTest:
    """This code must run without an exception, and call the program. It finds the entry point as a function.

    Example: ``JudgeTest("assert abs(root(2.0) ** 2 - 2.0) < 1e-3")`` with the entry point ``root``
    """

    source: str
    names: tuple[str, ...] = ()
    """Further functions or classes that it takes from the program."""

    def faults(self, entry_point: str | None, finite: bool) -> Faults:
        """Find code that cannot run, and names that it lacks or does not use."""
        names = self.names if isinstance(self.names, tuple) else (None,)
        if not all(isinstance(name, str) and name.isidentifier() for name in names):
            yield f"the names {self.names!r}", "names of functions or classes of the program"
            return
        names = {str(entry_point), *self.names}
        table = _symbols(self.source)
        if table is None:
            yield "a judge that is no Python", "source that can be compiled"
        elif unknown := _free_names(table) - names - set(dir(builtins)):
            yield f"a judge that uses {min(unknown)!r}, which nothing defines", "names of the program go into names"
        elif unused := names - _free_names(table):
            yield f"a judge that does not call {min(unused)!r}", "code that uses what it takes from the program"

    def job(self, source: str, entry_point: str | None) -> Job:
        """Let the judge call the program."""
        return Job.judge(source, dict.fromkeys((str(entry_point), *self.names)), with_short_literals(self.source))

    def reason(self, outcome: Outcome, rule: Rule) -> str:
        """Take the judge's word."""
        (result,) = outcome.results
        if result.error:
            return "wrong_answer" if result.error == "AssertionError" else raised(result.error)
        return "passed" if result.data == b"true" else "error:ProtocolError"


@dataclass(frozen=True)
class DerivationTest:
    """The answer is no program but sentences that work ``asked`` out from the facts, all right; nothing is run.

    Example: ``DerivationTest(("The big hats are 7.", "The red cups are the big hats doubled."), "red cups")``
    """

    facts: tuple[str, ...]
    asked: str

    def faults(self, entry_point: str | None, finite: bool) -> Faults:
        """Find facts that do not answer the question, or state its answer."""
        if not all(isinstance(text, str) for text in (*self.facts, self.asked)):
            yield "facts that are no text", "sentences, and the name of a quantity"
            return
        try:
            if not solution(facts_by_name(self.facts), self.asked):
                yield f"a question whose answer is stated, {self.asked!r}", "a quantity that follows from others"
        except ValueError as error:
            allowed = "facts as in grading/derivation.py, from which `asked` follows"
            yield f"facts that do not answer it: {error}", allowed


@dataclass(frozen=True)
class AnswerTest:
    """The answer is no program but words: those behind the problem's cue are these, whatever their case and the white
    space between them; nothing is run.

    Example: ``AnswerTest("Bucharest")``
    """

    answer: str

    def faults(self, entry_point: str | None, finite: bool) -> Faults:
        """Find an answer without a word."""
        if not is_text(self.answer) or not self.answer.strip():
            yield f"an answer {self.answer!r}", "words"

    def verdict(self, cue: str, reply: str) -> str:
        """Compare what stands behind the last cue of a reply, which begins a line."""
        _, found, said = f"\n{reply}".rpartition(cue)
        right = bool(found) and said.casefold().split() == self.answer.casefold().split()
        return "passed" if right else "wrong_answer"


Test = CallTest | StdioTest | CheckedTest | JudgeTest | DerivationTest | AnswerTest


def raised(name: str) -> str:
    """Return the reason for an exception of this name."""
    return "memory" if name == "MemoryError" else f"error:{name}"


def syntax_tree(source: str) -> ast.Module:
    """The tree of code that is not ours, without the compiler's warnings about it. SyntaxError if it is no Python."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(with_short_literals(source))
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error) or "nested too deeply") from error


def with_short_literals(source: str) -> str:
    """Write the decimal integers in a source in hexadecimal that have more digits than the compiler takes."""
    if not LONG_NUMBER.search(source):
        return source
    lines = list(io.StringIO(source))
    try:
        tokens = list(tokenize.generate_tokens(iter(lines).__next__))
    except (tokenize.TokenError, SyntaxError):  # what is no Python, the compiler says better
        return source
    for token in reversed(tokens):
        if token.type == tokenize.NUMBER and LONG_NUMBER.fullmatch(token.string):
            (row, start), (_, end) = token.start, token.end
            number = hex(whole_number(token.string.replace("_", "")))
            lines[row - 1] = lines[row - 1][:start] + number + lines[row - 1][end:]
    return "".join(lines)


def is_text(*values) -> bool:
    """Whether all values are strings that can be written to a pipe: without halves of surrogate pairs."""
    return all(isinstance(value, str) and not SURROGATE.search(value) for value in values)


def _symbols(source) -> symtable.SymbolTable | None:
    """The names of a source, or None if it cannot be compiled."""
    try:
        with warnings.catch_warnings(action="ignore"):
            source = with_short_literals(source)
            compile(source, "<test>", "exec", dont_inherit=True)
            return symtable.symtable(source, "<test>", "exec")
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None


def _free_names(table: symtable.SymbolTable) -> set[str]:
    """The global names that a source uses and does not define itself, builtins included."""
    own = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    used = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    inner = list(table.get_children())
    while inner:
        scope = inner.pop()
        inner += scope.get_children()
        used |= {symbol.get_name() for symbol in scope.get_symbols() if symbol.is_global() and symbol.is_referenced()}
        own |= {s.get_name() for s in scope.get_symbols() if s.is_declared_global() and s.is_assigned()}
    return used - own - {"__name__"}


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
