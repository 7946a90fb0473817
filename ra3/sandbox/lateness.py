"""Whether a late program is kept from its CPU seconds or keeps away from them: told by what the kernel counts."""

import time
from collections.abc import Iterable

from ra3.sandbox.forkserver import ForkServer, ThreadTimes

TURN_S = 0.0005
"""The least mean turn of a program that is kept waiting: one that naps or gives its turns away has less."""


class Lateness:
    """What the threads of a program have gained, from look to look; all begin at nothing."""

    def __init__(self):
        self.idle_looks = 0
        """Looks in a row that found it without a core, wanting none, and with less than half of the time since spent
        with one or waiting for one; or could not find it."""
        self._threads: dict[str, ThreadTimes] = {}
        self._at, self._turns = time.monotonic(), 0
        self.computed_s = 0.0
        """CPU seconds that were seen; the kernel's own limit counts by ticks, and who naps is seldom there at one."""

    def look(self, servers: Iterable[ForkServer]):
        """Look at the children of these servers."""
        now, shown = time.monotonic(), [server.child_threads() for server in servers]
        before, elapsed, gained_s = self._threads, now - self._at, 0.0
        self._threads, self._at = {name: times for own in shown for name, times in (own or {}).items()}, now
        for name, times in self._threads.items():
            old = before.get(name, ThreadTimes())
            self.computed_s += times.computed_s - old.computed_s
            self._turns += times.turns - old.turns
            gained_s += times.computed_s + times.waited_s - old.computed_s - old.waited_s
        running = any(times.runnable for times in self._threads.values()) or gained_s > elapsed / 2
        self.idle_looks = 0 if None not in shown and (running or self.ended) else self.idle_looks + 1

    @property
    def ended(self) -> bool:
        """Whether no thread is left: the server has not yet come to say so."""
        return not self._threads

    @property
    def kept_waiting(self) -> bool:
        """Whether it made use of its turns, so that it had too few. Where they are not counted it did not."""
        return self.ended or 0 < TURN_S * self._turns < self.computed_s
