"""Faults that are made inside the process of a run, before its command line starts (`prepare` of `cli_runs.ra3`)."""

from __future__ import annotations

import os
import resource
import sys
import threading

NOBODY = 65534
ROOM = 40 * 2**20
"""Bytes of memory that a run gets beyond what the interpreter with its libraries has already."""


def little_memory() -> None:
    """No more address space than `ROOM` bytes above what is in use."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))


def ordinary_user() -> None:
    """Not root any more when the run folder is made, so that permissions count."""
    from ra3.runs import Run

    create = Run.create

    def as_nobody(*arguments):
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        return create(*arguments)

    Run.create = as_nobody


def no_interpreter() -> None:
    """The program that the sandbox starts as its server ends at once."""
    sys._base_executable = "/bin/false"  # pyright: ignore[reportAttributeAccessIssue]


def servers_die_for_good() -> None:
    """The sandbox's servers die before the second batch of programs, and no new one can be started."""
    from processes import children

    import ra3.rlvr as rlvr

    grade, calls = rlvr.grade, []

    def dying(sandbox, attempts):
        calls.append(1)
        if len(calls) == 2:
            no_interpreter()
            for pid in children(os.getpid()):
                os.kill(pid, 9)
        return grade(sandbox, attempts)

    rlvr.grade = dying


def hang_in_second_step() -> None:
    """The second step never comes back, as from a device or a file system that does not answer."""
    from ra3.recorder import Recorder

    log, calls = Recorder.log, []

    def hanging(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            threading.Event().wait()
        log(self, *arguments)

    Recorder.log = hanging
