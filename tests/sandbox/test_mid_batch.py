"""SIGKILL to a run in the middle of a batch of programs.

What runs the programs is stopped first, so that the run waits for verdicts when the kill comes.
"""

import os
import signal
import sys
import time

import pytest
from cli_runs import Started
from processes import children
from small_runs import rlvr, went_on

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
QUIET_S = 2.0
"""A run that writes no step for so long waits for its verdicts."""


def wait_until_quiet(metrics):
    """Wait until a file has not grown for QUIET_S."""
    size, since = -1, time.monotonic()
    while time.monotonic() < since + QUIET_S:
        if (now := metrics.stat().st_size) != size:
            size, since = now, time.monotonic()
        time.sleep(0.05)


def test_a_run_whose_own_supervisor_is_killed_resumes_to_the_same_end(home, whole_rl):
    words, metrics = rlvr("killed-in-batch"), home / "runs" / "killed-in-batch" / "metrics.jsonl"
    run = Started(home, words)
    run.wait_until(lambda: metrics.exists() and metrics.stat().st_size)
    servers = children(run.process.pid)
    for server in servers:
        os.kill(server, signal.SIGSTOP)
    wait_until_quiet(metrics)
    assert run.process.is_alive(), run.said()
    run.signal(signal.SIGKILL)
    assert run.wait().returncode == -signal.SIGKILL
    for server in servers:
        os.kill(server, signal.SIGKILL)
    went_on(home, words, whole_rl)
