"""What the published graders of contest problems decide, retold, and answers in many writings to try ours against them.

LiveCodeBench: lcb_runner/evaluation/testing_util.py at 28fef95. APPS: eval/testing_util.py at 362aedc. CodeContests:
execution/tester_sandboxer.cc at fa7a4f8. Codeforces: testlib's wcmp, and rcmp6 where a decimal is expected. The answers
are our own programs and run in this process.
"""

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from math import isclose
from pathlib import Path

from benchmark_files import problem_of

from ra3.benchmarks.contests import APPS_IMPORTS, IMPORTS
from ra3.grading.grade import grade
from ra3.sandbox import Sandbox

OUTPUTS = (
    "7\n", "1 2 3\n", "1\n2\n3\n", "YES\n", "1000000007 0.50\n", "0.333333333\n", "3 4\n5 6\n", "-1\n",
    "12345678901234567890\n",
    "a b\nc d\n", "1e-05 2.0\n", "1.2.3\n", "0.5\n1.25\n", "2.000000\n", "1 1 2\n", "abc\n", "100 0.1\n200 0.2\n",
    "-0.0\n",
)  # fmt: skip
"""What a test expects a script to print."""


def _numbers(change: Callable[[float], str], decimals_only: bool = True) -> Callable[[str], str]:
    """A writing that changes the words that are numbers."""

    def change_word(word: str) -> str:
        with contextlib.suppress(ValueError):
            if "." in word or "e" in word or not decimals_only:
                return change(float(word) if decimals_only else int(word))
        return word

    return lambda text: "\n".join(" ".join(map(change_word, line.split(" "))) for line in text.split("\n"))


WRITINGS: dict[str, Callable[[str], str]] = {
    "as expected": str, "no last line break": lambda t: t.rstrip("\n"), "blank lines behind": lambda t: t + "\n \n\n",
    "spaces behind lines": lambda t: t.replace("\n", "  \n"), "a blank line before": lambda t: f"\n{t}",
    "blank lines between": lambda t: t.replace("\n", "\n\n"), "carriage returns": lambda t: t.replace("\n", "\r\n"),
    "two spaces": lambda t: t.replace(" ", "  "), "tabs": lambda t: t.replace(" ", "\t"),
    "indented": lambda t: f"  {t}",
    "all on one line": lambda t: " ".join(t.split()), "a line for each word": lambda t: "\n".join(t.split()),
    "lower case": str.lower, "upper case": str.upper, "twice": lambda t: t + t, "nothing": lambda t: "",
    "words in another order": lambda t: " ".join(t.split()[::-1]),
    "lines in another order": lambda t: "\n".join(t.split("\n")[::-1]),
    "without the last word": lambda t: " ".join(t.split()[:-1]), "a word more": lambda t: f"{t.rstrip()} 0\n",
    "a wrong last character": lambda t: t.rstrip()[:-1] + "9\n", "a no-break space": lambda t: t.replace(" ", "\u00a0"),
    "1e-9 off": _numbers(lambda x: repr(x + 1e-9)), "4e-6 off": _numbers(lambda x: repr(x + 4e-6)),
    "1e-4 off": _numbers(lambda x: repr(x + 1e-4)), "1e-2 off": _numbers(lambda x: repr(x + 1e-2)),
    "more zeros": _numbers(lambda x: f"{x:.12f}"), "with an exponent": _numbers(lambda x: f"{x:.12e}"),
    "a plus": _numbers(lambda x: f"+{x}"), "not a number": _numbers(lambda x: "nan"),
    "infinite": _numbers(lambda x: "inf"),
    "integers as decimals": _numbers(lambda n: f"{n}.0", False),
    "integers one off": _numbers(lambda n: str(n + 1), False),
    "integers seven off": _numbers(lambda n: str(n - 7), False), "leading zeros": _numbers(lambda n: f"0{n}", False),
    "underscores": _numbers(lambda n: f"{n:_}", False), "sixty zeros more": _numbers(lambda x: f"{x:.60f}"),
}  # fmt: skip
"""An expected output written otherwise: right, wrong, and what graders disagree about."""
ENDINGS = {"": "", "exit 0": "exit(0)\n", "exit 1": "import sys\nsys.exit(1)\n", "exit with text": "exit('done')\n",
           "an exception": "1 / 0\n"}  # fmt: skip
