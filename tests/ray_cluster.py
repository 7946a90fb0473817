"""A Ray cluster of four places that sees no network but the loopback device, in a network namespace of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

NAMESPACE = f"ra3-{os.getpid()}"
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
ENVIRONMENT = os.environ | {
    "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "GLOO_SOCKET_IFNAME": "lo",
}  # fmt: skip


def inside(*words: object) -> list[str]:
    """The command line that runs `words` in the namespace."""
    return ["ip", "netns", "exec", NAMESPACE, *map(str, words)]


def can_isolate() -> bool:
    """Whether a network namespace can be made here."""
    change = [["ip", "netns", verb, NAMESPACE] for verb in ("add", "delete")]
    return bool(shutil.which("ip")) and not any(subprocess.run(own, capture_output=True).returncode for own in change)


@contextmanager
def ray_cluster() -> Iterator[None]:
    """Inside, the cluster is running."""
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    try:
        subprocess.run(inside("ip", "link", "set", "lo", "up"), check=True)
        start = ["start", "--head", "--num-cpus", 4, "--node-ip-address", "127.0.0.1", "--include-dashboard", "false"]
        subprocess.run(inside(*RAY, *start), check=True, env=ENVIRONMENT, capture_output=True)
        yield
        subprocess.run(inside(*RAY, "stop", "--force"), env=ENVIRONMENT, capture_output=True)
    finally:
        subprocess.run(["ip", "netns", "delete", NAMESPACE], check=True)
