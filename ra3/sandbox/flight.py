"""One job on its way through one server: its pipes, its deadline, and what it comes to."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass

from ra3.sandbox.inside import protocol
from ra3.sandbox.jobs import Job, Outcome, read_frames, started
from ra3.sandbox.zygote import SandboxError, Zygote

CHUNK = 1 << 16
MEGABYTE = 1 << 20
KILL_GRACE_S = 5.0


@dataclass(frozen=True)
class Limits:
    """What one program may use."""

    cpu_s: float
    """CPU seconds of the whole program, all tests together."""
    wall_s: float
    """Seconds by the clock; looser, so that a busy host turns no right answer wrong."""
    memory_mb: int
    """Address space in MiB."""


class Feed:
    """Our end of a pipe that the child reads: bytes go out as it takes them."""

    def __init__(self, fd: int, data: bytes):
        self.fd, self._left = fd, memoryview(data)

    def advance(self) -> bool:
        """Move what can be moved; True when all is written or nobody reads any more."""
        try:
            while self._left:
                self._left = self._left[os.write(self.fd, self._left[:CHUNK]) :]
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True


class Drain:
    """Our end of a pipe that the child writes, up to a number of bytes."""

    def __init__(self, fd: int, limit: int):
        self.fd, self.data, self._limit = fd, bytearray(), limit

    @property
    def overflowed(self) -> bool:
        return len(self.data) > self._limit

    def advance(self) -> bool:
        """Move what can be moved; True at the end of the stream or beyond the limit."""
        while not self.overflowed:
            try:
                chunk = os.read(self.fd, CHUNK)
            except BlockingIOError:
                return False
            if not chunk:
                return True
            self.data += chunk
        return True


class Flight:
    """A job in the air. ``killed`` names why we ended it, None while we have not."""

    def __init__(self, zygote: Zygote, job: Job, limits: Limits):
        self.zygote, self.job, self.limits = zygote, job, limits
        self.killed: str | None = None
        self.pipes: list[Feed | Drain] = []
        self._theirs: list[int] = []
        self._feed(job.payload())
        self.output = self.result = self._drain()
        if job.kind == "stdio":
            self._feed(job.data)
            self.output = self._drain()
        self.started = time.monotonic()
        self.deadline = self.started + limits.wall_s
        self.lost = not zygote.send(protocol.STDIO if job.kind == "stdio" else protocol.CALL, self._theirs)
        for end in self._theirs:
            os.close(end)

    def _feed(self, data: bytes):
        theirs, ours = os.pipe()
        os.set_blocking(ours, False)
        self._theirs.append(theirs)
        self.pipes.append(Feed(ours, data))

    def _drain(self) -> Drain:
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        drain = Drain(ours, self.job.max_output)
        self._theirs.append(theirs)
        self.pipes.append(drain)
        return drain

    def close(self, pipe: Feed | Drain):
        """Give up one pipe."""
        self.pipes.remove(pipe)
        os.close(pipe.fd)

    def abandon(self):
        """Give up all pipes."""
        for pipe in list(self.pipes):
            self.close(pipe)

    def kill(self, reason: str):
        """Have the child killed; the server gets a little time to report it."""
        self.killed = self.killed or reason
        self.deadline = time.monotonic() + KILL_GRACE_S
        self.lost = self.lost or not self.zygote.send(protocol.KILL, [])

    def land(self, status: int, cpu_s: float, peak_bytes: int) -> Outcome:
        """The outcome, once the child has ended. SandboxError if no child got as far as the program."""
        if status == protocol.FORK_FAILED:
            raise SandboxError("the sandbox's server could not fork")
        for pipe in list(self.pipes):
            if isinstance(pipe, Drain):
                pipe.advance()
        self.abandon()
        frames = bytes(self.result.data)
        if not started(frames):
            raise SandboxError("the sandbox's server could not prepare a child")
        results, claimed = read_frames(frames, self.job.tests)
        if self.job.kind == "stdio" and claimed == "error:ExitedEarly":  # a script may leave without a word
            claimed = None if os.waitstatus_to_exitcode(status) == 0 else "error:SystemExit"
        fault = self._verdict_from_outside(status, cpu_s, peak_bytes) or claimed
        stdout = bytes(self.output.data) if self.job.kind == "stdio" else b""
        return Outcome(fault, results, stdout, cpu_s, peak_bytes / MEGABYTE)

    def _verdict_from_outside(self, status: int, cpu_s: float, peak_bytes: int) -> str | None:
        """What the kernel and our own watch say, which no program can talk its way out of."""
        if self.killed:
            return self.killed
        if self.result.overflowed or self.output.overflowed:
            return "output_cap"
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        if cpu_s > self.limits.cpu_s or number == signal.SIGXCPU:
            return "timeout"
        if number == signal.SIGKILL:  # the hard CPU limit, or the kernel short of memory
            return "timeout" if cpu_s > self.limits.cpu_s / 2 else "memory"
        return f"error:{_signal_name(number)}" if number else None


def _signal_name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"SIG{number}"