EXPECTED = (
    "5", "[5]", "[[5]]", "[1, 2]", "[[1, 2]]", "[[1, 2], [3, 4]]", "[[[1, 2], [3, 4]]]", "true", "[false]", "null",
    "[null]",
    "0.3", "[0.3]", '"ab"', '["ab"]', '{"1": 2}', '[{"1": 2}]', '{"a": [1]}', "[]", "[[]]", "[5, 6]",
)  # fmt: skip
"""JSON of what a test expects a function to return."""
FORMS = {
    "as expected": "value", "its first member": "value[0]", "in a list": "[value]", "a tuple": "tuple(value)",
    "members as tuples": "[tuple(v) for v in value]", "first member as a tuple": "tuple(value[0])",
    "members of the first as tuples": "[tuple(v) for v in value[0]]", "all tuples": "tuple(tuple(v) for v in value)",
    "a set": "set(value)", "text": "str(value)", "nothing": "None", "one more": "value + 1",
    "a near float": "value + 1e-9",
    "0.1 + 0.2": "0.1 + 0.2", "a float": "float(value)", "an integer": "int(value)", "another order": "value[::-1]",
    "a member more": "value + [0]", "whole numbers for keys": "{int(k): v for k, v in value.items()}",
    "those, unwrapped": "{int(k): v for k, v in value[0].items()}",
    "a subclass": "type('Own', (type(value),), {})(value)",
    "a counter": "Counter(value)", "an iterator": "iter(value)", "its own argument": "x", "an exit": "exit(0)",
}  # fmt: skip
"""Expressions for what is returned instead."""


@dataclass(frozen=True)
class Answer:
    """A test and a program: ``Answer("7\\n", "blank lines behind", "print(7)", False)``."""

    expected: str
    kind: str
    source: str
    is_function: bool


def answers(functions: bool) -> Iterator[Answer]:
    """Every expected value in every writing, as scripts and, for graders that know them, as functions."""
    for expected, (kind, write) in product(OUTPUTS, WRITINGS.items()):
        yield Answer(expected, kind, f"print({write(expected)!r}, end='')\n", False)
    for expected, (kind, ending) in product(OUTPUTS, ENDINGS.items()):
        yield Answer(expected, f"as expected, then {kind}", f"print({expected!r}, end='')\n{ending}", False)
    for expected, (kind, form) in product(EXPECTED, FORMS.items()) if functions else ():
        yield Answer(expected, kind, f"def f(x):\n    value = {json.loads(expected)!r}\n    return {form}\n", True)


def printed(source: str, given: str, any_exit: bool) -> str | None:
    """What a script prints after the lines that are given to it; None if it fails."""
    stdout = io.StringIO()
    with contextlib.redirect_stdout(stdout):
        try:
            exec(given + source, {"__name__": "__main__"})
        except SystemExit as end:
            return stdout.getvalue() if any_exit or end.code in (None, 0) else None
        except Exception:
            return None
    return stdout.getvalue()


def returned(source: str, given: str) -> list:
    """A list of what f(1) gives, or [] if it fails; a tuple counts as a list."""
    names: dict = {}
    try:
        exec(given + source, names)
        value = names["f"](1)
    except (Exception, SystemExit):
        return []
    return [list(value) if isinstance(value, tuple) else value]


def livecodebench(answer: Answer) -> bool:
    """Values by ``==``, output by lines, each as text or as decimals."""
    if answer.is_function:
        return returned(answer.source, IMPORTS) == [json.loads(answer.expected)]
    output = printed(answer.source, IMPORTS, any_exit=True)
    if output is None:
        return False
    ours, theirs = ([line.strip() for line in text.strip().split("\n")] for text in (output, answer.expected))
    return len(ours) == len(theirs) and all(map(_same_line, ours, theirs))


def _same_line(one: str, other: str) -> bool:
    try:
        return one == other or list(map(Decimal, one.split())) == list(map(Decimal, other.split()))
    except ArithmeticError:
        return False


