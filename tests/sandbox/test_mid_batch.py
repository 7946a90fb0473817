"""SIGKILL in the middle of a batch of programs, to the supervisor inside a run and to one on another host.

What runs the programs is stopped first, so that the run waits for verdicts when the kill comes.
"""

import os
import signal
import sys
import time

import pytest
from cli_runs import Started
from processes import children
from remote_server import key_in, server
from small_runs import rlvr, same, went_on

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
QUIET_S = 2.0
"""A run that writes no step for so long waits for its verdicts."""


class Waiting:
    """A small run of RLVR after its first step, whose programs are stopped by `stop(its process id)`."""

    def __init__(self, home, name, stop, *words):
        self.words, self.folder = rlvr(name, *words), home / "runs" / name
        self.metrics = self.folder / "metrics.jsonl"
        self.run = Started(home, self.words)
        self.run.wait_until(lambda: self.metrics.exists() and self.metrics.stat().st_size)
        stop(self.run.process.pid)
        self._until_quiet()
        assert self.run.process.is_alive(), self.run.said()

    def _until_quiet(self):
        size, since = -1, time.monotonic()
        while time.monotonic() < since + QUIET_S:
            if (now := self.metrics.stat().st_size) != size:
                size, since = now, time.monotonic()
            time.sleep(0.05)


def test_a_run_whose_own_supervisor_is_killed_resumes_to_the_same_end(home, whole_rl):
    stopped = []

    def stop_servers(pid):
        stopped.extend(children(pid))
        for server_pid in stopped:
            os.kill(server_pid, signal.SIGSTOP)

    waiting = Waiting(home, "killed-in-batch", stop_servers)
    waiting.run.signal(signal.SIGKILL)
    assert waiting.run.wait().returncode == -signal.SIGKILL
    for server_pid in stopped:
        os.kill(server_pid, signal.SIGKILL)
    went_on(home, waiting.words, whole_rl)


def test_a_run_goes_on_when_the_server_of_its_programs_is_killed(home, whole_rl, tmp_path):
    key = key_in(tmp_path)
    with server(key) as (first, address):
        remote = ("--sandbox.servers", address, "--sandbox.key-file", key)
        waiting = Waiting(home, "remote", lambda _: first.send_signal(signal.SIGSTOP), *remote)
        first.kill()
        first.wait()
    with server(key, port=int(address.rpartition(":")[2])):
        ended = waiting.run.wait()
    assert ended.returncode == 0, ended.stderr
    same(waiting.folder, whole_rl)
