"""One batch of jobs flown through the servers, from one thread.

Each slot flies one job at a time, on one server or, for a judged job, two. The loop waits on all pipes at once, kills
what passes its deadline, and gives a job lost to our own fault (a server that died, a failed fork) a second chance on a
fresh server before it is ``infra``.
"""

import contextlib
import selectors
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ra3.sandbox.flight import Flight, Limits
from ra3.sandbox.jobs import Job, Outcome
from ra3.sandbox.seat import Drain, Feed, Seat
from ra3.sandbox.zygote import SandboxError, Zygote

SOON_S = 0.02
KERNEL_COUNTERS = Path("/proc/vmstat")
INFRA = Outcome("infra")


@dataclass(frozen=True)
class Ticket:
    """A job's place in the batch and the second chances it has left."""

    index: int
    infra_retries: int = 1


def oom_kills() -> int:
    """How many processes the kernel has killed so far because the host ran out of memory; 0 where it does not say."""
    with contextlib.suppress(OSError, ValueError):
        counters = dict(line.split() for line in KERNEL_COUNTERS.read_text().splitlines())
        return int(counters.get("oom_kill", 0))
    return 0


class Batch:
    """``for index, outcome in Batch(...)``: every job once, in the order in which they end."""

    def __init__(
        self, slots: int, jobs: list[Job], limits: Limits, deadline_s: float, fresh: Callable[[int, Job], list[Zygote]]
    ):
        """``fresh(slot, job)`` gives the slot's servers for a job, started anew where they are gone."""
        self.jobs, self.limits, self.fresh = jobs, limits, fresh
        self.queue = deque(Ticket(index) for index in range(len(jobs)))
        self.idle = list(range(slots))
        self.flights: dict[int, tuple[Flight, Ticket]] = {}
        self.ended: list[tuple[int, Outcome]] = []
        self.deadline = time.monotonic() + deadline_s
        self.selector = selectors.DefaultSelector()
        self.oom_kills = oom_kills()

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
        """Give every idle slot a job."""
        while self.idle and self.queue:
            slot, ticket = self.idle.pop(), self.queue.popleft()
            job = self.jobs[ticket.index]
            flight = Flight(self.fresh(slot, job), job, self.limits.of(job))
            self.flights[slot] = flight, ticket
            for seat in flight.seats:
                self.selector.register(seat.zygote.control, selectors.EVENT_READ, (slot, seat, None))
                for pipe in [pipe for pipe in seat.pipes if isinstance(pipe, Feed)]:
                    self.feed(slot, seat, pipe)

    def feed(self, slot: int, seat: Seat, pipe: Feed):
        """Write a job, at once if it fits into the pipe."""
        if pipe.advance():
            return seat.close(pipe)
        self.selector.register(pipe.fd, selectors.EVENT_WRITE, (slot, seat, pipe))

    def watch(self):
        """Read what a child writes, once it has run for a while: what a short one writes waits in its pipes."""
        for slot, (flight, _) in self.flights.items():
            if not flight.watched and time.monotonic() >= flight.started + SOON_S:
                flight.watched = True
                for seat in flight.seats:
                    for pipe in [pipe for pipe in seat.pipes if isinstance(pipe, Drain)]:
                        self.selector.register(pipe.fd, selectors.EVENT_READ, (slot, seat, pipe))

    def wait(self):
        """Serve whatever is ready, until the next deadline at the latest."""
        if not self.flights:
            return
        flights = [flight for flight, _ in self.flights.values()]
        soon = [flight.started + SOON_S for flight in flights if not flight.watched]
        soonest = min(self.deadline, *soon, *(flight.deadline for flight in flights))
        for key, _ in self.selector.select(max(0.0, soonest - time.monotonic())):
            slot, seat, pipe = key.data
            if slot not in self.flights or seat.end:
                continue
            if pipe is None:
                self.hear(slot, seat)
            elif pipe.advance():
                self.finish_pipe(slot, seat, pipe)
        self.watch()

    def finish_pipe(self, slot: int, seat: Seat, pipe: Feed | Drain):
        """A stream is at its end, or over its limit: then the program is killed."""
        self.selector.unregister(pipe.fd)
        seat.close(pipe)
        if isinstance(pipe, Drain) and pipe.overflowed:
            self.flights[slot][0].kill("output_cap")

    def hear(self, slot: int, seat: Seat):
        """A server speaks: its child has ended, or the server has."""
        flight, _ = self.flights[slot]
        try:
            end = seat.zygote.receive()
            if end is None:
                return
            self.release(seat)
            outcome = flight.land(seat, end)
        except SandboxError:
            return self.lose(slot)
        if outcome is None:
            return
        if outcome.fault == "memory" and self.host_ran_out():
            return self.lose(slot)
        self.settle(slot, outcome)

    def host_ran_out(self) -> bool:
        """Whether the kernel has killed for want of memory since this was last asked: then a program that got SIGKILL
        within its limits is the victim, not the culprit."""
        before, self.oom_kills = self.oom_kills, oom_kills()
        return self.oom_kills > before

    def settle(self, slot: int, outcome: Outcome):
        """A job has an outcome."""
        _, ticket = self.flights.pop(slot)
        self.idle.append(slot)
        self.ended.append((ticket.index, outcome))

    def lose(self, slot: int):
        """A server is gone with its job: end it for good, and try the job once more elsewhere."""
        ticket = self.flights[slot][1]
        self.end(slot)
        if ticket.infra_retries:
            self.queue.append(replace(ticket, infra_retries=0))
        else:
            self.ended.append((ticket.index, INFRA))

    def release(self, seat: Seat):
        """Stop watching a child."""
        for watched in (seat.zygote.control, *(pipe.fd for pipe in seat.pipes)):
            with contextlib.suppress(KeyError, ValueError):
                self.selector.unregister(watched)

    def end(self, slot: int):
        """End a flight in the air, and its servers with it."""
        flight, _ = self.flights.pop(slot)
        for seat in flight.seats:
            self.release(seat)
            seat.zygote.close()
        flight.abandon()
        self.idle.append(slot)

    def expire(self):
        """See to what is late; give up a server that does not answer a kill; end the batch at its own deadline."""
        now = time.monotonic()
        for slot, (flight, _) in list(self.flights.items()):
            if flight.lost or (flight.killed and now > flight.deadline):
                self.lose(slot)
            elif now > flight.deadline:
                flight.late()
        if now > self.deadline:
            late = [*self.queue, *(ticket for _, ticket in self.flights.values())]
            self.queue.clear()
            self.stop()
            self.ended += [(ticket.index, INFRA) for ticket in late]

    def stop(self):
        """Leave nothing in the air: servers in the middle of a job are ended, the idle ones stay."""
        for slot in list(self.flights):
            self.end(slot)
        self.selector.close()
