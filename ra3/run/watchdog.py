"""A deadline on everything a run waits for: if nothing moves, the process says what it was doing and ends.

A wait may sit in a library, a device or a file system that never answers, so the process is ended from a thread of its
own. What was saved stays; the stacks of all threads show where it hung.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import ClassVar

EXIT_CODE = 124
"""As of timeout(1)."""
GRACE_S = 30.0
"""If not even this thread can run, the interpreter's own timer ends the process this much later."""


class Watchdog:
    """Use as a context manager; `moved` says that something has been done, and what comes next.

    One watches at a time: entering a second, as when loading is over and the run's own begins, ends the first.
    """

    _watching: ClassVar[Watchdog | None] = None

    def __init__(self, limit_s: float, stacks: Path | None, resume: str, doing: str = "its start"):
        """`stacks`: where the stacks of a hang go; a temporary file if None."""
        self._limit_s, self._stacks, self._resume = limit_s, stacks, resume
        self._doing, self._since = doing, time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ra3-watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        if Watchdog._watching:
            Watchdog._watching.__exit__()
        Watchdog._watching = self
        self.moved(self._doing)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if Watchdog._watching is self:
            Watchdog._watching = None
            self._over.set()
            faulthandler.cancel_dump_traceback_later()
            self._thread.join()

    def moved(self, doing: str) -> None:
        """Something was done; from now on the run is busy with `doing`."""
        self._doing, self._since = doing, time.monotonic()
        faulthandler.dump_traceback_later(self._limit_s + GRACE_S, exit=True, file=sys.__stderr__ or 2)

    def _watch(self) -> None:
        while not self._over.wait(max(0.01, self._since + self._limit_s - time.monotonic())):
            if time.monotonic() >= self._since + self._limit_s:
                self._end()

    def _end(self) -> None:
        stacks = self._stacks or Path(tempfile.gettempdir(), f"ra3-{os.getpid()}.stacks")
        with stacks.open("w") as file:
            file.write(f"nothing moved for {self._limit_s:g} s in {self._doing}\n")
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)
        message = (
            f"ra3: nothing moved for {self._limit_s:g} s (run.stuck_after_s) in {self._doing}\n"
            f"  stacks of all threads: {stacks}\n  fix: find what hung; then go on with: {self._resume}\n"
        )
        os.write(2, message.encode())
        os._exit(EXIT_CODE)
