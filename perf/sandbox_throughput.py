"""Programs per second and CPU time per program of the sandbox, on tiny programs, beside the bare start of Python.

    python perf/sandbox_throughput.py [--programs 1000] [--workers 2] [--rounds 5]

Contenders take turns, so that a busy machine slows all of them alike; what can be compared is the ratio in one run.
``bare start`` forks and executes ``python -I -S -c pass``, as many at once as there are workers: it runs no program,
isolates nothing and decides nothing. CPU time is that of the supervisor and of the servers with their children.
"""

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from ra3.grading.grade import grade
from ra3.grading.problems import CallTest, JudgeTest, Problem, StdioTest
from ra3.sandbox import LAYERS, Sandbox
from ra3.sandbox.forkserver import interpreter

TESTS = [(number, (7 * number + 3) % 11) for number in range(8)]
FUNCTION = "def f(x):\n    return (7 * x + 3) % 11\n"
CALLS = Problem("calls", "", "f", tuple(CallTest((number,), value) for number, value in TESTS))
SCRIPT = Problem("script", "", None, (StdioTest("4\n", "9\n"),))
JUDGED = Problem("judged", "", "f", (JudgeTest(f"for x, y in {TESTS}:\n    assert f(x) == y\n"),))
WORK = {
    "calls": (CALLS, FUNCTION), "stdio": (SCRIPT, "print((7 * int(input()) + 3) % 11)\n"), "judge": (JUDGED, FUNCTION),
}  # fmt: skip


@dataclass
class Contender:
    """Something that is timed: ``go(count)`` runs that many programs and returns CPU seconds inside them."""

    name: str
    go: Callable[[int], float]
    wall: float = 0.0
    own: float = 0.0
    inside: float = 0.0
    rates: list[float] = field(default_factory=list)

    def turn(self, count: int):
        """One turn."""
        own, start = cpu_s(), time.perf_counter()
        self.inside += self.go(count)
        wall = time.perf_counter() - start
        self.own += cpu_s() - own
        self.wall += wall
        self.rates.append(count / wall)


def cpu_s() -> float:
    """User and system seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def graded(sandbox: Sandbox, kind: str) -> Callable[[int], float]:
    """Grades programs that differ in a comment, so that none is graded only once."""
    problem, body = WORK[kind]
    numbers = iter(range(10**9))

    def go(count: int) -> float:
        verdicts = grade(sandbox, [(problem, f"# {next(numbers)}\n{body}") for _ in range(count)])
        assert all(verdict.passed for verdict in verdicts), {verdict.reason for verdict in verdicts}
        return sum(verdict.cpu_s for verdict in verdicts)

    return go


def bare_starts(workers: int) -> Callable[[int], float]:
    """Starts interpreters that do nothing, ``workers`` at a time."""
    command = [interpreter(), "-I", "-S", "-c", "pass"]

    def start():
        if os.fork() == 0:
            os.execv(command[0], command)

    def go(count: int) -> float:
        used = 0.0
        for _ in range(min(workers, count)):
            start()
        for number in range(count):
            _, status, usage = os.wait3(0)
            assert status == 0
            used += usage.ru_utime + usage.ru_stime
            if number + workers < count:
                start()
        return used

    return go


def main():
    """Let the contenders take turns, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with ExitStack() as stack:
        contenders = [Contender("bare start", bare_starts(options.workers))]
        for layers, name in ((LAYERS, "all layers"), ((), "limits only")):
            sandbox = stack.enter_context(Sandbox(options.workers, layers=layers, forced=True))
            contenders += [Contender(f"{kind}, {name}", graded(sandbox, kind)) for kind in WORK]
            print(f"{name}: {sandbox.level['user']}; denied: {sandbox.level['denied']}")
        for contender in contenders:
            contender.go(20)
        for _ in range(options.rounds):
            for contender in contenders:
                contender.turn(options.programs // options.rounds)
    bare = contenders[0]
    print(f"{'':24}{'per s':>8}{'best turn':>11}{'vs bare':>9}{'ms CPU: program':>17}{'supervisor':>12}")
    for each in contenders:
        count = options.programs // options.rounds * options.rounds
        rate, ratio = count / each.wall, bare.wall / each.wall
        times = f"{1000 * each.inside / count:17.2f}{1000 * each.own / count:12.2f}"
        print(f"{each.name:24}{rate:8.0f}{max(each.rates):11.0f}{ratio:9.1f}{times}")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
