"""Progress inside a step: long work says after every pass how far it is, and whoever watches the run is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ra3.run.ledger import duration


class Work:
    """Tokens to be read, written or learnt from. ``str(work)``: 3,120 of 16,384 tokens, 82 a second, 2m42s left."""

    def __init__(self, total: int):
        self.total, self.done, self._watcher = total, 0, _watcher.get()
        self._began = time.monotonic()

    def advance(self, tokens: int) -> None:
        """So many more are done."""
        self.done += tokens
        if self._watcher:
            self._watcher(self)

    def __str__(self) -> str:
        rate = self.done / max(time.monotonic() - self._began, 1e-9)
        return (
            f"{self.done:,} of {self.total:,} tokens, {rate:,.0f} a second, "
            f"{duration(max(0, self.total - self.done) / max(rate, 1e-9))} left"
        )


Watcher = Callable[[Work], None]
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Inside, `watcher` is told of all work in this thread whenever it advances."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)
