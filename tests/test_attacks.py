"""Hostile programs are paid nothing at any isolation level, and what they did leaves the servers as they were."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import attack_suite
import pytest

from ra3.sandbox import LAYERS
from ra3.sandbox.inside.lockdown import ATTEMPTS

REPOSITORY = Path(__file__).parents[1]
NOBODY = 65534
linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel layers are Linux's")


@cache
def full() -> dict:
    """Every attack at the best level this machine has."""
    return attack_suite.run(LAYERS)


@pytest.mark.parametrize("name", attack_suite.attacks(LAYERS))
def test_attack_is_not_paid(name):
    denied = full()["level"]["denied"]
    if name.startswith("escape_") and denied != ", ".join(ATTEMPTS):
        pytest.skip(f"only these are denied here: {denied}")
    assert full()["verdicts"][name][0] is False, full()["verdicts"][name]


def test_servers_survive_every_attack():
    assert set(full()["references"]) == {"passed"} and full()["restarts"] == 0
    assert not full()["canary"]


def test_attacks_on_the_verdict_fail_without_any_kernel_layer():
    check(attack_suite.run((), slow=False))


def as_nobody(*arguments: str) -> dict:
    """Run the attack suite as an unprivileged user, where need be with the interpreter shown at another place."""
    python = Path(os.path.realpath(sys.executable))
    change = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    show: list[str] = []
    if not reachable(python):
        prefix, python = python.parents[1], Path("/mnt/bin") / python.name
        show = ["unshare", "-m", "sh", "-c", f'mount --bind {prefix} /mnt && exec "$@"', "sh"]
    command = [*show, *change, str(python), "-B", str(REPOSITORY / "tests/attack_suite.py"), *arguments]
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"]}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/", timeout=120)
    if done.stderr.startswith(("mount:", "unshare:")):
        pytest.skip(f"the interpreter is in a closed folder and cannot be shown elsewhere: {done.stderr}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def reachable(path: Path) -> bool:
    """Whether any user may walk to a path."""
    return all(folder.stat().st_mode & 1 for folder in path.parents)


def check(report: dict):
    """Nothing was paid and every right program was, save that a server may be shot where nothing prevents it."""
    paid = {name: verdict for name, verdict in report["verdicts"].items() if verdict[0]}
    assert not paid
    assert set(report["references"]) == {"passed"}


root = pytest.mark.skipif(os.geteuid() != 0 or not reachable(REPOSITORY), reason="needs root, and an open repository")


@linux
@root
def test_unprivileged_with_all_layers():
    report = as_nobody(json.dumps(LAYERS), "quick")
    check(report)
    assert report["uid"] == NOBODY and report["level"]["user"] == f"same as the caller ({NOBODY})"
    assert "off" not in report["level"]["landlock"] + report["level"]["seccomp"] and not report["canary"]
    assert report["restarts"] == 0


@linux
@root
def test_unprivileged_without_any_layer():
    report = as_nobody("[]", "quick")
    check(report)
    assert report["level"]["landlock"].startswith("off")
