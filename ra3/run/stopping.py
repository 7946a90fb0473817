"""How a run is stopped: by Ctrl-C or SIGTERM, which let the step in hand finish; by a deadline when nothing moves."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import ClassVar

SIGNALS = (signal.SIGINT, signal.SIGTERM)
EXIT_CODE = 124
"""Of a run that its deadline ended, as of timeout(1)."""
GRACE_S = 30.0
"""If not even the thread of a deadline can run, the interpreter's own timer ends the process this much later."""


class Stopped(Exception):
    """The run was asked to stop and has saved its state. `signum` is the signal that asked."""

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Terminated(KeyboardInterrupt):
    """SIGTERM outside a step. It unwinds like Ctrl-C, so whatever tidies up after one does after the other."""

    signum = signal.SIGTERM


_asked: list[int] = []
"""Signals that came outside a step: a library that is being imported may swallow their exception."""


@contextmanager
def stopping_at_once() -> Iterator[None]:
    """Outside of steps both signals raise; one that had no effect all the same stops the next `StopRequest`."""

    def stop(signum: int, frame: FrameType | None) -> None:
        _asked.append(signum)
        raise Terminated if signum == signal.SIGTERM else KeyboardInterrupt

    _asked.clear()
    before = _set_handler(stop)
    try:
        yield
    finally:
        _restore(before)


class StopRequest:
    """Context manager that turns the first SIGINT or SIGTERM into a flag; the second has its usual effect."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if _asked:
            raise Stopped(_asked[-1])
        if threading.current_thread() is threading.main_thread():
            self._before = _set_handler(self._request)
        return self

    def __exit__(self, *exception: object) -> None:
        _restore(self._before)

    def raise_if_asked(self) -> None:
        """Raises Stopped if a signal came."""
        if self.signum is not None:
            raise Stopped(self.signum)

    def _request(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        _restore(self._before)


def _set_handler(handler: object) -> dict[int, object]:
    """The handlers before it; signals that are ignored stay so, as Ctrl-C is in the background of a script."""
    mine = [signum for signum in SIGNALS if signal.getsignal(signum) is not signal.SIG_IGN]
    return {signum: signal.signal(signum, handler) for signum in mine}  # pyright: ignore[reportArgumentType]


def _restore(before: dict[int, object]) -> None:
    for signum, handler in before.items():
        signal.signal(signum, handler)  # pyright: ignore[reportArgumentType]
    before.clear()


class Watchdog:
    """A deadline on everything a run waits for, be it a library, a device or a file system: if nothing moves, a thread
    of its own says what the process was doing and where all threads stood, and ends it. What was saved stays.

    Use as a context manager; `moved` says that something has been done, and what comes next. One watches at a time:
    entering a second, as when loading is over and the run's own begins, ends the first.
    """

    _watching: ClassVar[Watchdog | None] = None

    def __init__(self, limit_s: float, stacks: Path | None, resume: str, doing: str = "its start"):
        """`stacks`: where the stacks of a hang go; a temporary file if None."""
        self._limit_s, self._resume, self._doing, self._since = limit_s, resume, doing, monotonic()
        self._stacks = stacks or Path(tempfile.gettempdir(), f"ra3-{os.getpid()}.stacks")
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
        self._doing, self._since = doing, monotonic()
        faulthandler.dump_traceback_later(self._limit_s + GRACE_S, exit=True, file=sys.__stderr__ or 2)

    def _watch(self) -> None:
        while (left_s := self._since + self._limit_s - monotonic()) > 0:
            if self._over.wait(left_s):
                return
        hang = f"nothing moved for {self._limit_s:g} s"
        with self._stacks.open("w") as file:
            print(hang, "in", self._doing, file=file, flush=True)
            faulthandler.dump_traceback(file, all_threads=True)
        message = (
            f"ra3: {hang} (run.stuck_after_s) in {self._doing}\n"
            f"  stacks of all threads: {self._stacks}\n  fix: find what hung; then go on with: {self._resume}\n"
        )
        os.write(2, message.encode())
        os._exit(EXIT_CODE)
