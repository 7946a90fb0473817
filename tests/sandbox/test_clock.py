"""CPU seconds are what a program is given; the clock ends only one that sleeps."""

import os
import subprocess
import sys
import time

import pytest

from ra3.grading.grade import grade
from ra3.grading.problems import CallTest, JudgeTest, Problem
from ra3.sandbox import Sandbox

TESTS = [(x, (7 * x + 3) % 11) for x in (1, 4, 9, 123)]
RULE = Problem("rule", "", "f", tuple(CallTest((x,), y) for x, y in TESTS))
JUDGED = Problem("judged", "", "f", (JudgeTest(f"for x, y in {TESTS}:\n    assert f(x) == y\n"),))
SLEEPER = "def f(x):\n    import time\n    time.sleep(10)\n"
NAPPER = "def f(x):\n    import time\n    while True:\n        time.sleep(0.01)\n"
THREADS = """
import threading
def f(x):
    threads = [threading.Thread(target=threading.Event().wait, args=(10,)) for _ in range(5)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
"""
ENDLESS = "def f(x):\n    while True: pass\n"
WORKER = """
import time
def f(x):
    while time.process_time() < 0.3:
        pass
    return (7 * x + 3) % 11
"""


@pytest.fixture
def starved_core():
    """This process and those it starts share one core with three that never rest."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    # a session each, as the program's child has: kernels with autogroups share a core among sessions, not processes
    command = [sys.executable, "-S", "-c", "while True: pass"]
    busy = [subprocess.Popen(command, start_new_session=True) for _ in range(3)]
    yield
    os.sched_setaffinity(0, cores)
    for process in busy:
        process.kill()
        process.wait()


def judged(problem: Problem, source: str, **limits) -> tuple[str, float]:
    """The reason and how long it took."""
    with Sandbox(workers=1, **limits) as sandbox:
        start = time.monotonic()
        (verdict,) = grade(sandbox, [(problem, source)])
        return verdict.reason, time.monotonic() - start


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("problem", [RULE, JUDGED], ids=["calls", "judge"])
def test_a_starved_program_has_its_cpu_time_whatever_the_clock_says(starved_core, problem):
    reason, seconds = judged(problem, WORKER, cpu_s=0.6, wall_s=1.0)
    assert reason == "passed" and seconds > 1.0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_program_that_is_never_given_its_time_is_not_called_wrong(starved_core, monkeypatch):
    monkeypatch.setattr("ra3.sandbox.running.PATIENCE", 1)
    assert judged(RULE, ENDLESS, cpu_s=0.9, wall_s=0.9)[0] == "infra"


def test_one_that_has_used_its_time_is_wrong_however_it_ends(monkeypatch):
    monkeypatch.setattr("ra3.sandbox.running.PATIENCE", 1)
    assert judged(RULE, ENDLESS, cpu_s=0.05, wall_s=3.0)[0] == "timeout"


@pytest.mark.parametrize("problem", [RULE, JUDGED], ids=["calls", "judge"])
@pytest.mark.parametrize("source", [SLEEPER, NAPPER, THREADS], ids=["sleep", "naps", "threads"])
def test_one_that_sleeps_has_no_more_than_the_clock(problem, source):
    reason, seconds = judged(problem, source, cpu_s=0.5, wall_s=0.5)
    assert reason == "timeout" and 0.5 <= seconds < 4