def apps(answer: Answer) -> bool:
    """A value or the first member of a list; output as text, as lines, as floats, or as sets of sets of words."""
    if not answer.is_function:
        output = printed(answer.source, APPS_IMPORTS, any_exit=True)
        return output is not None and _apps_output(output, answer.expected)
    wanted = json.loads(answer.expected)
    for holder in (wanted, *(wanted[:1] if isinstance(wanted, list) else ())):
        if isinstance(holder, dict) and all(key.isdecimal() for key in holder):
            wanted = [{int(key): value for key, value in holder.items()}]
    for value in returned(answer.source, APPS_IMPORTS):
        first = wanted[0] if isinstance(wanted, list) and wanted else wanted
        if value in (wanted, first):
            return True
        with contextlib.suppress(Exception):
            return isinstance(value[0], tuple) and [list(item) for item in value] == first
    return False


def _apps_output(output: str, expected: str) -> bool:
    lines, wanted = output.splitlines(), expected.split("\n")
    if "\n".join(lines).strip() == expected.strip() or "\n".join(map(str.strip, lines)).strip() == expected.strip():
        return True
    wanted = [line.strip() for line in wanted if line]
    if wanted in (lines, [line for line in lines if line]):
        return True
    lines = [line for line in lines if line]
    with contextlib.suppress(ValueError):
        floats = zip(map(float, lines), map(float, wanted), strict=True)
        if all(isclose(one, other, rel_tol=1e-5, abs_tol=1e-8) for one, other in floats):
            return True
    ours, theirs = ([frozenset(line.split()) for line in text if line.split()] for text in (lines, wanted))
    if set(ours) == set(theirs):
        return True
    try:
        rounded = ({frozenset(round(float(word), 3) for word in line) for line in text} for text in (ours, theirs))
        return next(rounded) == next(rounded)
    except ValueError:
        return False


def code_contests(answer: Answer) -> bool:
    """Words without case; two numbers within 1e-5."""
    output = printed(answer.source, "", any_exit=False)
    ours, theirs = (output or "").lower().encode().split(), answer.expected.lower().encode().split()
    return output is not None and len(ours) == len(theirs) and all(map(_near, ours, theirs))


def _near(one: bytes, other: bytes) -> bool:
    try:
        return one == other or (b"_" not in one and abs(float(one) - float(other)) < 1e-5)
    except ValueError:
        return False


def codeforces(answer: Answer) -> bool:
    """Words; where a decimal is expected, within 1e-6, absolute or relative."""
    output = printed(answer.source, "", any_exit=False)
    ours, theirs = (output or "").encode().split(), answer.expected.encode().split()
    return output is not None and len(ours) == len(theirs) and all(map(_same_token, ours, theirs))


def _same_token(one: bytes, other: bytes) -> bool:
    if one == other or b"." not in other and b"e" not in other:
        return one == other
    try:
        return b"_" not in one and isclose(float(one), float(other), rel_tol=1e-6, abs_tol=1e-6)
    except ValueError:
        return False


ORACLES = {"LiveCodeBench": livecodebench, "APPS": apps, "CodeContests": code_contests, "Codeforces": codeforces}
"""By table of docs/benchmarks.md."""


def disagreements(
    table: str, folder: Path, sandbox: Sandbox, every: int
) -> tuple[int, int, list[tuple[Answer, bool | None]]]:
    """How many answers there are, how many ours pays, and those judged otherwise, with our verdict."""
    chosen = list(answers(functions=table in ("LiveCodeBench", "APPS")))[::every]
    asked = {(a.expected, a.is_function): a.source for a in chosen}
    problems = {key: problem_of(folder, table, key[0], source) for key, source in asked.items()}
    verdicts = grade(sandbox, [(problems[answer.expected, answer.is_function], answer.source) for answer in chosen])
    pairs = [(answer, verdict.passed) for answer, verdict in zip(chosen, verdicts, strict=True)]
    differing = [(answer, passed) for answer, passed in pairs if passed is not ORACLES[table](answer)]
    return len(chosen), sum(bool(verdict.passed) for verdict in verdicts), differing
