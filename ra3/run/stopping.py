"""How a run is stopped: by Ctrl-C or SIGTERM, which let the step in hand finish; by a deadline when nothing moves."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from types import FrameType

from ra3 import ranks

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


Moved = Callable[[str], None]
_asked: list[int] = []
"""Signals that came outside a step: a library that is being imported may swallow their exception."""
_over = threading.Event()
"""Ends the deadline that is watching."""


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Signals that are ignored stay so, as Ctrl-C is in the background of a script."""
    mine = [signum for signum in SIGNALS if signal.getsignal(signum) is not signal.SIG_IGN]
    before = {signum: signal.signal(signum, handler) for signum in mine}
    try:
        yield
    finally:
        for signum, own in before.items():
            signal.signal(signum, own)


@contextmanager
def stopping_at_once() -> Iterator[None]:
    """Outside of steps both signals raise; one that had no effect all the same stops the next `StopRequest`."""

    def stop(signum: int, frame: FrameType | None) -> None:
        _asked.append(signum)
        raise Terminated if signum == signal.SIGTERM else KeyboardInterrupt

    _asked.clear()
    with _handling(stop):
        yield


class StopRequest:
    """Context manager that turns the first SIGINT or SIGTERM into a flag; the second has its usual effect."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._handlers = ExitStack()

    def __enter__(self) -> StopRequest:
        if _asked:
            raise Stopped(_asked[-1])
        if threading.current_thread() is threading.main_thread():
            self._handlers.enter_context(_handling(self._request))
        return self

    def __exit__(self, *exception: object) -> None:
        self._handlers.close()

    def raise_if_asked(self) -> None:
        """Raises Stopped if a signal came, on all ranks if one came to the first."""
        self.signum = ranks.from_first(lambda: self.signum)
        if self.signum is not None:
            raise Stopped(self.signum)

    def _request(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        self._handlers.close()


@contextmanager
def deadline(limit_s: float, stacks: Path | None, resume: str, doing: str = "its start") -> Iterator[Moved]:
    """A deadline on everything a run waits for, be it a library, a device or a file system: if nothing moves, a thread
    of its own says what the process was doing and where all threads stood, and ends it. What was saved stays.

    The function it gives says that something has been done, and what comes next. `stacks`: where the stacks of a hang
    go; a temporary file if None. One watches at a time: a second, as when loading is over and the run's own begins,
    ends the first.
    """
    global _over
    _over.set()
    _over = over = threading.Event()
    since, stacks = 0.0, stacks or Path(tempfile.gettempdir(), f"ra3-{os.getpid()}.stacks")

    def moved(to: str) -> None:
        nonlocal doing, since
        doing, since = to, monotonic()
        faulthandler.dump_traceback_later(limit_s + GRACE_S, exit=True, file=sys.__stderr__ or 2)

    def watch() -> None:
        while (left_s := since + limit_s - monotonic()) > 0:
            if over.wait(left_s):
                return
        hang = f"nothing moved for {limit_s:g} s"
        with stacks.open("w") as file:
            print(hang, "in", doing, file=file, flush=True)
            faulthandler.dump_traceback(file, all_threads=True)
        message = (
            f"ra3: {hang} (run.stuck_after_s) in {doing}\n"
            f"  stacks of all threads: {stacks}\n  fix: find what hung; then go on with: {resume}\n"
        )
        os.write(2, message.encode())
        os._exit(EXIT_CODE)

    moved(doing)
    threading.Thread(target=watch, name="ra3-deadline", daemon=True).start()
    try:
        yield moved
    finally:
        if over is _over:
            faulthandler.cancel_dump_traceback_later()
        over.set()
