"""Faults that are made inside the process of a run, before its command line starts (`prepare` of `cli_runs.ra3`)."""

from __future__ import annotations

import os
import resource
import sys
import threading
from collections.abc import Callable

NOBODY = 65534
ROOM = 4 * 2**20
"""Bytes of memory that a run gets beyond what it has when its folder is made."""


def little_memory() -> None:
    """Once the run folder is made, no more address space than `ROOM` bytes above what is in use."""
    before_the_run(starve)


def starve() -> None:
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))


def ordinary_user() -> None:
    """Not root any more when the run folder is made, so that permissions count."""
    before_the_run(become_nobody)


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def before_the_run(act: Callable[[], None]) -> None:
    """Has this done when everything is loaded and the run folder is about to be made."""
    from ra3.runs import Run

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


def small_files() -> None:
    """No file may be longer than 60 kB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))


def folder_vanishes() -> None:
    """Somebody deletes the run folder after the first step."""
    import shutil

    from ra3.recorder import Recorder

    log = Recorder.log

    def vanishing(self, *arguments):
        log(self, *arguments)
        shutil.rmtree(self.run.folder)

    Recorder.log = vanishing


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
