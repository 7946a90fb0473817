"""Ask the kernel for the last place in every queue, then compute."""

import contextlib
import os
from pathlib import Path


def f(x):
    attempts = (
        lambda: os.setpriority(os.PRIO_PROCESS, 0, 19),
        lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)),
        lambda: Path("/proc/self/autogroup").write_text("19"),
        lambda: os.sched_setaffinity(0, {0}),
    )
    for attempt in attempts:
        with contextlib.suppress(OSError):
            attempt()
    while True:
        pass
