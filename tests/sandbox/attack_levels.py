"""Every attack at every isolation level, with what it left behind.

    python tests/sandbox/attack_levels.py [quick]

Levels: root and an unprivileged user with all layers, the unprivileged user with none of the kernel's (only attacks on
the verdict, as escapes then may succeed), and root with none, which has to be forced. Started as an ordinary user it
leaves out root's levels.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import attack_suite

from ra3.sandbox import LAYERS

NOBODY = 65534


class NotPossible(Exception):
    """This machine does not let us change to another user."""


def as_nobody(layers: tuple[str, ...], *options: str) -> dict:
    """Run the attack suite as an unprivileged user, where need be with the interpreter shown at another place."""
    python = Path(os.path.realpath(sys.executable))
    change = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    show: list[str] = []
    if not reachable(python):
        prefix, python = python.parents[1], Path("/mnt/bin") / python.name
        show = ["unshare", "-m", "sh", "-c", f'mount --bind {prefix} /mnt && exec "$@"', "sh"]
    suite = [str(attack_suite.REPOSITORY / "tests/sandbox/attack_suite.py"), json.dumps(layers), *options]
    environment = {"PYTHONPATH": str(attack_suite.REPOSITORY), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [*show, *change, str(python), "-B", *suite], capture_output=True, text=True, env=environment, cwd="/"
    )
    if done.stderr.startswith(("mount:", "unshare:")):
        raise NotPossible(f"the interpreter is in a closed folder and cannot be shown elsewhere: {done.stderr}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def reachable(path: Path) -> bool:
    """Whether any user may walk to a path."""
    return all(folder.stat().st_mode & 1 for folder in path.parents)


def main():
    """Print a line per level; exit code 1 if one was paid, not judged or left a trace, or a right one was not paid."""
    slow = "quick" not in sys.argv
    options = [] if slow else ["quick"]
    levels = {"all layers": lambda: attack_suite.run(LAYERS, slow), "no layer": lambda: attack_suite.run((), slow)}
    if os.geteuid() == 0:
        levels |= {f"unprivileged, {name}": lambda layers=layers: as_nobody(layers, *options)
                   for name, layers in (("all layers", LAYERS), ("no layer", ()))}  # fmt: skip
    good = True
    print(f"{'level':28} attacks  paid  infra  right paid  restarts  files  sockets  processes")
    for name, level in levels.items():
        report = level()
        right = sum(reason == "passed" for reason in report["references"])
        left = [len(report[key]) for key in ("files", "sockets", "processes")]
        share = f"{right}/{len(report['references'])}"
        print(
            f"{name:28}{len(report['verdicts']):8}{len(report['paid']):6}{len(report['unjudged']):7}{share:>12}"
            f"{report['restarts']:10}{left[0]:7}{left[1]:9}{left[2]:11}",
            *report["paid"],
            *report["unjudged"],
            *report["files"][:3],
            flush=True,
        )
        good &= not report["paid"] + report["unjudged"] and right == len(report["references"])
        good &= not any(left) or "no layer" in name
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
