"""Tests that are code of the benchmark: judges beside a program, checkers after it."""

import pytest
from verdict_reason import reason

from ra3.grading.problems import CallTest, CheckedTest, JudgeTest, Problem, StdioTest
from ra3.sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1, cpu_s=0.2, wall_s=4.0, memory_mb=256) as running:
        yield running


def judged(source, *names, **meta):
    return Problem("judged", "", "f", (JudgeTest(source, names),), meta=meta)


DOUBLE = judged("""
import math

def check(candidate):
    for x in (1, 2.5, -3):
        assert math.isclose(candidate(x), 2 * x), x
    assert candidate([1]) == [1, 1] and candidate("ab") == "abab"
    assert candidate(10**30) == 2 * 10**30

check(f)
""")


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("def f(x):\n    return x + x\n", "passed"), ("def f(x):\n    return 3\n", "wrong_answer"),
        ("f = lambda x: x * 2\n", "passed"), ("def f(x):\n    return None\n", "error:TypeError"),
        ("def f(x):\n    return {}[x]\n", "error:KeyError"), ("def g(x):\n    return x\n", "missing_entry_point"),
        ("f = 3\n", "missing_entry_point"), ("def f(x:\n", "syntax"), ("import nothing\n", "error:ModuleNotFoundError"),
        ("def f(x):\n    while True: pass\n", "timeout"), ("def f(x):\n    return bytearray(10**9)\n", "memory"),
        ("def f(x):\n    return 'a' * 2_000_000\n", "output_cap"),
        ("import os\nos._exit(0)\n", "error:ExitedEarly"),
        ("def f(x):\n    import os\n    os._exit(0)\n", "error:ExitedEarly"),
        ("x = 1\n" * 100_000, "error:SourceTooLong"),
        ("def f(x):\n    raise SystemExit\n", "error:ProgramError"),
        ("def f(x):\n    return object()\n", "error:TypeError"),
        ("import ctypes\nctypes.string_at(0)\n", "error:SIGSEGV"), ("def f(x):\n    assert False\n", "wrong_answer"),
    ],
)  # fmt: skip
def test_reasons(sandbox, completion, expected):
    assert reason(sandbox, DOUBLE, completion) == expected


def test_state_survives_between_the_calls_of_one_judge(sandbox):
    problem = judged("assert f() == 1\nassert f() == 2\nassert f() == g()\n", "g")
    source = "n = 0\ndef f():\n    global n\n    n += 1\n    return n\ng = lambda: n\n"
    assert reason(sandbox, problem, source) == "passed"


def test_objects_stay_with_the_program(sandbox):
    source = "class Node:\n    def __init__(self, v):\n        self.v, self.next = v, None\n"
    source += "    def add(self, k=1):\n        self.v += k\n        return self.v\n"
    source += "def f(n):\n    return 0 if n is None else 1 + f(n.next)\n"
    test = "a = Node(1)\na.next = Node(2)\n"
    test += "assert f(a) == 2 and f(None) == 0 and a.next.v == 2\nassert a.add(k=3) == 4\n"
    assert reason(sandbox, judged(test, "Node"), source) == "passed"
    assert reason(sandbox, judged("assert f([int, (1, str)]) == 1\n"), "f = lambda x: x[0]('1')\n") == "passed"


REFUSED = [
    "f(1) == 3", "f(1) != 3", "not f(1)", "f(1)", "f(1) in [1, 2]", "f(1) in {1}", "len(f(1)) >= 0", "list(f(1))",
    "str(f(1))", "f(1) < 4", "[x for x in f(1)] == []", "all(y == 3 for y in [f(1)])", "f'{f(1)}'",
]  # fmt: skip


@pytest.mark.parametrize("condition", REFUSED)
def test_what_is_not_plain_data_cannot_be_judged(sandbox, condition):
    source = "class Yes:\n    __eq__ = __ne__ = __lt__ = __contains__ = lambda self, other: True\n"
    source += "    __len__ = __hash__ = lambda self: 1\n    __iter__ = lambda self: iter(())\n"
    source += "def f(x):\n    return Yes()\n"
    assert reason(sandbox, judged(f"assert {condition}\n"), source) == "error:TypeError"
    nested = judged(f"assert {condition}\n")
    assert reason(sandbox, nested, source.replace("return Yes()", "return [Yes()]")) == "error:ProgramError"


