"""Ctrl-C and SIGTERM as requests: the step in hand is finished and saved; a second one stops at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Stopped(Exception):
    """The run was asked to stop and has saved its state. `signum` is the signal that asked."""

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class StopRequest:
    """Context manager that turns the first SIGINT or SIGTERM into a flag; the second has its usual effect."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._before[signum] = signal.signal(signum, self._request)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def raise_if_asked(self) -> None:
        """Raises Stopped if a signal came."""
        if self.signum is not None:
            raise Stopped(self.signum)

    def _request(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        self._restore()

    def _restore(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)  # pyright: ignore[reportArgumentType]
        self._before = {}


class Terminated(KeyboardInterrupt):
    """SIGTERM outside a step. It unwinds like Ctrl-C, so whatever tidies up after one does after the other."""

    signum = signal.SIGTERM
