"""Grades every program of tests/sandbox/attacks at one isolation level; prints a JSON report when run as a script.

    python tests/sandbox/attack_suite.py '["namespaces", "landlock", "seccomp"]' [quick]

The task is hidden from the programs: f(x) = (7x + 3) % 11 on four inputs, called and compared, asked for by a judge
(``judge_...``, and the attacks on the verdict once more), from stdin to stdout (``stdio_...``); or two factors of a
number, for a checker (``checker_...``). Programs called ``escape_...`` know it and answer rightly if, and only if, the
forbidden thing they try has worked. Those called ``infra_...`` want to be taken for a failure of the sandbox. Every
level is run by tests/sandbox/attack_levels.py.
"""

import json
import os
import sys
from pathlib import Path

from ra3.grading.grade import grade
from ra3.grading.problems import CallTest, CheckedTest, JudgeTest, Problem, StdioTest
from ra3.sandbox import Sandbox
from ra3.sandbox.pool import FIRST_UID, PROCESSES, UIDS_PER_PROCESS

FOLDER = Path(__file__).parent / "attacks"
REPOSITORY = FOLDER.parents[2]
CANARY = Path("/tmp/ra3-attack-canary")
TESTS = [(number, (7 * number + 3) % 11) for number in (1, 4, 9, 123)]
CALL = Problem("rule", "", "f", tuple(CallTest((x,), y) for x, y in TESTS))
STDIO = Problem("rule-stdio", "", None, tuple(StdioTest(f"{x}\n", f"{y}\n") for x, y in TESTS))
JUDGE_SOURCE = f"""
import math

def check(candidate):
    for got, want in zip(map(candidate, {[x for x, _ in TESTS]}), {[y for _, y in TESTS]}):
        assert math.isclose(got, want) and not abs(got - want) > 1e-6 and got == want

check(f)
"""
JUDGE = Problem("rule-judge", "", "f", (JudgeTest(JUDGE_SOURCE),))
CHECKER = """
def check(stdin, output, reference):
    a, b = map(int, output.split())
    return a * b == int(stdin) and min(a, b) > 1
"""
CHECKED = Problem("factors", "", None, tuple(CheckedTest(f"{n}\n", CHECKER, "secret\n") for n in (35, 143)))
PROBLEMS = {"stdio": STDIO, "judge": JUDGE, "checker": CHECKED}
REFERENCE = "def f(x):\n    return (7 * x + 3) % 11\n"
FACTORS = "n = int(input())\na = next(a for a in range(2, n) if n % a == 0)\nprint(a, n // a)\n"
RIGHT = [(CALL, REFERENCE), (STDIO, "print((7 * int(input()) + 3) % 11)\n"), (JUDGE, REFERENCE), (CHECKED, FACTORS)]
LIMITS = {"cpu_s": 0.8, "wall_s": 2.5, "memory_mb": 256}
SLOW = {
    "bomb_c_loop", "bomb_decompression", "bomb_output", "bomb_regex", "bomb_list",
    "bomb_stop_self", "hack_catch_all", "stdio_never_ends", "answer_colliding_keys",
    "bomb_sleep", "judge_slow_reply", "judge_colliding_keys", "judge_threads_answer",
    "infra_vfork", "infra_vfork_in_threads", "infra_naps", "infra_naps_in_threads", "infra_yields", "infra_leader_gone",
    "infra_gives_up_priority", "infra_many_threads", "infra_judge_starves", "infra_lowers_own_limits",
}  # fmt: skip
RIGHT_FOR_A_JUDGE = {"hack_float_for_int", "hack_close_result", "hack_swap_result"}
"""They answer rightly, save for the type of a number, or on a pipe that a judge does not read: no attacks on it."""
NEEDS_LAYERS = ("escape_", "infra_gives_up_priority")
NETWORK = {"escape_tcp", "escape_udp", "escape_unix_socket", "escape_netlink"}
WATCHED = (Path(os.__file__).parent, REPOSITORY / "ra3", REPOSITORY / "tests", Path("/etc/passwd"))
SHARED = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))


