"""One child of a fork-server, seen by the supervisor: its pipes, what came through them, and how it ended."""

import os

from ra3.sandbox.forkserver import ForkServer
from ra3.sandbox.inside import protocol

CHUNK = 1 << 16
KILL = protocol.COMMAND.pack(protocol.KILL, 0, 0)


class PipeWriter:
    """Our end of a pipe that the child reads: bytes go out as it takes them."""

    def __init__(self, fd: int, data: bytes):
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
    """A child being set up, then running, then ended (``end``: wait status, CPU seconds, bytes resident)."""

    end: tuple[int, float, int] | None = None

    def __init__(self, server: ForkServer, payload: bytes, max_output: int):
        self.server, self._max_output = server, max_output
        self.pipes: list[PipeWriter | PipeReader] = []
        self._theirs: list[int] = []
        self.add_input(payload)
        self.result = self.add_output()

    def add_input(self, data: bytes):
        """Let the child's next descriptor read these bytes."""
        theirs, ours = os.pipe()
        os.set_blocking(ours, False)
        self._theirs.append(theirs)
        self.pipes.append(PipeWriter(ours, data))

    def add_output(self) -> PipeReader:
        """Return what reads the child's next descriptor."""
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        self._theirs.append(theirs)
        reader = PipeReader(ours, self._max_output)
        self.pipes.append(reader)
        return reader

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

    def finish(self, end: tuple[int, float, int]):
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
        """Whether the child got as far as the program."""
        return self.result.data.startswith(protocol.FRAME.pack(0, protocol.START))
