"""Hostile programs are paid nothing at any isolation level, and what they did leaves the servers as they were."""

import os
import sys
from functools import cache

import attack_levels
import attack_suite
import pytest

from ra3.sandbox import LAYERS
from ra3.sandbox.inside.lockdown import ATTEMPTS

linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel layers are Linux's")


@cache
def full() -> dict:
    """Every attack at the best level this machine has."""
    return attack_suite.run(LAYERS)


@pytest.mark.parametrize("name", [label for label, *_ in attack_suite.attempts(attack_suite.attacks(LAYERS))])
def test_attack_is_not_paid(name):
    denied = full()["level"]["denied"]
    if name.startswith("escape_") and denied != ", ".join(ATTEMPTS):
        pytest.skip(f"only these are denied here: {denied}")
    assert full()["verdicts"][name][0] is False, full()["verdicts"][name]


def test_servers_survive_every_attack():
    assert set(full()["references"]) == {"passed"} and full()["restarts"] == 0
    assert full()["files"] == full()["sockets"] == full()["processes"] == []


def test_attacks_on_the_verdict_fail_without_any_kernel_layer():
    check(attack_suite.run((), slow=False))


def as_nobody(layers: tuple[str, ...]) -> dict:
    """The quick part of the suite as an unprivileged user."""
    try:
        return attack_levels.as_nobody(layers, "quick")
    except attack_levels.NotPossible as reason:
        pytest.skip(str(reason))


def check(report: dict):
    """Nothing was paid, all was judged and every right program paid; a server may be shot where nothing prevents it."""
    assert not report["paid"] and not report["unjudged"]
    assert set(report["references"]) == {"passed"}


open_repository = attack_levels.reachable(attack_suite.REPOSITORY)
root = pytest.mark.skipif(os.geteuid() != 0 or not open_repository, reason="needs root, and an open repository")


@linux
@root
def test_unprivileged_with_all_layers():
    report = as_nobody(LAYERS)
    check(report)
    assert report["uid"] == attack_levels.NOBODY
    assert report["level"]["user"] == f"same as the caller ({attack_levels.NOBODY})"
    assert "off" not in report["level"]["landlock"] + report["level"]["seccomp"]
    assert report["restarts"] == 0 and report["files"] == report["sockets"] == report["processes"] == []


@linux
@root
def test_unprivileged_without_any_layer():
    report = as_nobody(())
    check(report)
    assert report["level"]["landlock"].startswith("off")
