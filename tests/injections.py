"""Faults that are made inside the process of a run, before its command line starts (`prepare` of `cli_runs.ra3`)."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

NOBODY = 65534
LARGEST_PIECE = 2**17
"""Bytes that a run gets at once when there is little memory."""


def little_memory() -> None:
    """Once the run is open, no more address space, and no piece of `LARGEST_PIECE` bytes in what there is.

    Not before: for a thread that has no memory to begin with Python waits without end, and a run begins with one.
    """
    from ra3.run.recorder import Recorder

    enter = Recorder.__enter__

    def starving(recorder: Recorder) -> Recorder:
        enter(recorder)
        starve()
        return recorder

    Recorder.__enter__ = starving


def starve() -> None:
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used, used))
    with contextlib.suppress(MemoryError):
        while True:
            hoard.append(bytearray(LARGEST_PIECE))


hoard: list[bytearray] = []


def ordinary_user() -> None:
    """Not root any more when the run folder is made, so that permissions count."""
    before_its_making(become_nobody)


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def before_its_making(act: Callable[[], None]) -> None:
    """Has this done when everything is loaded, before the run folder is made."""
    from ra3.run.folder import Run

    create = Run.create

    def acting(*arguments):
        act()
        return create(*arguments)

    Run.create = acting


def no_interpreter() -> None:
    """The program that the sandbox starts as its server ends at once."""
    sys._base_executable = "/bin/false"  # pyright: ignore[reportAttributeAccessIssue]


def servers_die_for_good() -> None:
    """The sandbox's servers die before the second batch of programs, and no new one can be started."""
    from processes import children

    from ra3.rl import solve

    write, calls = solve.write_programs, []

    def dying(*arguments):
        calls.append(1)
        if len(calls) == 2:
            no_interpreter()
            for pid in children(os.getpid()):
                os.kill(pid, 9)
        return write(*arguments)

    solve.write_programs = dying


def small_files() -> None:
    """No file may be longer than 60 kB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))


def folder_vanishes() -> None:
    """Somebody deletes the run folder after the first step."""
    import shutil

    from ra3.run.recorder import Recorder

    log = Recorder.log

    def vanishing(self, *arguments):
        log(self, *arguments)
        shutil.rmtree(self.run.folder)

    Recorder.log = vanishing


def hang_in_second_step() -> None:
    """The second step never comes back, as from a device or a file system that does not answer. The clock of deadlines
    stands still until then, so that a busy machine ends no step before it."""
    from ra3.run import stopping
    from ra3.run.recorder import Recorder

    log, calls, began = Recorder.log, [], []

    def hanging(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            began.append(time.monotonic())
            threading.Event().wait()
        log(self, *arguments)

    Recorder.log = hanging
    stopping.monotonic = lambda: time.monotonic() - began[0] if began else 0.0


def weights_change_before_the_second_update() -> None:
    """The second update's rollouts were sampled by other weights than those that it scores them with."""
    from ra3.rl import loop

    step, calls = loop.policy_step, []

    def changing(policy, *arguments):
        calls.append(1)
        if len(calls) == 2:
            policy.model.get_output_embeddings().weight.data *= 1.01
        return step(policy, *arguments)

    loop.policy_step = changing


def remount(disk: Path, option: str) -> None:
    """Change how the file system `disk` (a fixture) is mounted: its size, or `ro`."""
    subprocess.run(["mount", "-o", f"remount,{option}", str(disk)], check=True)
