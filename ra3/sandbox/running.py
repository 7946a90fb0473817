"""One job that runs: its one or two children, what came through their pipes, its deadline, and its outcome."""

import math
import os
import signal
import time
from dataclasses import dataclass

from ra3.sandbox.forkserver import ForkServer, SandboxError
from ra3.sandbox.inside import protocol
from ra3.sandbox.jobs import Job, Outcome, Result, read_frames
from ra3.sandbox.lateness import Lateness

MEGABYTE, CHUNK = 1 << 20, 1 << 16
KILL = protocol.COMMAND.pack(protocol.KILL, 0, 0)
KILL_GRACE_S = 20.0
READ_AFTER_S = 0.02
LOOK_S = 0.1
LOOKS = 3
"""Looks in a row that must find a late program idle, so that one caught between two steps is not taken for it."""
PATIENCE = 60
"""Clock limits after which a program that still waits for a core is given up."""
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
        """Return the job's own limits where it has them; its own CPU limit gives it a clock of 3 cpu_s + 2 or more."""
        cpu_s = self.cpu_s if job.cpu_s is None else job.cpu_s
        wall_s = self.wall_s if job.cpu_s is None else max(self.wall_s, 3 * cpu_s + 2)
        return Limits(cpu_s, job.wall_s or wall_s, job.memory_mb or self.memory_mb)


class PipeWriter:
    """Our end of a pipe that the child reads: bytes go out as it takes them."""

    def __init__(self, fd: int, data: bytes):
        os.set_blocking(fd, False)
        self.fd, self._left = fd, memoryview(data)

    def advance(self) -> bool:
        """Write what the pipe takes; True when all is written or nobody reads any more."""
        try:
            while self._left:
                self._left = self._left[os.write(self.fd, self._left[:CHUNK]) :]
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True


class PipeReader:
    """Our end of a pipe that the child writes, up to a number of bytes."""

    def __init__(self, fd: int, limit: int):
        os.set_blocking(fd, False)
        self.fd, self.data, self._limit = fd, bytearray(), limit

    @property
    def overflowed(self) -> bool:
        return len(self.data) > self._limit

    def advance(self) -> bool:
        """Read what there is; True at the end of the stream or beyond the limit."""
        while not self.overflowed:
            try:
                chunk = os.read(self.fd, CHUNK)
            except BlockingIOError:
                return False
            if not chunk:
                return True
            self.data += chunk
        return True


class ChildProcess:
    """A child being set up, then running, then ended (``end``: wait status, CPU seconds, bytes resident, whether it got
    as far as the program)."""

    end: tuple[int, float, int, bool] | None = None

    def __init__(self, server: ForkServer, payload: bytes, max_output: int):
        self.server, self._max_output = server, max_output
        self.pipes: list[PipeWriter | PipeReader] = []
        self._theirs: list[int] = []
        self.add_input(payload)
        self.result = self.add_output()

    def add_input(self, data: bytes):
        """Let the child's next descriptor read these bytes."""
        theirs, ours = os.pipe()
        self._theirs.append(theirs)
        self.pipes.append(PipeWriter(ours, data))

    def add_output(self) -> PipeReader:
        """Return what reads the child's next descriptor."""
        ours, theirs = os.pipe()
        reader = PipeReader(ours, self._max_output)
        self._theirs.append(theirs)
        self.pipes.append(reader)
        return reader

    def own_ends(self, count: int):
        """Give the last descriptors to the program's user, who may then open ``/dev/stdin`` and the like."""
        if self.server.program_uid is not None:
            for end in self._theirs[-count:]:
                os.fchown(end, self.server.program_uid, -1)

    def add_ends(self, *ends: int):
        """Make these the child's next descriptors; they are no longer ours."""
        self._theirs += ends

    def start(self, command: bytes, cpu_s: int, memory_mb: int) -> bool:
        """Order the child; False if its server is gone."""
        sent = self.server.send(protocol.COMMAND.pack(command, cpu_s, memory_mb), self._theirs)
        for end in self._theirs:
            os.close(end)
        return sent

    def kill(self) -> bool:
        """Have the child killed; False if its server is gone."""
        return self.server.send(KILL, [])

    def finish(self, end: tuple[int, float, int, bool]):
        """Note the child's end, take what is left in its pipes, and close them."""
        self.end = end
        for pipe in self.pipes:
            if isinstance(pipe, PipeReader):
                pipe.advance()
        self.close_all()

    def close(self, pipe: PipeWriter | PipeReader):
        """Close one pipe."""
        self.pipes.remove(pipe)
        os.close(pipe.fd)

    def close_all(self):
        """Close all pipes."""
        for pipe in list(self.pipes):
            self.close(pipe)

    @property
    def exit_code(self) -> int:
        """Exit code; minus the signal if one has ended the child."""
        return os.waitstatus_to_exitcode(self.end[0]) if self.end else 0

    @property
    def signal(self) -> int:
        """The signal that ended the child, 0 for none."""
        return max(0, -self.exit_code)

    @property
    def cpu_s(self) -> float:
        """CPU seconds of the child."""
        return self.end[1] if self.end else 0.0

    @property
    def started(self) -> bool:
        """Whether the child got as far as the program; its server says so, whatever the program has done."""
        return bool(self.end and self.end[3])


