"""Ranks as actors of a Ray cluster that sees no network but the loopback device: the same bytes, also after a kill."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_runs import ra3
from kills import product
from rank_kills import words

NAMESPACE = f"ra3-{os.getpid()}"
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
ENVIRONMENT = os.environ | {
    "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "GLOO_SOCKET_IFNAME": "lo",
}  # fmt: skip
pytestmark = [
    pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="needs ray: pip install 'ra3[ray]'"),
    pytest.mark.timeout(600),
]


def inside(*words: object) -> list[str]:
    return ["ip", "netns", "exec", NAMESPACE, *map(str, words)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    if not shutil.which("ip") or subprocess.run(["ip", "netns", "add", NAMESPACE], capture_output=True).returncode:
        pytest.skip("needs a network namespace (ip netns add)")
    try:
        subprocess.run(inside("ip", "link", "set", "lo", "up"), check=True)
        start = ["start", "--head", "--num-cpus", 4, "--node-ip-address", "127.0.0.1", "--include-dashboard", "false"]
        subprocess.run(inside(*RAY, *start), check=True, env=ENVIRONMENT, capture_output=True)
        yield
        subprocess.run(inside(*RAY, "stop", "--force"), env=ENVIRONMENT, capture_output=True)
    finally:
        subprocess.run(["ip", "netns", "delete", NAMESPACE], check=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("ray")
    assert ra3(home, *words("rlvr", "alone")).returncode == 0
    return home


def started(home: Path, name: str, *more: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "ra3", *words("rlvr", name, "--ranks", 2, "--launch", "ray", *more)]
    return subprocess.Popen(inside(*command), cwd=home, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)


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
    found = subprocess.run(["pgrep", "-f", "ra3 rlvr --run.name killed"], capture_output=True, text=True).stdout.split()
    ranks = [int(pid) for pid in found if b"RANK=" in Path(f"/proc/{pid}/environ").read_bytes()]
    os.kill(max(ranks), signal.SIGKILL)
    _, said = run.communicate(timeout=300)
    assert run.returncode == 0
    assert "was killed by SIGKILL; all go on from the last checkpoint" in said
    assert product(home / "runs" / "killed") == product(home / "runs" / "alone")
