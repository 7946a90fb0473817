"""Programs per second and CPU time per program of the sandbox, on tiny programs, at several isolation levels.

    python benchmarks/sandbox_throughput.py [--programs 1000] [--workers 2] [--kind call|stdio]

CPU time counts this process (the supervisor) and the servers with all their children, in milliseconds per program.
"""

import argparse
import resource
import time

from ra3.problems import CallTest, Problem, StdioTest
from ra3.sandbox import LAYERS, Sandbox
from ra3.sandbox.grade import grade

TESTS = [(number, (7 * number + 3) % 11) for number in range(8)]
LEVELS = {"all layers": LAYERS, "seccomp + Landlock": ("seccomp", "landlock"), "limits only": ()}


def problem(kind: str) -> Problem:
    """The task of the benchmark, as a function with eight calls or as a script with one stdin."""
    if kind == "stdio":
        return Problem("tiny", "", None, (StdioTest("4\n", "9\n"),))
    return Problem("tiny", "", "f", tuple(CallTest((number,), value) for number, value in TESTS))


def attempts(kind: str, count: int) -> list[tuple[Problem, str]]:
    """Programs that differ in a comment, so that none is graded only once."""
    body = "def f(x):\n    return (7 * x + 3) % 11\n" if kind == "call" else "print((7 * int(input()) + 3) % 11)\n"
    task = problem(kind)
    return [(task, f"# {number}\n{body}") for number in range(count)]


def cpu_s(who: int) -> float:
    """User and system seconds of this process or of its ended children."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def measure(name: str, layers: tuple[str, ...], options: argparse.Namespace):
    """Grade the programs once and print a line."""
    work = attempts(options.kind, options.programs)
    children = cpu_s(resource.RUSAGE_CHILDREN)
    with Sandbox(workers=options.workers, layers=layers) as sandbox:
        grade(sandbox, work[:20])
        own, start = cpu_s(resource.RUSAGE_SELF), time.perf_counter()
        verdicts = grade(sandbox, work)
        wall, own = time.perf_counter() - start, cpu_s(resource.RUSAGE_SELF) - own
        level = sandbox.level
    assert all(verdict.passed for verdict in verdicts), {verdict.reason for verdict in verdicts}
    children, count = cpu_s(resource.RUSAGE_CHILDREN) - children, len(work)
    inside = sum(verdict.cpu_s for verdict in verdicts)
    print(
        f"{name:20s} {count / wall:7.0f} programs/s   ms CPU per program: {1000 * inside / count:.2f} program,"
        f" {1000 * children / count:.2f} with its server and start-up, {1000 * own / count:.2f} supervisor"
        f"   [{level['user']}; denied: {level['denied']}]"
    )


def main():
    """Measure every level in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kind", choices=("call", "stdio"), default="call")
    options = parser.parse_args()
    for name, layers in LEVELS.items():
        measure(name, layers, options)


if __name__ == "__main__":
    main()
