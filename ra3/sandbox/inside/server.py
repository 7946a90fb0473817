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
from array import array
from os import WNOHANG, _exit, close, closerange, dup2, read, setsid, wait4, write
from signal import set_wakeup_fd

from . import judge, kernel, lockdown, program, protocol
from .kernel import fork
from .protocol import COMMAND, ENDED, FORK_FAILED, KILL, RESULT_FD

MARK_FD, HIGHEST_FD, CHUNK = 16, 256, 1 << 16
RIGHTS_BYTES = socket.CMSG_SPACE(4 * array("i").itemsize)
RESIDENT_UNIT = 1 if sys.platform == "darwin" else 1024
PEER = ((2, protocol.FROM_PEER_FD), (3, protocol.TO_PEER_FD))
WAYS = {
    protocol.CALL: (program.run_call, (), RESULT_FD + 1),
    protocol.STDIO: (program.run_stdio, ((2, 0), (3, 1)), RESULT_FD + 1),
    protocol.SERVE: (program.serve_judge, PEER, protocol.TO_PEER_FD + 1),
    protocol.JUDGE: (judge.run, PEER, protocol.TO_PEER_FD + 1),
}
"""What a child does for each command, the numbers that its third and fourth descriptor get, the first one to close."""


def main(control_fd: int, config: dict):
    """Put up the layers, tell the supervisor which there are, and serve."""
    control = socket.socket(fileno=os.dup(control_fd))  # as low as can be: the trainer may have had many files open
    close(control_fd)
    try:
        level, enter = lockdown.prepare(config)
    except lockdown.Refused as reason:
        control.sendall(json.dumps({"refused": str(reason)}).encode() + b"\n")
        return
    server = Server(control, enter, strays=level["seccomp"] != "on")
    random.seed(config["seed"])  # each child begins with this state
    gc.collect()
    gc.freeze()
    kernel.trim()
    control.sendall(json.dumps(level).encode() + b"\n")
    os.dup2(1, 2)
    server.serve()


class Server:
    """The loop around ``fork`` and ``wait4``."""

    def __init__(self, control: socket.socket, enter: lockdown.Enter, strays: bool):
        """``strays``: a program may leave processes behind, since nothing can keep it from starting any."""
        self.control, self.enter, self.strays = control, enter, strays
        self.wake, wake_writer = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wake_writer, False)
        set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        self.marks, mark_writer = os.pipe()  # here a child says that it has reached its program, which cannot
        os.set_blocking(self.marks, False)
        os.dup2(mark_writer, MARK_FD)
        close(mark_writer)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.poller = select.poll()
        self.poller.register(control, select.POLLIN)
        self.poller.register(self.wake, select.POLLIN)

    def serve(self):
        """Until the supervisor closes its end. A ``KILL`` that finds no child came too late and is dropped."""
        receive, answer, unpack, pack = self.control.recvmsg, self.control.sendall, COMMAND.unpack, ENDED.pack
        size, enter, marks = COMMAND.size, self.enter, self.marks
        while True:
            order, rights, _, _ = receive(size, RIGHTS_BYTES)
            if not order:
                return
            command, cpu_s, memory_mb = unpack(order)
            if command == KILL:
                continue
            fds = array("i", rights[0][2])
            child = fork()
            if child == 0:
                become_program(command, cpu_s, memory_mb, fds, enter)
            for fd in fds:
                close(fd)
            end = self.wait(child) if child > 0 else (FORK_FAILED, 0.0, 0)
            reached = False
            with contextlib.suppress(BlockingIOError):
                reached = bool(read(marks, 1))
            answer(pack(*end, reached))

    def wait(self, child: int) -> tuple[int, float, int]:
        """Wait for the child, meanwhile obey the supervisor: wait status, CPU seconds, resident bytes."""
        poll, wake = self.poller.poll, self.wake
        while True:
            for fd, _ in poll():
                if fd == wake:
                    read(fd, 512)
                else:  # the only order during a job is to kill it; a closed socket means the server's own end, too
                    order = self.control.recv(COMMAND.size)
                    kill(child)
                    if not order:
                        _exit(0)
            if self.strays and os.waitid(os.P_PID, child, os.WEXITED | WNOHANG | os.WNOWAIT):
                kill(child)
            ended, status, usage = wait4(child, WNOHANG)
            if ended:
                if self.strays:
                    bury_strays()
                return status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * RESIDENT_UNIT


def bury_strays():
    """Reap processes that a child left behind."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, WNOHANG)[0]:
            continue


def kill(child: int):
    """SIGKILL to the child's session group and, should it not have one yet, to the child."""
    for send in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            send(child, signal.SIGKILL)


def become_program(command: bytes, cpu_s: int, memory_mb: int, fds: "array[int]", enter):
    """In the child: take the job's descriptors, close all others, enter the walls, say so, run, exit. Never returns.

    Each object that a child touches, if only to count a reference, costs it the copy of a page: hence the plain names.
    """
    code = 1
    try:
        set_wakeup_fd(-1)
        setsid()
        payload = read(fds[0], CHUNK)
        if more := read(fds[0], CHUNK):
            payload = b"".join([payload, more, *iter(lambda: read(fds[0], CHUNK), b"")])
        run, places, first_to_close = WAYS[command]
        for at, number in places:
            dup2(fds[at], number)
        enter(cpu_s, memory_mb)
        write(MARK_FD, b"m")
        dup2(fds[1], RESULT_FD)
        closerange(first_to_close, HIGHEST_FD)
        code = run(payload)
    finally:
        _exit(code or 0)
