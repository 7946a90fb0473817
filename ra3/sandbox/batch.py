"""One batch of jobs flown through the servers, from one thread.

Each server flies one job at a time. The loop waits on all pipes at once, kills what passes its deadline, and gives a
job lost to our own fault (a server that died, a failed fork) a second chance on a fresh server before it is ``infra``.
A program that ran out of clock time while it was computing, yet within its CPU limit, met a busy host: it gets a
second chance at the end of the batch.
"""

import contextlib
import selectors
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ra3.sandbox.flight import Drain, Feed, Flight, Limits
from ra3.sandbox.jobs import MAX_SOURCE, Job, Outcome
from ra3.sandbox.zygote import SandboxError, Zygote

WORKING_S = 0.1
INFRA = Outcome("infra")


@dataclass(frozen=True)
class Ticket:
    """A job's place in the batch and the second chances it has left."""

    index: int
    infra_retries: int = 1
    slow_retries: int = 1


class Batch:
    """``for index, outcome in Batch(...)``: every job once, in the order in which they end."""

    def __init__(self, slots: int, jobs: list[Job], limits: Limits, deadline_s: float, fresh: Callable[[int], Zygote]):
        """``fresh(slot)`` gives the slot's server, started anew where it is gone."""
        self.jobs, self.limits, self.fresh = jobs, limits, fresh
        self.queue = deque(Ticket(index) for index in range(len(jobs)))
        self.idle = list(range(slots))
        self.flights: dict[int, tuple[Flight, Ticket]] = {}
        self.ended: list[tuple[int, Outcome]] = []
        self.deadline = time.monotonic() + deadline_s
        self.selector = selectors.DefaultSelector()

    def __iter__(self) -> Iterator[tuple[int, Outcome]]:
        try:
            while self.queue or self.flights:
                self.launch()
                self.wait()
                self.expire()
                yield from self.ended
                self.ended.clear()
        finally:
            self.stop()

    def launch(self):
        """Give every idle server a job."""
        while self.idle and self.queue:
            slot, ticket = self.idle.pop(), self.queue.popleft()
            job = self.jobs[ticket.index]
            if len(job.source) > MAX_SOURCE:
                self.idle.append(slot)
                self.ended.append((ticket.index, Outcome("error:SourceTooLong")))
                continue
            flight = Flight(self.fresh(slot), job, self.limits)
            self.flights[slot] = flight, ticket
            self.selector.register(flight.zygote.control, selectors.EVENT_READ, (slot, None))
            for pipe in list(flight.pipes):
                self.watch(slot, flight, pipe)

    def watch(self, slot: int, flight: Flight, pipe: Feed | Drain):
        """Wait on a pipe, unless all of a job fits into it at once."""
        if isinstance(pipe, Feed) and pipe.advance():
            return flight.close(pipe)
        event = selectors.EVENT_WRITE if isinstance(pipe, Feed) else selectors.EVENT_READ
        self.selector.register(pipe.fd, event, (slot, pipe))

    def wait(self):
        """Serve whatever is ready, until the next deadline at the latest."""
        if not self.flights:
            return
        soonest = min(self.deadline, *(flight.deadline for flight, _ in self.flights.values()))
        for key, _ in self.selector.select(max(0.0, soonest - time.monotonic())):
            slot, pipe = key.data
            if slot not in self.flights:
                continue
            if pipe is None:
                self.hear(slot)
            elif pipe.advance():
                self.finish_pipe(slot, pipe)

    def finish_pipe(self, slot: int, pipe: Feed | Drain):
        """A stream is at its end, or over its limit: then the program is killed."""
        flight, _ = self.flights[slot]
        self.selector.unregister(pipe.fd)
        flight.close(pipe)
        if isinstance(pipe, Drain) and pipe.overflowed:
            flight.kill("output_cap")

    def hear(self, slot: int):
        """The server speaks: the job has ended, or the server has."""
        flight, _ = self.flights[slot]
        try:
            end = flight.zygote.receive()
            if end is not None:
                self.release(slot)
                self.settle(slot, flight.land(*end))
        except SandboxError:
            self.lose(slot)

    def settle(self, slot: int, outcome: Outcome):
        """A job has an outcome; keep it, or fly once more what only met a busy host."""
        flight, ticket = self.flights.pop(slot)
        self.idle.append(slot)
        busy_host = flight.killed == "timeout" and WORKING_S < outcome.cpu_s <= self.limits.cpu_s
        if busy_host and ticket.slow_retries:
            self.queue.append(replace(ticket, slow_retries=0))
        else:
            self.ended.append((ticket.index, outcome))

    def lose(self, slot: int):
        """A server is gone with its job: end it for good, and try the job once more elsewhere."""
        self.release(slot)
        flight, ticket = self.flights.pop(slot)
        flight.abandon()
        flight.zygote.close()
        self.idle.append(slot)
        if ticket.infra_retries:
            self.queue.append(replace(ticket, infra_retries=0))
        else:
            self.ended.append((ticket.index, INFRA))

    def release(self, slot: int):
        """Stop watching a flight."""
        flight, _ = self.flights[slot]
        for watched in (flight.zygote.control, *(pipe.fd for pipe in flight.pipes)):
            with contextlib.suppress(KeyError, ValueError):
                self.selector.unregister(watched)

    def expire(self):
        """Kill what is late; give up a server that does not answer the kill; end the batch at its own deadline."""
        now = time.monotonic()
        for slot, (flight, _) in list(self.flights.items()):
            if flight.lost or (flight.killed and now > flight.deadline):
                self.lose(slot)
            elif now > flight.deadline:
                flight.kill("timeout")
        if now > self.deadline:
            late = [*self.queue, *(ticket for _, ticket in self.flights.values())]
            self.queue.clear()
            self.stop()
            self.ended += [(ticket.index, INFRA) for ticket in late]

    def stop(self):
        """Leave nothing in the air: servers in the middle of a job are ended, the idle ones stay."""
        for slot, (flight, _) in list(self.flights.items()):
            self.release(slot)
            flight.abandon()
            flight.zygote.close()
            self.idle.append(slot)
        self.flights.clear()
        self.selector.close()
