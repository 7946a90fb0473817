"""The sandbox: runs programs nobody has read, and tells what they gave. Whether that is right is decided by the caller.

The servers hold no expected value, so no program can read one, and nothing a program says about itself is believed:
see docs/security.md for what each isolation level promises.
"""

import itertools
import os
from collections.abc import Iterator

from ra3.errors import UserError
from ra3.sandbox.batch import Batch
from ra3.sandbox.flight import KILL_GRACE_S, Limits
from ra3.sandbox.inside import kernel
from ra3.sandbox.jobs import Job, Outcome
from ra3.sandbox.zygote import SandboxError, Zygote

LAYERS = ("namespaces", "landlock", "seccomp")
JOBS_PER_SERVER = 5000
START_ATTEMPTS = 3
MAX_WORKERS = 64
FIRST_UID, UIDS_PER_PROCESS, PROCESSES = 0x70000000, 256, 1 << 20
_started = itertools.count()


class Sandbox:
    """Warm fork-servers, one program at a time each. A context manager; for one thread at a time.

    Example::

        with Sandbox(workers=2) as sandbox:
            outcome, = sandbox.run([Job.call("def f(x):\\n    return x + 1\\n", "f", [(1,)])])
            outcome.results[0].value   # 2

    ``level`` says which layers hold on this machine and what a program was in fact refused when that was tried.
    """

    def __init__(
        self, workers: int = 2, cpu_s: float = 2.0, wall_s: float = 6.0, memory_mb: int = 512,
        layers: tuple[str, ...] = LAYERS,
    ):  # fmt: skip
        """UserError for a bad setting, or where programs would run as root; SandboxError if no server starts."""
        _check(workers, cpu_s, wall_s, memory_mb, layers)
        self.limits = Limits(cpu_s, wall_s, memory_mb)
        self._layers, self._busy, self._closed = layers, False, False
        self._zygotes: list[Zygote] = []
        try:
            self._zygotes += [self._start() for _ in range(workers)]
            for zygote in self._zygotes:
                zygote.await_ready()
        except BaseException:
            self.close()
            raise
        self.level: dict[str, str] = {**self._zygotes[0].level, "workers": str(workers)}
        self.restarts = 0
        _hide_this_process(self.level)

    def run(self, jobs: list[Job], deadline_s: float | None = None) -> list[Outcome]:
        """The outcome of every job, in the order of the jobs. Jobs still open at the deadline are ``infra``."""
        outcomes = dict(self.stream(jobs, deadline_s))
        return [outcomes[index] for index in range(len(jobs))]

    def stream(self, jobs: list[Job], deadline_s: float | None = None) -> Iterator[tuple[int, Outcome]]:
        """``(index, outcome)`` as the jobs end. Take them promptly: the clock of running programs goes on."""
        if self._closed or self._busy:
            raise RuntimeError("this sandbox is closed" if self._closed else "this sandbox is running another batch")
        self._busy = True
        try:
            slots, patience = len(self._zygotes), self.limits.wall_s + KILL_GRACE_S
            enough = 60 + 2 * patience * (1 + len(jobs) / slots)
            yield from Batch(slots, jobs, self.limits, enough if deadline_s is None else deadline_s, self._fresh)
        finally:
            self._busy = False

    def close(self):
        """End the servers and whatever runs in them."""
        self._closed = True
        for zygote in self._zygotes:
            zygote.close()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_):
        self.close()

    def _start(self) -> Zygote:
        """A new server; started as root, its programs get a uid that no other server's have."""
        uid = FIRST_UID + os.getpid() % PROCESSES * UIDS_PER_PROCESS + next(_started) % UIDS_PER_PROCESS
        limits = {"cpu_s": self.limits.cpu_s, "memory_mb": self.limits.memory_mb}
        return Zygote({"layers": self._layers, "uid": uid, **limits})

    def _fresh(self, slot: int) -> Zygote:
        """The slot's server; a new one if it is gone, or has served long enough."""
        zygote = self._zygotes[slot]
        if not zygote.closed and zygote.jobs < JOBS_PER_SERVER:
            return zygote
        zygote.close()
        self.restarts += 1
        for attempt in range(START_ATTEMPTS):
            self._zygotes[slot] = self._start()
            try:
                self._zygotes[slot].await_ready()
                break
            except SandboxError:
                if attempt == START_ATTEMPTS - 1:
                    raise
        return self._zygotes[slot]


def _check(workers, cpu_s, wall_s, memory_mb, layers):
    wrong = [
        ("workers", workers, f"1 to {MAX_WORKERS}", 1 <= workers <= MAX_WORKERS),
        ("cpu_s", cpu_s, "a number above 0", cpu_s > 0),
        ("wall_s", wall_s, f"a number of at least cpu_s = {cpu_s:g}", wall_s >= cpu_s),
        ("memory_mb", memory_mb, "128 or more, the interpreter itself needs some", memory_mb >= 128),
        ("layers", layers, ", ".join(LAYERS), set(layers) <= set(LAYERS)),
    ]
    for name, value, allowed, good in wrong:
        if not good:
            raise UserError(f"{name} cannot be {value!r}", where="sandbox", allowed=allowed)


def _hide_this_process(level: dict[str, str]):
    """Where programs run as our own user and Landlock does not stop them, keep them from reading our memory."""
    if kernel.LINUX and level["user"].startswith("same") and level["landlock"].startswith("off"):
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
