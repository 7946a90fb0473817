"""The sandbox: runs programs nobody has read, and tells what they gave. Whether that is right is decided by the caller.

The servers hold no expected value, so no program can read one, and nothing a program says about itself is believed:
see docs/security.md for what each isolation level promises.
"""

import contextlib
import itertools
import os
from collections.abc import Generator

from ra3.errors import UserError
from ra3.sandbox.batch import Batch
from ra3.sandbox.forkserver import ForkServer, SandboxError
from ra3.sandbox.inside import kernel
from ra3.sandbox.jobs import MAX_SOURCE, Job, Outcome
from ra3.sandbox.running import KILL_GRACE_S, PATIENCE, Limits

LAYERS = ("namespaces", "landlock", "seccomp")
JOBS_PER_SERVER = 5000
START_ATTEMPTS = 3
TOO_LONG = Outcome("error:SourceTooLong")
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
        layers: tuple[str, ...] = LAYERS, forced: bool = False,
    ):  # fmt: skip
        """UserError for a bad setting, where programs would run as root, or where root has no kernel layer to protect
        it and that is not ``forced``; SandboxError if no server starts."""
        _check(workers, cpu_s, wall_s, memory_mb, layers)
        self.limits = Limits(cpu_s, wall_s, memory_mb)
        self._layers, self._busy, self._closed = layers, False, False
        self._workers, self.restarts = workers, 0
        self._servers: dict[tuple[str, int], ForkServer] = {}
        try:
            for slot in range(workers):  # all at once; then wait for each
                self._servers["program", slot] = self._start()
            for slot in range(workers):
                with contextlib.suppress(SandboxError):  # such as a Ctrl-C before it had a session of its own
                    self._servers["program", slot].await_ready()
                self._server("program", slot)
            self.level: dict[str, str] = {**self._servers["program", 0].level, "workers": str(workers)}
            _refuse_bare_root(self.level, forced)
        except BaseException:
            self.close()
            raise
        _hide_this_process(self.level)

    def run(self, jobs: list[Job], deadline_s: float | None = None) -> list[Outcome]:
        """The outcome of every job, in the order of the jobs. Jobs still open at the deadline are ``infra``."""
        outcomes = dict(self.stream(jobs, deadline_s))
        return [outcomes[index] for index in range(len(jobs))]

    def stream(self, jobs: list[Job], deadline_s: float | None = None) -> Generator[tuple[int, Outcome], None, None]:
        """``(index, outcome)`` as the jobs end. Take them promptly: the clock of running programs goes on."""
        if self._closed or self._busy:
            raise RuntimeError("this sandbox is closed" if self._closed else "this sandbox is running another batch")
        self._busy = True
        try:
            patience = sum(PATIENCE * self.limits.of(job).wall_s + 2 * KILL_GRACE_S for job in jobs)
            enough = 60 + patience / self._workers + PATIENCE * self.limits.wall_s
            deadline_s = enough if deadline_s is None else deadline_s
            runnable = [index for index, job in enumerate(jobs) if len(job.source) <= MAX_SOURCE]
            yield from [(i, TOO_LONG) for i, job in enumerate(jobs) if len(job.source) > MAX_SOURCE]
            runnable_jobs = [jobs[index] for index in runnable]
            for at, outcome in Batch(self._workers, runnable_jobs, self.limits, deadline_s, self._servers_for):
                yield runnable[at], outcome
        finally:
            self._busy = False

    def close(self):
        """End the servers and whatever runs in them."""
        self._closed = True
        for server in self._servers.values():
            server.close()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_):
        self.close()

    def _servers_for(self, slot: int, job: Job) -> list[ForkServer]:
        """The slot's server for programs and, for a judged job, the one for judges, where no program ever runs."""
        roles = ("program", "judge") if job.kind == "judge" else ("program",)
        return [self._server(role, slot) for role in roles]

    def _server(self, role: str, slot: int) -> ForkServer:
        """A running server; a new one if it is gone, or has served long enough. Judges' start when first needed."""
        if server := self._servers.get((role, slot)):
            if not server.closed and server.jobs_sent < JOBS_PER_SERVER:
                return server
            server.close()
            self.restarts += 1
        attempts = START_ATTEMPTS
        while True:
            server = self._servers[role, slot] = self._start()
            try:
                server.await_ready()
                return server
            except SandboxError:
                attempts -= 1
                if not attempts:
                    raise

    def _start(self) -> ForkServer:
        """A new server; started as root, its programs get a uid that no other server's have."""
        uid = FIRST_UID + os.getpid() % PROCESSES * UIDS_PER_PROCESS + next(_started) % UIDS_PER_PROCESS
        return ForkServer({"layers": self._layers, "uid": uid})


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


def _refuse_bare_root(level: dict[str, str], forced: bool):
    """Programs of root's sandbox run as another user, but with no layer only that stands between them and root."""
    bare = all(level[layer].startswith("off") for layer in LAYERS)
    if bare and level["user"].startswith("root") and not forced:
        reasons = "; ".join(f"{layer} {level[layer]}" for layer in LAYERS)
        raise UserError(
            f"as root no program is run without any of the kernel's layers ({reasons})",
            where="sandbox",
            fix="run ra3 as an ordinary user, or where the kernel has them",
        )


def _hide_this_process(level: dict[str, str]):
    """Where programs run as our own user and Landlock does not stop them, keep them from reading our memory."""
    if kernel.LINUX and level["user"].startswith("same") and level["landlock"].startswith("off"):
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
