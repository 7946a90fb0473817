"""One fork-server, seen by the supervisor: start it, send it jobs, hear how they ended, end it."""

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from glob import iglob
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from ra3.errors import UserError
from ra3.sandbox.inside import protocol

START_S = 120.0
STOPPED, GONE = set("Tt"), set("ZX")
MOST_THREADS = 256
"""Threads of a child that are looked at."""
FOLDER = str(Path(__file__).parent)
BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from inside.preload import start; start()"
# -s -P -S with an environment of our own is -I, except that it leaves PYTHONHASHSEED in force: -I would ignore it, and
# with a random seed a program that prints a set has another verdict after every restart
FLAGS = ("-s", "-P", "-S", "-B", "-W", "ignore", "-X", "utf8")
ENVIRONMENT = {"PYTHONHASHSEED": "0", "TZ": "UTC", "LD_BIND_NOW": "1"}  # symbols are bound once, not by every child
INHERITED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class SandboxError(RuntimeError):
    """The sandbox's own machinery failed, through no fault of a program."""


class ThreadTimes(NamedTuple):
    """What the kernel has counted of a thread so far."""

    computed_s: float = 0.0
    waited_s: float = 0.0
    """For a core, while it could run; up to when it was last given one."""
    turns: int = 0
    """How often it was given a core."""
    runnable: bool = False
    """Whether it has a core now, or waits for one."""


class ForkServer:
    """One running fork-server. It holds one job at a time; whoever uses it keeps the order."""

    def __init__(self, config: dict):
        self.control, theirs = socket.socketpair()
        self.control.sendall(json.dumps(config).encode())
        empty_folder = tempfile.mkdtemp(prefix="ra3-")
        environment = {**ENVIRONMENT, **{name: os.environ[name] for name in INHERITED if name in os.environ}}
        try:
            self._process = subprocess.Popen(
                [interpreter(), *FLAGS, "-c", BOOT, FOLDER, str(theirs.fileno())],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(),), cwd=empty_folder, env=environment, start_new_session=True,
            )  # fmt: skip
        finally:
            theirs.close()
            os.rmdir(empty_folder)  # the server stays in a folder that is empty for good and leaves nothing behind
        self.pid, self.level = self._process.pid, dict[str, str]()
        self.jobs_sent, self._partial = 0, b""
        self.program_uid: int | None = None
        """The user that programs run as, if it is not ours."""

    def await_ready(self):
        """Wait for the server's level. UserError if it refuses to run here, SandboxError if it does not start."""
        line, deadline = b"", time.monotonic() + START_S
        while not line.endswith(b"\n"):
            if not select.select([self.control], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise self._failed(f"did not start within {START_S:g} s")
            received = b""
            with suppress(ConnectionResetError):  # it ended before it read its settings
                received = self.control.recv(65536)
            if not received:
                raise self._failed("ended while starting")
            line += received
        self.level = json.loads(line)
        if "refused" in self.level:
            self.close()
            raise UserError(self.level["refused"], where="sandbox", fix="run ra3 as an ordinary user")
        user, _, uid = self.level["user"].rpartition(" changed to ")
        self.program_uid = int(uid) if user else None
        self.control.setblocking(False)
        self._process.stderr.close()  # type: ignore[union-attr]

    def _failed(self, what: str) -> SandboxError:
        self._process.kill()
        words = self._process.stderr.read().decode(errors="replace").strip()  # type: ignore[union-attr]
        self.close()
        return SandboxError(f"the sandbox's server ({interpreter()}) {what}: {words[-2000:] or 'it said nothing'}")

    def send(self, command: bytes, fds: list[int]) -> bool:
        """Order a child, with its ends of the pipes, or its kill; False if the server is gone."""
        try:
            socket.send_fds(self.control, [command], fds)
        except OSError:
            return False
        self.jobs_sent += bool(fds)
        return True

    def receive(self) -> tuple[int, float, int, bool] | None:
        """The end of the job if it has arrived whole, else None. SandboxError if the server is gone."""
        try:
            data = self.control.recv(protocol.ENDED.size - len(self._partial))
        except BlockingIOError:
            return None
        except OSError as error:
            raise SandboxError(f"the sandbox's server broke off: {error}") from error
        if not data:
            raise SandboxError("the sandbox's server ended")
        self._partial += data
        if len(self._partial) < protocol.ENDED.size:
            return None
        whole, self._partial = self._partial, b""
        return protocol.ENDED.unpack(whole)

    def child_threads(self) -> dict[str, ThreadTimes] | None:
        """Return the living threads of the child, none if it has just ended; None where the server is stopped, or the
        system does not show it (no /proc)."""
        server = Path(f"/proc/{self.pid}/task/{self.pid}")
        try:
            children = (server / "children").read_text().split()
        except OSError:
            return None
        if _stat(server)[0] in STOPPED:
            return None
        threads = islice(chain.from_iterable(iglob(f"/proc/{child}/task/*") for child in children), MOST_THREADS)
        return {thread: times for thread in threads if (times := _thread_times(thread))}

    @property
    def closed(self) -> bool:
        """Whether the server has been ended."""
        return self.control.fileno() < 0

    def close(self):
        """Kill the server, which ends its child with it, and collect it."""
        self.control.close()
        self._process.kill()
        self._process.wait()
        if self._process.stderr:
            self._process.stderr.close()


def _stat(task: str | Path) -> list[str]:
    """The fields behind the name, first the letter for the state: R has or wants a core, X is gone."""
    try:
        return Path(task, "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["X"]


def _thread_times(thread: str) -> ThreadTimes | None:
    """None for a thread that is gone. A kernel that does not count waits and turns shows none of them."""
    state, *fields = _stat(thread)
    if state in GONE:
        return None
    try:
        computed, waited, turns = map(int, Path(thread, "schedstat").read_text().split())
    except (OSError, ValueError):
        ticks = sum(map(int, fields[10:12]))  # user's and system's
        return ThreadTimes(ticks / os.sysconf("SC_CLK_TCK"), 0.0, 0, state == "R")
    return ThreadTimes(computed / 1e9, waited / 1e9, turns, state == "R")


def interpreter() -> str:
    """The real interpreter behind a virtual environment's: its packages are not for programs."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
