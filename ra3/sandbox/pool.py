"""The sandbox: runs programs nobody has read, and tells what they gave. Whether that is right is decided by the caller.

The servers hold no expected value, so no program can read one, and nothing a program says about itself is believed:
see docs/security.md for what each isolation level promises.
"""

import contextlib
import hashlib
import itertools
import os
import selectors
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from ra3.errors import UserError
from ra3.sandbox.forkserver import ForkServer, SandboxError
from ra3.sandbox.inside import kernel
from ra3.sandbox.jobs import MAX_SOURCE, Job, Outcome
from ra3.sandbox.running import KILL_GRACE_S, PATIENCE, ChildProcess, Limits, PipeReader, PipeWriter, RunningJob

LAYERS = ("namespaces", "landlock", "seccomp")
JOBS_PER_SERVER = 5000
START_ATTEMPTS = 3
TOO_LONG = Outcome("error:SourceTooLong")
MAX_WORKERS = 64
WALL_PER_CPU = 3
"""Seconds by the clock that a program gets for each CPU second."""
FIRST_UID, UIDS_PER_PROCESS, PROCESSES = 0x70000000, 256, 1 << 20
KERNEL_COUNTERS = Path("/proc/vmstat")
MODEST_MB = 64
"""A program that twice holds more than this when the host runs out of memory is no victim of others."""
_started = itertools.count()


class Sandbox(contextlib.AbstractContextManager):
    """Warm fork-servers, one program at a time each. A context manager; for one thread at a time.

    Example::

        with Sandbox(workers=2) as sandbox:
            outcome, = sandbox.run([Job.call("def f(x):\\n    return x + 1\\n", "f", [(1,)])])
            outcome.results[0].value   # 2

    ``level`` says which layers hold on this machine and what a program was in fact refused when that was tried.
    """

    def __init__(
        self, workers: int = 2, cpu_s: float = 2.0, wall_s: float | None = None, memory_mb: int = 512,
        layers: tuple[str, ...] = LAYERS, forced: bool = False, seed: int = 0,
    ):  # fmt: skip
        """``wall_s`` is by default three times ``cpu_s``. ``seed`` is where the random numbers of judges and checkers
        begin; no program's process holds it.

        UserError for a bad setting, where programs would run as root, or where root has no kernel layer to protect it
        and that is not ``forced``; SandboxError if no server starts.
        """
        wall_s = WALL_PER_CPU * cpu_s if wall_s is None else wall_s
        _check(workers, cpu_s, wall_s, memory_mb, layers)
        self.limits = Limits(cpu_s, wall_s, memory_mb)
        self._layers, self._seed, self._busy, self._closed = layers, seed, False, False
        self._workers, self.restarts = workers, 0
        self._servers: dict[tuple[str, int], ForkServer] = {}
        try:
            for slot in range(workers):  # all at once; then wait for each
                self._servers["program", slot] = self._start("program")
            for slot in range(workers):
                with contextlib.suppress(SandboxError):  # such as a Ctrl-C before it had a session of its own
                    self._servers["program", slot].await_ready()
                self._server("program", slot)
            self.level: dict[str, str] = {**self._servers["program", 0].level, "workers": str(workers)}
            _refuse_bare_root(self.level, forced)
        except BaseException:
            self.close()
            raise
        own_user, open_files = self.level["user"].startswith("same"), self.level["landlock"].startswith("off")
        if kernel.LINUX and own_user and open_files:  # then programs could read our memory, and the answers in it
            kernel.prctl(kernel.PR_SET_DUMPABLE, 0)

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
            runnable = {index: job for index, job in enumerate(jobs) if len(job.source) <= MAX_SOURCE}
            yield from ((index, TOO_LONG) for index in range(len(jobs)) if index not in runnable)
            yield from Batch(self._workers, runnable, self.limits, deadline_s, self._servers_for)
        finally:
            self._busy = False

    def close(self):
        """End the servers and whatever runs in them."""
        self._closed = True
        for server in self._servers.values():
            server.close()

    def __exit__(self, *_):
        self.close()

    def _servers_for(self, slot: int, job: Job) -> list[ForkServer]:
        """The slot's server for programs or, for test code, the one for judges, where no program ever runs; or both."""
        roles = ("judge",) if job.trusted else ("program", "judge") if job.kind == "judge" else ("program",)
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
            server = self._servers[role, slot] = self._start(role)
            try:
                server.await_ready()
                return server
            except SandboxError:
                attempts -= 1
                if not attempts:
                    raise

    def _start(self, role: str) -> ForkServer:
        """A new server; started as root, its programs get a uid that no other server's have. What judges draw no
        program can draw, and every run draws the same."""
        seed = int.from_bytes(hashlib.sha256(f"judge {self._seed}".encode()).digest()) if role == "judge" else 0
        uid = FIRST_UID + os.getpid() % PROCESSES * UIDS_PER_PROCESS + next(_started) % UIDS_PER_PROCESS
        return ForkServer({"layers": self._layers, "uid": uid, "seed": seed})


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
        what = f"as root no program is run without any of the kernel's layers ({reasons})"
        raise UserError(what, where="sandbox", fix="run ra3 as an ordinary user, or where the kernel has them")


