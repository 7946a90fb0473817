"""Ranks as actors of a Ray cluster that sees no network but the loopback device: the same bytes, also after a kill."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_runs import ra3
from kills import product
from rank_kills import launched, ranks_of, words
from ray_cluster import ENVIRONMENT, can_isolate, ray_cluster

pytestmark = [
    pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="needs ray: pip install 'ra3[ray]'"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    if not can_isolate():
        pytest.skip("needs a network namespace (ip netns add)")
    with ray_cluster():
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("ray")
    assert ra3(home, *words("rlvr", "alone")).returncode == 0
    return home


def started(home: Path, name: str) -> subprocess.Popen:
    line = launched("ray", 2, words("rlvr", name))
    return subprocess.Popen(line, cwd=home, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(Path("/tmp/ray/ray_current_cluster").exists(), reason="there is a cluster, or was one")
def test_a_cluster_that_is_not_there_is_told(home):
    ended = subprocess.run(
        [sys.executable, "-m", "ra3", *map(str, words("rlvr", "none", "--ranks", 2, "--launch", "ray"))],
        cwd=home, env=ENVIRONMENT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "no Ray cluster is running" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_actors_give_the_same_bytes(home, cluster):
    run = started(home, "actors")
    _, said = run.communicate(timeout=300)
    assert run.returncode == 0, said
    assert product(home / "runs" / "actors") == product(home / "runs" / "alone")


def test_a_rank_that_is_killed_costs_nothing_but_time(home, cluster):
    run, metrics = started(home, "killed"), home / "runs" / "killed" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text()):
        assert run.poll() is None
        time.sleep(0.05)
    os.kill(max(ranks_of("killed")), signal.SIGKILL)
    _, said = run.communicate(timeout=300)
    assert run.returncode == 0
    assert "was killed by SIGKILL; all go on from the last checkpoint" in said
    assert product(home / "runs" / "killed") == product(home / "runs" / "alone")
