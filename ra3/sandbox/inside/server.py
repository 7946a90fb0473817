"""The fork-server: a small single-threaded interpreter that forks one child per job and reports how it ended.

It reads no job's content and holds no test. One job runs at a time; the supervisor starts as many servers as it wants.
"""

import contextlib
import gc
import json
import os
import random
import select
import signal
import socket
import sys

from . import identity, judge, lockdown, program, protocol, serve

HIGHEST_FD = 256
PEER = (protocol.FROM_PEER_FD, protocol.TO_PEER_FD)
WAYS = {
    protocol.CALL: (program.run_call, ()),
    protocol.STDIO: (program.run_stdio, (0, 1)),
    protocol.SERVE: (serve.run, PEER),
    protocol.JUDGE: (judge.run, PEER),
}
"""What a child does for each command, and the numbers that its further pipes get."""


def main(control_fd: int, config: dict):
    """Put up the layers, tell the supervisor which there are, and serve."""
    control = socket.socket(fileno=control_fd)
    try:
        level, walls = lockdown.prepare(config)
    except identity.Refused as reason:
        control.sendall(json.dumps({"refused": str(reason)}).encode() + b"\n")
        return
    server = Server(control, walls)
    random.seed(0)  # each child begins with this state
    gc.collect()
    gc.freeze()
    control.sendall(json.dumps(level).encode() + b"\n")
    os.dup2(1, 2)
    server.serve()


class Server:
    """The loop around ``fork`` and ``wait4``."""

    def __init__(self, control: socket.socket, walls: lockdown.Lockdown):
        self.control, self.walls = control, walls
        self.wake, wake_writer = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wake_writer, False)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.poller = select.poll()
        self.poller.register(control, select.POLLIN)
        self.poller.register(self.wake, select.POLLIN)

    def serve(self):
        """Until the supervisor closes its end. A ``KILL`` that finds no child came too late and is dropped."""
        while True:
            order, fds, _, _ = socket.recv_fds(self.control, protocol.COMMAND.size, 4)
            if not order:
                return
            command, *limits = protocol.COMMAND.unpack(order)
            if command != protocol.KILL:
                self.control.sendall(protocol.ENDED.pack(*self.run(command, limits, fds)))

    def run(self, command: bytes, limits: list[int], fds: list[int]) -> tuple[int, float, int]:
        """Fork a child for the job and wait for its end: wait status, CPU seconds, resident bytes."""
        try:
            child = os.fork()
        except OSError:
            child = None
        if child == 0:
            become_program(command, limits, fds, self.walls)
        for fd in fds:
            os.close(fd)
        return (protocol.FORK_FAILED, 0.0, 0) if child is None else self.wait(child)

    def wait(self, child: int) -> tuple[int, float, int]:
        """Wait for the child; meanwhile obey the supervisor, and end with it."""
        while True:
            for fd, _ in self.poller.poll():
                if fd == self.wake:
                    os.read(self.wake, 512)
                else:
                    self.obey(child)
            if self.walls.calls is None and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                kill(child)
            pid, status, usage = os.wait4(child, os.WNOHANG)
            if pid:
                self.bury_strays()
                scale = 1 if sys.platform == "darwin" else 1024
                return status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * scale

    def obey(self, child: int):
        """The only order during a job is to kill it; a closed socket means the same and the server's own end."""
        order = self.control.recv(protocol.COMMAND.size)
        kill(child)
        if not order:
            os._exit(0)

    def bury_strays(self):
        """Reap processes that a child left behind, where nothing could keep it from starting any."""
        while self.walls.calls is None:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    return
            except ChildProcessError:
                return


def kill(child: int):
    """SIGKILL to the child's session group and, should it not have one yet, to the child."""
    for send in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            send(child, signal.SIGKILL)


def become_program(command: bytes, limits: list[int], fds: list[int], walls: lockdown.Lockdown):
    """In the child: take the job's descriptors, close all others, enter the walls, run, exit. Never returns."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        os.setsid()
        payload = b"".join(iter(lambda: os.read(fds[0], 1 << 20), b""))
        run, targets = WAYS[command]
        for target, fd in zip(targets, fds[2:], strict=True):
            os.dup2(fd, target)
        walls.enter(*limits)
        os.dup2(fds[1], protocol.RESULT_FD)
        os.closerange(max(protocol.RESULT_FD, *targets, 0) + 1, HIGHEST_FD)
        program.send(protocol.START)
        code = run(payload)
    finally:
        os._exit(code or 0)
