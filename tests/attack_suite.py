"""Grades every program of tests/attacks at one isolation level; prints a JSON report when run as a script.

    python tests/attack_suite.py '["namespaces", "landlock", "seccomp"]' [quick]

The task is hidden from the programs: f(x) = (7x + 3) % 11 on four inputs, or the same from stdin to stdout. Programs
called ``escape_...`` know it and answer rightly if, and only if, the forbidden thing they try has worked.
"""

import json
import os
import sys
from pathlib import Path

from ra3.problems import CallTest, Problem, StdioTest
from ra3.sandbox import Sandbox
from ra3.sandbox.grade import grade

FOLDER = Path(__file__).parent / "attacks"
CANARY = Path("/tmp/ra3-attack-canary")
TESTS = [(number, (7 * number + 3) % 11) for number in (1, 4, 9, 123)]
CALL = Problem("rule", "", "f", tuple(CallTest((x,), y) for x, y in TESTS))
STDIO = Problem("rule-stdio", "", None, tuple(StdioTest(f"{x}\n", f"{y}\n") for x, y in TESTS))
REFERENCE = "def f(x):\n    return (7 * x + 3) % 11\n"
LIMITS = {"cpu_s": 0.8, "wall_s": 2.5, "memory_mb": 256}
SLOW = {
    "bomb_c_loop", "bomb_decompression", "bomb_output", "bomb_regex", "bomb_list",
    "bomb_stop_self", "hack_catch_all", "stdio_never_ends", "answer_colliding_keys",
    "bomb_sleep",
}  # fmt: skip


def attacks(layers: tuple[str, ...], slow: bool = True) -> list[str]:
    """The names; without the kernel's layers an escape may well succeed, so only attacks on the verdict are left."""
    names = sorted(path.stem for path in FOLDER.glob("*.py"))
    return [name for name in names if (layers or not name.startswith("escape_")) and (slow or name not in SLOW)]


def run(layers: tuple[str, ...], slow: bool = True) -> dict:
    """Grade each attack, and after it a right program on the same servers."""
    names = attacks(layers, slow)
    work = []
    for number, name in enumerate(names):
        work.append((STDIO if name.startswith("stdio_") else CALL, (FOLDER / f"{name}.py").read_text()))
        work.append((CALL, f"{REFERENCE}# {number}\n"))
    with Sandbox(workers=2, layers=layers, **LIMITS) as sandbox:
        verdicts = grade(sandbox, work)
        alive = grade(sandbox, [(CALL, REFERENCE), (STDIO, "print((7 * int(input()) + 3) % 11)\n")])
        report = {"uid": os.getuid(), "level": sandbox.level, "restarts": sandbox.restarts}
    report["verdicts"] = {name: (v.passed, v.reason) for name, v in zip(names, verdicts[::2], strict=True)}
    report["references"] = [verdict.reason for verdict in [*verdicts[1::2], *alive]]
    report["canary"] = CANARY.exists()
    return report


if __name__ == "__main__":
    print(json.dumps(run(tuple(json.loads(sys.argv[1])), slow="quick" not in sys.argv)))
