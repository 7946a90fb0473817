"""The kinds of tests a problem can have, and what can be wrong with one: found when it is made, not when it is run."""

import ast
import builtins
import cmath
import symtable
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from ra3.grading.derivation import facts_by_name, solution

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
class CheckedTest:
    """The program, run as a script with ``stdin``, must print what ``check(stdin, output, reference)`` calls True.

    Example: ``CheckedTest("8\\n", "def check(stdin, output, reference):\\n    return int(output) % 2 == 0\\n")``
    """

    stdin: str
    checker: str
    """Source that defines ``check``; all three arguments are strings."""
    reference: str = ""


@dataclass(frozen=True)
class JudgeTest:
    """This code must run without an exception, and call the program. It finds the entry point as a function.

    Example: ``JudgeTest("assert abs(root(2.0) ** 2 - 2.0) < 1e-3")`` with the entry point ``root``
    """

    source: str
    names: tuple[str, ...] = ()
    """Further functions or classes that it takes from the program."""


@dataclass(frozen=True)
class DerivationTest:
    """The answer is no program but sentences that work ``asked`` out from the facts, all right; nothing is run.

    Example: ``DerivationTest(("The big hats are 7.", "The red cups are the big hats doubled."), "red cups")``
    """

    facts: tuple[str, ...]
    asked: str


Test = CallTest | StdioTest | CheckedTest | JudgeTest | DerivationTest


def _call_faults(test: CallTest, entry_point: str | None, finite: bool) -> Iterator[tuple[str, str]]:
    if not is_plain(test.args) or not is_plain(test.expected, finite):
        yield "a value that no answer could be compared with", PLAIN


def _script_faults(test: StdioTest, entry_point: str | None, finite: bool) -> Iterator[tuple[str, str]]:
    if not (is_text(test.stdin) and is_text(test.expected_stdout)):
        yield "an input or output that is no text", "strings"


def _checker_faults(test: CheckedTest, entry_point: str | None, finite: bool) -> Iterator[tuple[str, str]]:
    if not (is_text(test.stdin) and is_text(test.reference)):
        yield "an input or reference that is no text", "strings"
    table = _symbols(test.checker)
    if table is None:
        yield "a checker that is no Python", "source that defines check(stdin, output, reference)"
    elif not any(symbol.get_name() == "check" and symbol.is_assigned() for symbol in table.get_symbols()):
        yield "a checker without a function check", "source that defines check(stdin, output, reference)"


def _judge_faults(test: JudgeTest, entry_point: str | None, finite: bool) -> Iterator[tuple[str, str]]:
    listed = isinstance(test.names, tuple)
    if not listed or not all(isinstance(name, str) and name.isidentifier() for name in test.names):
        yield f"the names {test.names!r}", "names of functions or classes of the program"
        return
    names = {str(entry_point), *test.names}
    table = _symbols(test.source)
    if table is None:
        yield "a judge that is no Python", "source that can be compiled"
    elif unknown := _free_names(table) - names - set(dir(builtins)):
        yield f"a judge that uses {min(unknown)!r}, which nothing defines", "names of the program go into names"
    elif unused := names - _free_names(table):
        yield f"a judge that does not call {min(unused)!r}", "code that uses what it takes from the program"


def _derivation_faults(test: DerivationTest, entry_point: str | None, finite: bool) -> Iterator[tuple[str, str]]:
    if not all(isinstance(text, str) for text in (*test.facts, test.asked)):
        yield "facts that are no text", "sentences, and the name of a quantity"
        return
    try:
        if not solution(facts_by_name(test.facts), test.asked):
            yield f"a question whose answer is stated, {test.asked!r}", "a quantity that follows from others"
    except ValueError as error:
        yield f"facts that do not answer it: {error}", "facts as in grading/derivation.py, from which `asked` follows"


CHECKS = {
    CallTest: _call_faults, StdioTest: _script_faults, CheckedTest: _checker_faults, JudgeTest: _judge_faults,
    DerivationTest: _derivation_faults,
}  # fmt: skip


def faults(test: Test, entry_point: str | None, finite: bool) -> Iterator[tuple[str, str]]:
    """(what is wrong, what is allowed) for each thing that is; ``finite``: expected numbers must be."""
    return CHECKS[type(test)](test, entry_point, finite)


def syntax_tree(source: str) -> ast.Module:
    """The tree of code that is not ours, without the compiler's warnings about it. SyntaxError if it is no Python."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(source)
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error) or "nested too deeply") from error


def is_text(value) -> bool:
    """Whether a value is a string that can be written to a pipe: one without lone surrogates."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _symbols(source) -> symtable.SymbolTable | None:
    """The names of a source, or None if it cannot be compiled."""
    try:
        with warnings.catch_warnings(action="ignore"):
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
