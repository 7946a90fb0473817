"""Runs one batch of jobs on the fork-servers, from one thread.

Each slot runs one job at a time, on one server or, for a judged job, two. The loop waits on all pipes at once, kills
what passes its deadline, and gives a job lost to our own fault (a server that died, a failed fork) a second chance on a
fresh server before it is ``infra``.
"""

import contextlib
import selectors
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from ra3.sandbox.child_process import ChildProcess, PipeReader, PipeWriter
from ra3.sandbox.forkserver import ForkServer, SandboxError
from ra3.sandbox.jobs import Job, Outcome
from ra3.sandbox.running import Limits, RunningJob

KERNEL_COUNTERS = Path("/proc/vmstat")


class Batch:
    """``for index, outcome in Batch(...)``: every job once, in the order in which they end."""

    def __init__(
        self, slots: int, jobs: list[Job], limits: Limits, deadline_s: float,
        servers_for: Callable[[int, Job], list[ForkServer]],
    ):  # fmt: skip
        """``servers_for(slot, job)`` gives the slot's servers for a job, started anew where they are gone."""
        self.jobs, self.limits, self.servers_for = jobs, limits, servers_for
        self.queue, self.retried = deque(range(len(jobs))), set[int]()
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
        if outcome.fault == "memory" and self.host_ran_out():
            return self.retry(slot)
        self.complete(slot, outcome)

    def host_ran_out(self) -> bool:
        """Whether the kernel has killed for want of memory since this was last asked: then a program that got SIGKILL
        within its limits is the victim, not the culprit."""
        before, self.oom_kills = self.oom_kills, oom_kills()
        return self.oom_kills > before

    def complete(self, slot: int, outcome: Outcome):
        """Note a job's outcome and free its slot."""
        self.ended.append((self.running.pop(slot).index, outcome))
        self.idle.append(slot)

    def retry(self, slot: int):
        """End a job that is lost, and its servers for good; run it once more elsewhere, the second time it is infra."""
        index = self.running[slot].index
        self.abort(slot)
        if index in self.retried:
            self.ended.append((index, Outcome("infra")))
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
