"""No program can be taken for a failure of the sandbox; and test code draws what no program can draw."""

import sys
import time
from dataclasses import replace
from threading import Timer

import attack_suite
import pytest
from verdict_reason import reason

from ra3.grading.grade import grade
from ra3.grading.problems import CallTest, CheckedTest, JudgeTest, Problem
from ra3.sandbox import Job, Sandbox
from ra3.sandbox.forkserver import ThreadTimes
from ra3.sandbox.lateness import Lateness

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
CLAIMS = {
    "infra_vfork": "timeout", "infra_vfork_in_threads": "timeout", "infra_naps": "timeout",
    "infra_naps_in_threads": "timeout", "infra_yields": "timeout", "infra_leader_gone": "timeout",
    "infra_eats_own_frames": "wrong_answer", "infra_blanks_shared_memory": "wrong_answer",
    "infra_closes_everything": "error:ExitedEarly",
}  # fmt: skip


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=2, cpu_s=0.5, wall_s=1.5) as running:
        yield running


@linux
@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_called_what_it_is(sandbox, name):
    """Within the clock limit, some looks and what a busy host adds: before the sixty limits of patience, 90 s."""
    source, start = (attack_suite.FOLDER / f"{name}.py").read_text(), time.monotonic()
    assert reason(sandbox, attack_suite.CALL, source) == CLAIMS[name]
    assert time.monotonic() - start < 60 and sandbox.restarts == 0


class Shown:
    """A server whose child's threads are what a test says."""

    def __init__(self, *looks):
        self._looks = iter(looks)

    def child_threads(self):
        return next(self._looks)


def lateness(monkeypatch, *looks, every_s: float = 1.0) -> Lateness:
    """After looks at these threads, a second apart."""
    clock = iter(every_s * n for n in range(len(looks) + 1))
    monkeypatch.setattr("ra3.sandbox.lateness.time.monotonic", lambda: next(clock))
    late, server = Lateness(), Shown(*looks)
    for _ in looks:
        late.look([server])  # type: ignore[list-item]
    return late


def thread(computed_s, waited_s, turns, runnable=False) -> dict:
    return {"main": ThreadTimes(computed_s, waited_s, turns, runnable)}


@pytest.mark.parametrize(
    ("looks", "idle_looks", "kept_waiting"),
    [
        ([thread(0.1, 0.85, 30, True), thread(0.2, 1.75, 60, True)], 0, True),  # long turns, few: a starved host
        ([thread(0.001, 0, 5), thread(0.001, 0, 5)], 2, False),  # asleep, in whatever state
        ([thread(0.1, 0.85, 9000, True), thread(0.2, 1.75, 18000, True)], 0, False),  # gives its turns away
        ([thread(0.02, 0.3, 900, True), thread(0.04, 0.6, 1800)], 1, False),  # naps
        ([thread(0.1, 0.85, 30, True), {}], 0, True),  # has ended, and the server is late to say so
        ([None, None], 2, True),  # cannot be seen: the clock ends it, by its looks
        ([thread(0.2, 0.7, 30), thread(0.3, 1.5, 60), thread(0.3, 1.5, 60)], 1, True),
        ([thread(0.2, 0, 0, True), thread(0.4, 0, 0, True)], 0, False),  # a kernel that counts no turns
    ],
)
def test_who_is_late_is_told_by_what_it_gains(monkeypatch, looks, idle_looks, kept_waiting):
    late = lateness(monkeypatch, *looks)
    assert (late.idle_looks, late.kept_waiting) == (idle_looks, kept_waiting)


@pytest.mark.parametrize(("megabytes", "expected"), [(8, None), (100, "memory")])
def test_who_twice_holds_much_when_the_host_runs_out_of_memory_is_no_victim(monkeypatch, tmp_path, megabytes, expected):
    """A program that the kernel kills each time it runs, with the host's counter one higher."""
    counters, kills = tmp_path / "vmstat", iter(range(1, 100))
    counters.write_text("oom_kill 0\n")
    monkeypatch.setattr("ra3.sandbox.pool.KERNEL_COUNTERS", counters)

    def count():
        counters.write_text(f"oom_kill {next(kills)}\n")

    source = f"held = bytearray({megabytes} << 20)\nheld[::4096] = b'x' * len(held[::4096])\n"
    source += "def f(x):\n    import os, time\n    time.sleep(1)\n    os.kill(os.getpid(), 9)\n"
    with Sandbox(workers=1, layers=(), forced=True) as running:  # with a call filter nothing can kill itself so
        [Timer(delay_s, count).start() for delay_s in (0.5, 1.5, 2.0)]
        (verdict,) = grade(running, [(attack_suite.CALL, source)])
        assert (verdict.passed, verdict.reason) == ((None, "infra") if expected is None else (False, expected))


