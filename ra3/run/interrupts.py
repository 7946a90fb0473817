"""Ctrl-C and SIGTERM as requests: the step in hand is finished and saved; a second one stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
    _asked.clear()
    before = _handled_by(_stop_at_once)
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
            self._before = _handled_by(self._request)
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


def _stop_at_once(signum: int, frame: FrameType | None) -> None:
    _asked.append(signum)
    raise Terminated if signum == signal.SIGTERM else KeyboardInterrupt


def _handled_by(handler: object) -> dict[int, object]:
    """Sets the handler of both signals, except where they are ignored, as Ctrl-C is in the background of a script."""
    mine = [signum for signum in SIGNALS if signal.getsignal(signum) is not signal.SIG_IGN]
    return {signum: signal.signal(signum, handler) for signum in mine}  # pyright: ignore[reportArgumentType]


def _restore(before: dict[int, object]) -> None:
    for signum, handler in before.items():
        signal.signal(signum, handler)  # pyright: ignore[reportArgumentType]
    before.clear()
