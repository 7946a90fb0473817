"""What the sandbox returns for a program, and the verdict on it."""

import time

import pytest
from verdict_reason import reason

from ra3.grading.grade import Grader, grade
from ra3.grading.problems import CallTest, Problem, StdioTest
from ra3.sandbox import Job, Sandbox

REFERENCE = "def f(x):\n    return (7 * x + 3) % 11\n"
RULE = Problem("rule", "", "f", tuple(CallTest((x,), (7 * x + 3) % 11) for x in (1, 4, 9, 123)))


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=2, cpu_s=0.8, wall_s=4.0, memory_mb=256) as running:
        yield running


def call(sandbox, source, *arguments):
    """The single result of f(*arguments)."""
    (outcome,) = sandbox.run([Job.call(source, "f", [arguments])])
    assert outcome.fault is None
    return outcome.results[0]


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        (REFERENCE, "passed"), ("def f(x):\n    return 3\n", "wrong_answer"),
        ("def f(x):\n    return {}[x]\n", "error:KeyError"),
        ("def g(x):\n    return 3\n", "missing_entry_point"),
        ("f = 3\n", "missing_entry_point"), ("def f(x:\n", "syntax"),
        ("def f(x):\n    while True: pass\n", "timeout"), ("def f(x):\n    return bytearray(10**9)\n", "memory"),
        ("import nothing_at_all\n", "error:ModuleNotFoundError"), ("a\x00b", "syntax"), ("\ud800", "syntax"),
        ("def f(x):\n    return 'a' * 2_000_000\n", "output_cap"), ("x = 1\n" * 100_000, "error:SourceTooLong"),
        ("def f(x):\n    raise SystemExit\n", "error:SystemExit"), ("import os\nos._exit(0)\n", "error:ExitedEarly"),
        ("import ctypes\nctypes.string_at(0)\n", "error:SIGSEGV"), ("def f(x):\n    input()\n", "error:EOFError"),
    ],
)  # fmt: skip
def test_reasons(sandbox, completion, expected):
    assert reason(sandbox, RULE, completion) == expected


NULLS = ["None", "0", "''", "[]", "True", "x", "{}", "()", "1", "-1", "False", "0.0", "str(x)", "..."]


@pytest.mark.parametrize("null", NULLS)
def test_null_solutions_are_not_paid(sandbox, null):
    assert reason(sandbox, RULE, f"def f(x):\n    return {null}\n") == "wrong_answer"


def test_right_programs_are_always_paid(sandbox):
    work = [(RULE, f"{REFERENCE}# {number}\n") for number in range(200)]
    assert {verdict.reason for verdict in grade(sandbox, work)} == {"passed"}


def test_scripts(sandbox):
    tests = (StdioTest("2\n", "4\n"), StdioTest("3\n", "9\n"), StdioTest("5\n", "25\n"))
    square = Problem("square", "", None, tests)
    assert reason(sandbox, square, "print(int(input()) ** 2)\n") == "passed"
    streams = "import sys\nsys.stdout.write(str(int(sys.stdin.read()) ** 2))\nexit()\n"
    assert reason(sandbox, square, streams) == "passed"
    assert reason(sandbox, square, "x = int(input())\nprint(x * x if x < 5 else 0)\n") == "wrong_answer"
    assert reason(sandbox, square, "print(int(input()) ** 2)\nraise ValueError\n") == "error:ValueError"
    assert reason(sandbox, square, "print(int(input()) ** 2, flush=True)\nimport os\nos._exit(0)\n") == "passed"
    threaded = "import threading\nthreading.Thread(target=lambda: print(int(input()) ** 2)).start()\n"
    assert reason(sandbox, square, threaded) == "passed"
    late = "import atexit\natexit.register(print, int(input()) ** 2)\nif __name__ != '__main__': print(0)\n"
    assert reason(sandbox, square, late) == "passed"


def test_large_inputs_and_outputs(sandbox):
    text = "7" * 3_000_000
    (outcome,) = sandbox.run([Job.stdio("print(input())", text + "\n", max_output=4_000_000)])
    assert outcome.stdout.decode() == text + "\n"
    result = call(sandbox, "def f(x):\n    return len(x), sum(x)\n", list(range(300_000)))
    assert result.value == (300_000, sum(range(300_000)))


def test_loose_problem(sandbox):
    problem = Problem("half", "", "f", (CallTest((4,), 2),), meta={"numbers": "loose"})
    assert reason(sandbox, problem, "def f(x):\n    return x / 2\n") == "passed"


def test_equal_programs_run_once(sandbox, monkeypatch):
    seen = []
    run = Sandbox.run
    monkeypatch.setattr(Sandbox, "run", lambda self, jobs, *rest: seen.append(len(jobs)) or run(self, jobs, *rest))
    copy = Problem("copy", "", "f", RULE.tests)
    verdicts = grade(sandbox, [(RULE, REFERENCE), (RULE, "x"), (copy, REFERENCE), (RULE, REFERENCE)])
    assert [verdict.passed for verdict in verdicts] == [True, False, True, True] and seen[0] == 2


def test_tests_do_not_share_arguments_but_share_the_module(sandbox):
    source = "calls = []\ndef f(x):\n    x.append(1)\n    calls.append(1)\n    return len(x), len(calls)\n"
    (outcome,) = sandbox.run([Job.call(source, "f", [([],), ([],), ([],)])])
    assert [result.value for result in outcome.results] == [(1, 1), (1, 2), (1, 3)]


def test_reruns_agree(sandbox):
    source = "import random\ndef f(x):\n    return random.random(), list({'a', 'b', 'c', 'd'}), hash('a')\n"
    results = {call(sandbox, f"{source}# {number}\n", 1).data for number in range(10)}
    with Sandbox(workers=1) as other:
        results.add(call(other, source, 1).data)
    assert len(results) == 1


def test_order_is_kept_and_errors_stop_nothing(sandbox):
    source = "def f(x):\n    return 10 // x\n"
    jobs = [Job.call(source + f"# {number}\n", "f", [(1,), (0,), (number,)]) for number in range(1, 20)]
    for number, outcome in enumerate(sandbox.run(jobs), start=1):
        assert [result.error for result in outcome.results] == [None, "ZeroDivisionError", None]
        assert outcome.results[2].value == 10 // number


def test_a_grader_that_is_left_gives_up_what_is_not_graded(sandbox):
    """Two programs sleep for their 4 s, twenty more wait: whoever leaves waits for the two at most."""
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Grader(sandbox) as grader:
        future = grader.submit([(RULE, f"import time\ntime.sleep(60)\n# {n}\n") for n in range(22)])
        raise KeyboardInterrupt
    assert time.monotonic() - start < 30 and not (future.done() and not future.cancelled() and not future.exception())
    assert grade(sandbox, [(RULE, REFERENCE)])[0].passed, "the sandbox is free again"


def test_what_breaks_in_the_background_is_raised_where_the_verdicts_are_taken():
    with Sandbox(1) as closed:
        pass
    with Grader(closed) as grader, pytest.raises(RuntimeError, match="closed"):
        grader.submit([(RULE, REFERENCE)]).result()


def test_grading_in_the_background(sandbox):
    with Grader(sandbox) as grader:
        futures = [grader.submit([(RULE, f"{REFERENCE}# {n}\n"), (RULE, f"f = {n}\n")]) for n in range(5)]
        for future in futures:
            assert [verdict.reason for verdict in future.result()] == ["passed", "missing_entry_point"]