def test_a_program_that_does_not_answer_its_kill_is_what_it_was_killed_for(monkeypatch):
    """The order never arrives, as where the kernel keeps a process that it cannot interrupt."""
    monkeypatch.setattr("ra3.sandbox.running.KILL_GRACE_S", 0.2)
    monkeypatch.setattr("ra3.sandbox.running.ChildProcess.kill", lambda self: True)
    with Sandbox(workers=1, cpu_s=0.3, wall_s=0.5) as running:
        assert reason(running, attack_suite.CALL, "def f(x):\n    import time\n    time.sleep(60)\n") == "timeout"
        assert running.restarts == 1


LETTERS = "".join(map(chr, range(97, 123)))
RANDOM_TEST = f"""
import random
for _ in range(50):
    text = "".join(random.choice({LETTERS!r}) for _ in range(random.randint(10, 20)))
    assert f(text[1:] + text[:1]) == text
"""
ROTATION = Problem("rotation", "", "f", (JudgeTest(RANDOM_TEST),))
REPLAY = f"""
import random
{{}}
def f(x):
    return "".join(random.choice({LETTERS!r}) for _ in range(random.randint(10, 20)))
"""
GUESSES = ["", "random.seed(0)", "random.seed('0')", "random.seed('judge 0')", "random.seed(1)", "random.seed(None)"]
FACTOR_CHECK = """
import random

def check(stdin, output, reference):
    return output.split() == [str(random.randrange(10**9)) for _ in range(3)]
"""
DRAW = "import random\ndef draw():\n    return random.getrandbits(64)\n"


@pytest.mark.parametrize("guess", GUESSES)
def test_no_program_draws_what_its_judge_draws(sandbox, guess):
    assert reason(sandbox, ROTATION, "def f(x):\n    return x[-1] + x[:-1]\n") == "passed"
    assert reason(sandbox, ROTATION, REPLAY.format(guess)) == "wrong_answer"


@pytest.mark.parametrize("guess", GUESSES)
def test_no_program_draws_what_its_checker_draws(sandbox, guess):
    problem = Problem("draws", "", None, (CheckedTest("", FACTOR_CHECK),))
    script = f"import random\n{guess}\nprint(*(random.randrange(10**9) for _ in range(3)))\n"
    assert reason(sandbox, problem, script) == "wrong_answer"


def test_test_code_draws_the_same_in_every_run_of_a_seed(sandbox):
    def drawn(sandbox: Sandbox, trusted: bool) -> int:
        (outcome,) = sandbox.run([replace(Job.call(DRAW, "draw", [()]), trusted=trusted)])
        return outcome.results[0].value

    with Sandbox(1) as again, Sandbox(1, seed=7) as other:
        assert drawn(sandbox, True) == drawn(again, True) != drawn(other, True)
        assert drawn(sandbox, False) == drawn(other, False) != drawn(sandbox, True)


@linux
def test_no_command_line_shows_the_seed_of_judges(sandbox):
    problem = Problem("x", "", "f", (JudgeTest("f(1)\n"),))
    assert reason(sandbox, problem, "f = abs\n") == "passed"
    for server in sandbox._servers.values():
        with open(f"/proc/{server.pid}/cmdline") as words:
            assert "seed" not in words.read()


@linux
def test_threads_of_a_program_are_counted_where_the_kernel_can(sandbox):
    """At most 64 with the server's own, where the level says that processes are limited."""
    if "NPROC" not in sandbox.level["limits"].split():
        pytest.skip(f"not limited here: {sandbox.level['limits']}")
    source = "import threading\nthreading.stack_size(32768)\ndef f(x):\n    started, end = 0, threading.Event()\n"
    source += "    try:\n        for started in range(x):\n            threading.Thread(target=end.wait).start()\n"
    source += "    except RuntimeError:\n        pass\n    end.set()\n    return started\n"
    few = Problem("few", "", "f", (CallTest((16,), 15),))
    assert reason(sandbox, few, source) == "passed"
    (outcome,) = sandbox.run([Job.call(source, "f", [(500,)])])
    assert 16 < outcome.results[0].value < 64