def test_what_a_test_cannot_pass_is_said(sandbox):
    assert reason(sandbox, judged("assert f(lambda: 1) == 1\n"), "f = lambda x: x()\n") == "error:TypeError"
    assert reason(sandbox, judged("if f is None:\n    f(1)\n"), "f = lambda x: x\n") == "error:NoCallMade"


def test_an_exception_ends_no_loop_quietly(sandbox):
    quiet = judged("for got, want in zip(map(f, [1, 2]), [1, 2]):\n    assert got == want\n")
    assert reason(sandbox, quiet, "def f(x):\n    raise StopIteration\n") == "error:ProgramError"
    expected = judged("try:\n    f(1)\n    assert False\nexcept ValueError:\n    pass\n")
    assert reason(sandbox, expected, "def f(x):\n    raise ValueError('no')\n") == "passed"
    caught = judged("try:\n    f(1)\nexcept BaseException:\n    pass\n")
    assert reason(sandbox, caught, "def f(x):\n    import os\n    os._exit(0)\n") == "error:ExitedEarly"


def test_the_program_never_sees_the_test(sandbox):
    test = judged("SECRET = 'xyzzy'\nassert f(1) == SECRET\n")
    search = "import gc, sys\ndef f(x):\n    frame = sys._getframe()\n"
    search += "    while frame.f_back:\n        frame = frame.f_back\n"
    search += "    text = repr([frame.f_globals, gc.get_objects()])\n    return text[text.find('xyz' + 'z'):][:5]\n"
    assert reason(sandbox, test, search) == "wrong_answer"


CHECK = "def check(stdin, output, reference):\n    a, b = map(int, output.split())\n    return a * b == int(stdin)\n"
FACTORS = Problem("factors", "", None, tuple(CheckedTest(f"{n}\n", CHECK) for n in (12, 35, 49)))


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("print(1, input())\n", "passed"), ("print(input(), 1)\n", "passed"), ("print(3, 4)\n", "wrong_answer"),
        ("print('x')\n", "checker_failed"), ("", "checker_failed"), ("1 / 0\n", "error:ZeroDivisionError"),
        ("import sys\nsys.stdout.buffer.write(b'\\xff')\n", "wrong_answer"), ("print('1 ' * 9_000_000)", "output_cap"),
        ("while True: pass\n", "timeout"), ("print((\n", "syntax"),
    ],
)  # fmt: skip
def test_checkers(sandbox, completion, expected):
    assert reason(sandbox, FACTORS, completion) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return output == reference", "passed"), ("return 1", "wrong_answer"), ("return None", "wrong_answer"),
        ("return 'True'", "wrong_answer"), ("raise SystemExit(0)", "checker_failed"),
        ("while True: pass", "checker_failed"), ("import os; os._exit(0)", "checker_failed"),
        ("return bytearray(10**9)", "checker_failed"),
    ],
)  # fmt: skip
def test_only_true_is_true(sandbox, body, expected):
    test = CheckedTest("", f"def check(stdin, output, reference):\n    {body}\n", "3\n")
    assert reason(sandbox, Problem("c", "", None, (test,)), "print(3)\n") == expected


def test_limits_of_a_problem(sandbox):
    busy = "import time\ndef f(x):\n    end = time.process_time() + 0.3\n"
    busy += "    while time.process_time() < end: pass\n    return x\n"
    large = "def f(x):\n    return len(bytearray(300 * 2**20)) > x\n"
    for tests in ((CallTest((1,), 1),), (JudgeTest("assert f(1) == 1\n"),)):
        assert reason(sandbox, Problem("short", "", "f", tests), busy) == "timeout"
        assert reason(sandbox, Problem("long", "", "f", tests, meta={"cpu_s": 3}), busy) == "passed"
    for tests in ((CallTest((1,), True),), (JudgeTest("assert f(1)\n"),)):
        assert reason(sandbox, Problem("small", "", "f", tests, meta={"cpu_s": 3}), large) == "memory"
        more = Problem("large", "", "f", tests, meta={"cpu_s": 3, "memory_mb": 1024})
        assert reason(sandbox, more, large) == "passed"
    script = Problem("s", "", None, (StdioTest("", "1\n"),), meta={"cpu_s": 3, "memory_mb": 1024})
    assert reason(sandbox, script, "print(len(bytearray(300 * 2**20)) and 1)\n") == "passed"
