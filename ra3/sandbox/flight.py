"""One job on its way: its one or two children, its deadline, and what it comes to."""

import math
import os
import signal
import time
from dataclasses import dataclass, replace

from ra3.sandbox.inside import protocol
from ra3.sandbox.jobs import Job, Outcome, read_frames, started
from ra3.sandbox.seat import Seat, signal_name
from ra3.sandbox.zygote import SandboxError, Zygote

MEGABYTE = 1 << 20
KILL_GRACE_S = 20.0
LOOK_S = 0.1
LOOKS = 3
"""Looks in a row that must find a late program asleep, so that one caught between two steps is not taken for idle."""
PATIENCE = 10
"""Clock limits after which a program that still waits for a core is ours to blame, not its own."""
UNPREPARED = "the sandbox's server could not prepare a child"


@dataclass(frozen=True)
class Limits:
    """What one program may use."""

    cpu_s: float
    """CPU seconds of the whole program, all tests together."""
    wall_s: float
    """Seconds by the clock after which a program that sleeps is ended; one that wants a core has CPU seconds due."""
    memory_mb: int
    """Address space in MiB."""

    def of(self, job: Job) -> "Limits":
        """These limits, or the job's own; with its own CPU limit a job's clock runs at least as long as 3 cpu_s + 2."""
        cpu_s = self.cpu_s if job.cpu_s is None else job.cpu_s
        wall_s = self.wall_s if job.cpu_s is None else max(self.wall_s, 3 * cpu_s + 2)
        return Limits(cpu_s, job.wall_s or wall_s, job.memory_mb or self.memory_mb)


class Flight:
    """A job in the air. ``killed`` names why we ended it, None while we have not; a program is ``dismissed`` when its
    judge has ended before it, ``watched`` once its output is read while it runs.

    ``limits`` are the job's own. A judged job has two seats, the program's and its judge's, on a server each, joined by
    two pipes.
    """

    def __init__(self, zygotes: list[Zygote], job: Job, limits: Limits):
        self.job, self.limits = job, limits
        self.killed: str | None = None
        self.dismissed = self.watched = False
        self._asleep = 0
        self.program = Seat(zygotes[0], job.payload(), job.max_output)
        self.seats = [self.program]
        self.output = self.program.result
        command = {"call": protocol.CALL, "stdio": protocol.STDIO, "judge": protocol.SERVE}[job.kind]
        if job.kind == "stdio":
            self.program.feed(job.data)
            self.output = self.program.drain()
        if job.kind == "judge":
            self.seats.append(Seat(zygotes[1], job.judge_payload(), job.max_output))
            self._join(*self.seats)
        self.started = time.monotonic()
        self.deadline = self.started + self.limits.wall_s
        self.lost = not self._start(self.program, command)
        if job.kind == "judge":
            self.lost |= not self._start(self.seats[1], protocol.JUDGE)

    def _join(self, program: Seat, judge: Seat):
        """Each reads what the other writes; the supervisor keeps no end, so that each sees the other's end."""
        questions, asking = os.pipe()
        answers, answering = os.pipe()
        program.give(questions, answering)
        judge.give(answers, asking)

    def _start(self, seat: Seat, command: bytes) -> bool:
        return seat.start(command, math.ceil(self.limits.cpu_s), self.limits.memory_mb)

    def abandon(self):
        """Give up all pipes."""
        for seat in self.seats:
            seat.abandon()

    def late(self):
        """The clock has run out: end the program if it sleeps. One that could run on has not had its CPU time yet on a
        busy host; if that lasts it is ``infra``, since nobody knows what it would have done."""
        sleeps = all(seat.zygote.child_sleeps() for seat in self.seats if seat.end is None)
        self._asleep = self._asleep + 1 if sleeps else 0
        if self._asleep == LOOKS:
            self.kill("timeout")
        elif time.monotonic() > self.started + PATIENCE * self.limits.wall_s:
            self.kill("infra")
        else:
            self.deadline = time.monotonic() + LOOK_S

    def kill(self, reason: str):
        """Have the children killed; the servers get a little time to report it."""
        self.killed = self.killed or reason
        self._end([seat for seat in self.seats if seat.end is None])

    def _end(self, seats: list[Seat]):
        self.deadline = time.monotonic() + KILL_GRACE_S
        for seat in seats:
            self.lost = not seat.kill() or self.lost

    def land(self, seat: Seat, end: tuple[int, float, int]) -> Outcome | None:
        """Note a child's end; the outcome if it was the last. SandboxError if it did not get as far as the program.

        A judge that has ended needs the program no more, not even its start; one whose program has ended learns of it.
        """
        if end[0] == protocol.FORK_FAILED:
            raise SandboxError("the sandbox's server could not fork")
        seat.end = end
        seat.read_out()
        if not (self.dismissed or started(bytes(seat.result.data))):
            raise SandboxError(UNPREPARED)
        if waiting := [other for other in self.seats if other.end is None]:
            if seat is not self.program and not self.killed:
                self.dismissed = True
                self._end(waiting)
            return None
        return self._outcome() if self.job.kind != "judge" else self._judged(self.seats[1])

    def _outcome(self) -> Outcome:
        results, claimed = read_frames(bytes(self.program.result.data), self.job.tests)
        if self.job.kind == "stdio" and claimed == "error:ExitedEarly":  # a script may leave without a word
            claimed = None if self.program.exit_code == 0 else "error:SystemExit"
        fault = self._ended_by_us() or self._seen_from_outside(self.program) or claimed
        stdout = bytes(self.output.data) if self.job.kind == "stdio" else b""
        return self._with_usage(Outcome(fault, results, stdout))

    def _judged(self, judge: Seat) -> Outcome:
        """What the judge says; where it says that the program is gone, why the program is."""
        results, fault = read_frames(bytes(judge.result.data), 1)
        _, claimed = read_frames(bytes(self.program.result.data), 0)
        fault = None if results else fault
        if fault == protocol.GONE:
            if not started(bytes(self.program.result.data)):
                raise SandboxError(UNPREPARED)
            fault = self._seen_from_outside(self.program) or claimed or "error:ExitedEarly"
        if fault == protocol.TOO_LONG:
            fault = "output_cap"
        too_long = "timeout" if self.program.cpu_s > self.limits.cpu_s else None
        killed = None if self.dismissed else self._ended_by_us()  # else it only says how the program went
        return self._with_usage(Outcome(killed or too_long or self._seen_from_outside(judge) or fault, results))

    def _ended_by_us(self) -> str | None:
        """Why, if we ended it; one that we gave up has still had its time if its CPU seconds are used up."""
        used_up = any(seat.cpu_s > self.limits.cpu_s for seat in self.seats)
        return "timeout" if self.killed == "infra" and used_up else self.killed

    def _with_usage(self, outcome: Outcome) -> Outcome:
        assert self.program.end
        return replace(outcome, cpu_s=self.program.cpu_s, peak_mb=self.program.end[2] / MEGABYTE)

    def _seen_from_outside(self, seat: Seat) -> str | None:
        """What the kernel and our own watch say, which no program can talk its way out of."""
        if seat.result.overflowed or self.output.overflowed:
            return "output_cap"
        if seat.cpu_s > self.limits.cpu_s or seat.signal == signal.SIGXCPU:
            return "timeout"
        if seat.signal == signal.SIGKILL and self.dismissed and seat is self.program:
            return None
        if seat.signal == signal.SIGKILL:  # the hard CPU limit, or the kernel short of memory
            return "timeout" if seat.cpu_s > self.limits.cpu_s / 2 else "memory"
        return f"error:{signal_name(seat.signal)}" if seat.signal else None
