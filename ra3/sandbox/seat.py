"""One child's place on one server: its pipes, and what came through them."""

import os
import signal

from ra3.sandbox.inside import protocol
from ra3.sandbox.zygote import Zygote

CHUNK = 1 << 16


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


class Seat:
    """A child being set up, then under way, then ended (``end``: wait status, CPU seconds, bytes resident)."""

    def __init__(self, zygote: Zygote, payload: bytes, max_output: int):
        self.zygote, self.pipes, self.end = zygote, [], None
        self._max_output, self._theirs = max_output, []
        self.feed(payload)
        self.result = self.drain()

    pipes: list[Feed | Drain]
    end: tuple[int, float, int] | None
    _theirs: list[int]

    def feed(self, data: bytes):
        """The child's next descriptor reads these bytes."""
        theirs, ours = os.pipe()
        os.set_blocking(ours, False)
        self._theirs.append(theirs)
        self.pipes.append(Feed(ours, data))

    def drain(self) -> Drain:
        """What the child's next descriptor writes."""
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        self._theirs.append(theirs)
        drain = Drain(ours, self._max_output)
        self.pipes.append(drain)
        return drain

    def give(self, *ends: int):
        """The child's next descriptors are these; they are no longer ours."""
        self._theirs += ends

    def start(self, command: bytes, cpu_s: int, memory_mb: int) -> bool:
        """Order the child; False if its server is gone."""
        sent = self.zygote.send(protocol.COMMAND.pack(command, cpu_s, memory_mb), self._theirs)
        for end in self._theirs:
            os.close(end)
        return sent

    def kill(self) -> bool:
        """Have the child killed; False if its server is gone."""
        return self.zygote.send(KILL, [])

    def read_out(self):
        """Take what is left in the pipes after the child's end, and give them up."""
        for pipe in self.pipes:
            if isinstance(pipe, Drain):
                pipe.advance()
        self.abandon()

    def close(self, pipe: Feed | Drain):
        """Give up one pipe."""
        self.pipes.remove(pipe)
        os.close(pipe.fd)

    def abandon(self):
        """Give up all pipes."""
        for pipe in list(self.pipes):
            self.close(pipe)

    @property
    def signal(self) -> int:
        """The signal that ended the child, 0 for none."""
        status = self.end[0] if self.end else 0
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0

    @property
    def exit_code(self) -> int:
        """The child's exit code, negative for a signal."""
        return os.waitstatus_to_exitcode(self.end[0]) if self.end else 0

    @property
    def cpu_s(self) -> float:
        """CPU seconds of the child."""
        return self.end[1] if self.end else 0.0


KILL = protocol.COMMAND.pack(protocol.KILL, 0, 0)


def signal_name(number: int) -> str:
    """SIGSEGV for 11."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"