class RunningJob:
    """A job from its start to its outcome.

    A judged job has two children, the program's and its judge's, on a server each, joined by two pipes. ``lost``: a
    server is gone; ``killed``: why we ended it, None while we have not; ``dismissed``: the judge has ended before its
    program, which is needed no more.
    """

    def __init__(self, index: int, job: Job, limits: Limits, servers: list[ForkServer]):
        self.index, self.job, self.limits = index, job, limits
        self.killed: str | None = None
        self.dismissed = False
        self._lateness = Lateness()
        self.program = ChildProcess(servers[0], job.payload(), job.max_output)
        self.children = [self.program]
        self.output = self.program.result
        command = {"call": protocol.CALL, "stdio": protocol.STDIO, "judge": protocol.SERVE}[job.kind]
        if job.kind == "stdio":
            self.program.add_input(job.data)
            self.output = self.program.add_output()
            self.program.own_ends(2)
        if job.kind == "judge":
            judge = ChildProcess(servers[1], job.judge_payload(), job.max_output)
            self.children.append(judge)
            # each reads what the other writes; we keep no end of these pipes, so that each sees the other's end
            questions, asking = os.pipe()
            answers, answering = os.pipe()
            self.program.add_ends(questions, answering)
            judge.add_ends(answers, asking)
        now = time.monotonic()
        self.deadline, self.give_up_at = now + limits.wall_s, now + PATIENCE * limits.wall_s
        # what a short program writes waits in its pipes for its end: watching them would cost it a wake-up each
        self.read_from: float | None = now + READ_AFTER_S
        orders = zip(self.children, (command, protocol.JUDGE), strict=False)
        started = [child.start(order, math.ceil(limits.cpu_s), limits.memory_mb) for child, order in orders]
        self.lost = not all(started)

    def check_late(self):
        """End the program whose clock has run out if it is idle.

        One that wants a core has not had its CPU time yet on a busy host. If that lasts it is ``infra``, since nobody
        knows what it would have done; unless it has not made use of the turns that it had.
        """
        self._lateness.look(child.server for child in self.children if child.end is None)
        if self._lateness.idle_looks == LOOKS or self._lateness.computed_s > len(self.children) * self.limits.cpu_s:
            self.kill("timeout")
        elif time.monotonic() > self.give_up_at:
            self.kill("infra" if self._lateness.kept_waiting else "timeout")
        else:
            self.deadline = time.monotonic() + LOOK_S

    def kill(self, reason: str):
        """Have the children killed for this reason."""
        self.killed = self.killed or reason
        self._kill_running()

    def _kill_running(self):
        self.deadline = time.monotonic() + KILL_GRACE_S  # for the servers to report it
        for child in self.children:
            if child.end is None and not child.kill():
                self.lost = True

    def finish(self, child: ChildProcess, end: tuple[int, float, int, bool]) -> Outcome | None:
        """Note a child's end; return the outcome if it was the last. SandboxError if it did not reach the program.

        A judge that has ended needs the program no more, not even its start; one whose program has ended learns of it.
        """
        if end[0] == protocol.FORK_FAILED:
            raise SandboxError("the sandbox's server could not fork")
        child.finish(end)
        if not (self.dismissed or child.started):
            raise SandboxError(UNPREPARED)
        if any(other.end is None for other in self.children):
            if child is not self.program and not self.killed:
                self.dismissed = True
                self._kill_running()
            return None
        return self._judged(self.children[1]) if self.job.kind == "judge" else self._ran()

    def _ran(self) -> Outcome:
        """The outcome of calls and of a script."""
        results, claimed = read_frames(bytes(self.program.result.data), self.job.tests)
        if self.job.kind == "stdio" and claimed == "error:ExitedEarly":  # a script may leave without a word
            claimed = None if self.program.exit_code == 0 else "error:SystemExit"
        fault = self._ended_by_us() or self._seen_from_outside(self.program) or claimed
        return self._outcome(fault, results, bytes(self.output.data) if self.job.kind == "stdio" else b"")

    def _judged(self, judge: ChildProcess) -> Outcome:
        """What the judge says; where it says that the program is gone, why the program is."""
        results, fault = read_frames(bytes(judge.result.data), 1)
        _, claimed = read_frames(bytes(self.program.result.data), 0)
        fault = None if results else fault
        if fault == protocol.GONE:
            if not self.program.started:
                raise SandboxError(UNPREPARED)
            fault = self._seen_from_outside(self.program) or claimed or "error:ExitedEarly"
        if fault == protocol.TOO_LONG:
            fault = "output_cap"
        too_long = "timeout" if self.program.cpu_s > self.limits.cpu_s else None
        killed = None if self.dismissed else self._ended_by_us()  # else it only says how the program went
        return self._outcome(killed or too_long or self._seen_from_outside(judge) or fault, results)

    def _outcome(self, fault: str | None, results: tuple[Result, ...], stdout: bytes = b"") -> Outcome:
        assert self.program.end
        return Outcome(fault, results, stdout, self.program.cpu_s, self.program.end[2] / MEGABYTE)

    def _ended_by_us(self) -> str | None:
        """Why, if we ended it; one that we gave up has still had its time if its CPU seconds are used up."""
        used_up = any(child.cpu_s > self.limits.cpu_s for child in self.children)
        return "timeout" if self.killed == "infra" and used_up else self.killed

    def _seen_from_outside(self, child: ChildProcess) -> str | None:
        """What the kernel and our own watch say, which no program can talk its way out of."""
        if child.result.overflowed or self.output.overflowed:
            return "output_cap"
        if child.cpu_s > self.limits.cpu_s or child.signal == signal.SIGXCPU:
            return "timeout"
        if child.signal == signal.SIGKILL and self.dismissed and child is self.program:
            return None
        if child.signal == signal.SIGKILL:  # the hard CPU limit, or the kernel short of memory
            return "timeout" if child.cpu_s > self.limits.cpu_s / 2 else "memory"
        return f"error:{_signal_name(child.signal)}" if child.signal else None


def _signal_name(number: int) -> str:
    """SIGSEGV for 11."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"