def attacks(layers: tuple[str, ...], slow: bool = True) -> list[str]:
    """The names; without the kernel's layers what these stop may well succeed: only attacks on the verdict are left."""
    names = sorted(path.stem for path in FOLDER.glob("*.py"))
    return [name for name in names if (layers or not name.startswith(NEEDS_LAYERS)) and (slow or name not in SLOW)]


def problem_of(name: str) -> Problem:
    """The problem that an attack is an answer to."""
    return PROBLEMS.get(name.split("_")[0], CALL)


def attempts(names: list[str]) -> list[tuple[str, Problem, str]]:
    """(label, problem, source) of each attack; attacks on the verdict are tried on the judge, too."""
    work = [(name, problem_of(name), (FOLDER / f"{name}.py").read_text()) for name in names]
    twice = [item for item in work if item[0].startswith(("hack_", "answer_", "infra_"))]
    twice = [item for item in twice if item[0] not in SLOW | RIGHT_FOR_A_JUDGE]
    return work + [(f"{name} (judge)", JUDGE, source) for name, _, source in twice]


def run(layers: tuple[str, ...], slow: bool = True) -> dict:
    """Grade each attack, and after it a right program on the same servers; and look for what they left behind."""
    work = attempts(attacks(layers, slow))
    mixed = [pair for number, (_, task, text) in enumerate(work) for pair in ((task, text), right(number))]
    before, users = files(), processes(program_users())
    with Sandbox(workers=2, layers=layers, forced=True, **LIMITS) as sandbox:
        verdicts = grade(sandbox, mixed)
        alive = grade(sandbox, RIGHT)
        report = {"uid": os.getuid(), "level": sandbox.level, "restarts": sandbox.restarts}
    after = files()
    report["verdicts"] = {item[0]: (v.passed, v.reason) for item, v in zip(work, verdicts[::2], strict=True)}
    report["references"] = [verdict.reason for verdict in [*verdicts[1::2], *alive]]
    report["paid"] = [name for name, verdict in report["verdicts"].items() if verdict[0]]
    report["unjudged"] = [name for name, verdict in report["verdicts"].items() if verdict[0] is None]
    report["files"] = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    report["files"] += [str(CANARY)] if CANARY.exists() else []
    report["sockets"] = [name for name in report["paid"] if name in NETWORK]
    report["processes"] = sorted(processes(program_users()) - users)
    return report


def right(number: int) -> tuple[Problem, str]:
    """A right program that has not been run before."""
    problem, source = RIGHT[number % len(RIGHT)]
    return problem, f"{source}# {number}\n"


def owner(entry: os.DirEntry) -> int | None:
    """The uid that owns it; None if another process has just removed it."""
    try:
        return entry.stat(follow_symlinks=False).st_uid
    except FileNotFoundError:
        return None


def files() -> dict[str, tuple]:
    """State of every file that an escape may want to change: times, mode, links and size; and what it owns in /tmp."""
    users = program_users()
    shared = [Path(entry) for place in SHARED for entry in os.scandir(place) if owner(entry) in users]
    found: dict[str, tuple] = {str(path): () for path in shared}
    for root in WATCHED:
        for path in [root, *root.rglob("*")] if root.is_dir() else [root]:
            if "__pycache__" not in path.parts:
                state = path.lstat()
                found[str(path)] = state.st_mtime_ns, state.st_ctime_ns, state.st_mode, state.st_nlink, state.st_size
    return found


def program_users() -> range:
    """The uids that programs may have: those of root's servers, or our own."""
    if os.geteuid() != 0:
        return range(os.getuid(), os.getuid() + 1)
    first = FIRST_UID + os.getpid() % PROCESSES * UIDS_PER_PROCESS
    return range(first, first + UIDS_PER_PROCESS)


def processes(users: range) -> set[int]:
    """The processes of these users."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.stat().st_uid in users:
                found.add(int(path.name))
        except OSError:
            continue
    return found


if __name__ == "__main__":
    print(json.dumps(run(tuple(json.loads(sys.argv[1])), slow="quick" not in sys.argv)))