class Batch:
    """One batch of jobs, from one thread: ``for index, outcome in Batch(...)`` in the order in which they end.

    Each slot runs one job at a time, on one server or, for a judged job, two. The loop waits on all pipes at once,
    kills what passes its deadline, and gives a job lost to our own fault (a server that died, a failed fork) a second
    chance on a fresh server before it is ``infra``.
    """

    def __init__(
        self, slots: int, jobs: dict[int, Job], limits: Limits, deadline_s: float,
        servers_for: Callable[[int, Job], list[ForkServer]],
    ):  # fmt: skip
        """``servers_for(slot, job)`` gives the slot's servers for a job, started anew where they are gone."""
        self.jobs, self.limits, self.servers_for = jobs, limits, servers_for
        self.queue, self.retried = deque(jobs), set[int]()
        self.idle, self.running = list(range(slots)), dict[int, RunningJob]()
        self.ended: list[tuple[int, Outcome]] = []
        self.deadline = time.monotonic() + deadline_s
        self.selector = selectors.DefaultSelector()
        self.oom_kills = oom_kills()

    def __iter__(self) -> Iterator[tuple[int, Outcome]]:
        try:
            while self.queue or self.running:
                self.launch()
                self.wait()
                self.check_deadlines()
                yield from self.ended
                self.ended.clear()
        finally:
            self.close()

    def launch(self):
        """Give every idle slot a job."""
        while self.idle and self.queue:
            slot, index = self.idle.pop(), self.queue.popleft()
            job = self.jobs[index]
            running = RunningJob(index, job, self.limits.of(job), self.servers_for(slot, job))
            self.running[slot] = running
            for child in running.children:
                self.selector.register(child.server.control, selectors.EVENT_READ, (slot, child, None))
                for pipe in [pipe for pipe in child.pipes if isinstance(pipe, PipeWriter)]:
                    if pipe.advance():  # most jobs fit into the pipe: then there is nothing to watch
                        child.close(pipe)
                    else:
                        self.selector.register(pipe.fd, selectors.EVENT_WRITE, (slot, child, pipe))

    def wait(self):
        """Serve whatever is ready, until the next deadline at the latest; then read from those that run long."""
        running = self.running.values()
        times = [job.deadline for job in running] + [job.read_from for job in running if job.read_from]
        for key, _ in self.selector.select(max(0.0, min(self.deadline, *times) - time.monotonic())):
            slot, child, pipe = key.data
            if slot not in self.running or child.end:  # ended by what was served a moment ago
                continue
            if pipe is None:
                self.on_message(slot, child)
            elif pipe.advance():
                self.selector.unregister(pipe.fd)
                child.close(pipe)
                if isinstance(pipe, PipeReader) and pipe.overflowed:
                    self.running[slot].kill("output_cap")
        for slot, job in self.running.items():
            if job.read_from and time.monotonic() >= job.read_from:
                job.read_from = None
                for child in job.children:
                    for pipe in [pipe for pipe in child.pipes if isinstance(pipe, PipeReader)]:
                        self.selector.register(pipe.fd, selectors.EVENT_READ, (slot, child, pipe))

    def on_message(self, slot: int, child: ChildProcess):
        """Take what a server says: its child has ended, or the server has."""
        try:
            end = child.server.receive()
            if end is None:
                return
            self.unwatch(child)
            outcome = self.running[slot].finish(child, end)
        except SandboxError:
            return self.retry(slot)
        if outcome is None:
            return
        if outcome.fault == "memory":
            # if the kernel has just killed for the whole host's want of memory, the program is victim, not culprit
            before, self.oom_kills = self.oom_kills, oom_kills()
            again = self.running[slot].index in self.retried
            if self.oom_kills > before and not (again and outcome.peak_mb > MODEST_MB):
                return self.retry(slot)
        self.complete(slot, outcome)

    def complete(self, slot: int, outcome: Outcome):
        """Note a job's outcome and free its slot."""
        self.ended.append((self.running.pop(slot).index, outcome))
        self.idle.append(slot)

    def retry(self, slot: int):
        """End a job that is lost, and its servers for good; run it once more elsewhere. The second time it is infra, or
        what we killed it for."""
        index, killed = self.running[slot].index, self.running[slot].killed
        self.abort(slot)
        if index in self.retried:
            self.ended.append((index, Outcome(killed or "infra")))
        else:
            self.retried.add(index)
            self.queue.append(index)

    def abort(self, slot: int):
        """End a job in the middle, and its servers with it: what they would still say is no longer wanted."""
        for child in self.running.pop(slot).children:
            self.unwatch(child)
            child.server.close()
            child.close_all()
        self.idle.append(slot)

    def unwatch(self, child: ChildProcess):
        """Stop waiting for a child."""
        for watched in (child.server.control, *(pipe.fd for pipe in child.pipes)):
            with contextlib.suppress(KeyError, ValueError):
                self.selector.unregister(watched)

    def check_deadlines(self):
        """See to what is late; give up a server that does not answer a kill; end the batch at its own deadline."""
        now = time.monotonic()
        for slot, job in list(self.running.items()):
            if job.lost or (job.killed and now > job.deadline):
                self.retry(slot)
            elif now > job.deadline:
                job.check_late()
        if now > self.deadline:
            late = [*self.queue, *(job.index for job in self.running.values())]
            self.queue.clear()
            self.ended += [(index, Outcome("infra")) for index in late]
            self.close()

    def close(self):
        """Leave nothing running: servers in the middle of a job are ended, the idle ones stay."""
        for slot in list(self.running):
            self.abort(slot)
        self.selector.close()


def oom_kills() -> int:
    """Return how many processes the kernel has killed because the host ran out of memory; 0 where it does not say."""
    with contextlib.suppress(OSError, ValueError):
        counters = dict(line.split() for line in KERNEL_COUNTERS.read_text().splitlines())
        return int(counters.get("oom_kill", 0))
    return 0
