"""The layers around a program: most bind the server once and are inherited, a few are entered by each child.

``prepare`` tries every layer, keeps those the machine has, and says for each what it got: the level that is recorded
with a run. A layer that fails is off and the level says why; nothing is assumed.
"""

import errno
import os
import platform
import resource
import socket
from collections.abc import Callable, Iterator
from functools import partial
from resource import RLIMIT_AS, RLIMIT_CPU, setrlimit
from signal import SIGKILL

from . import identity, kernel, landlock, preload, seccomp

MEGABYTE = 1 << 20
STACK_BYTES = 64 * MEGABYTE
OPEN_FILES = 64
PROCESSES = 64
MOST = 1 << 62
MEASURE_CPU_S, MEASURE_MB = 10, 1024
REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EAGAIN)
LIMITS = {"FSIZE": 0, "CORE": 0, "NOFILE": OPEN_FILES, "STACK": STACK_BYTES, "MEMLOCK": 0, "MSGQUEUE": 0}


class Lockdown:
    """What binds a child beyond what it inherits from the server."""

    def __init__(self, ruleset: int | None, calls: seccomp.Filter | None, memory: bool):
        """``memory``: whether this system limits address space."""
        self.calls, self.memory = calls, memory
        self.ruleset = ruleset if calls is None else None

    def entry(self) -> Callable[[int, int], None]:
        """``enter(cpu_s, memory_mb)`` for the child: CPU limit (a signal, then the kill), memory limit, an end with
        the server, no process and no signal to another.

        Without a call filter: a Landlock domain of its own against signals, and a process limit of zero.
        """
        most_cpu_s, most_memory, memory = _within("CPU", MOST), _within("AS", MOST), self.memory
        steps = tuple(self._steps())

        def enter(cpu_s: int, memory_mb: int):
            setrlimit(RLIMIT_CPU, (min(cpu_s, most_cpu_s), min(cpu_s + 1, most_cpu_s)))
            if memory:
                size = min(memory_mb * MEGABYTE, most_memory)
                setrlimit(RLIMIT_AS, (size, size))
            for step in steps:
                if step():
                    raise OSError("a child could not enter its walls")

        return enter

    def _steps(self) -> Iterator[Callable]:
        """What else a child does, each a call that gives nothing or 0; in C where every child comes by."""
        if kernel.LINUX:
            yield partial(kernel.raw_prctl, kernel.PR_SET_PDEATHSIG, int(SIGKILL), 0, 0, 0)
        if self.calls is not None:
            yield self.calls.put_on
            return
        if self.ruleset is not None:
            yield partial(landlock.restrict, self.ruleset)
        yield partial(setrlimit, resource.RLIMIT_NPROC, (0, 0))


def prepare(config: dict) -> tuple[dict[str, str], Lockdown]:
    """Set up every layer of ``config["layers"]`` on this process. Refused if programs would run as root."""
    asked, library = config["layers"], preload.standard_library()
    identity.offer_to_oom_killer()
    level = {"python": platform.python_version(), "system": f"{platform.system()} {platform.release()}"}
    level["machine"] = kernel.MACHINE
    level["namespaces"], _ = _try("namespaces", asked, identity.leave_namespaces)
    level["imports"], library = _reach(library)
    level["landlock"], ruleset = _try("landlock", asked, lambda: _landlock(library))
    level["limits"] = _limit()
    level["user"] = identity.drop_root(config["uid"])
    identity.hide()
    if ruleset is not None:
        landlock.restrict(ruleset)
    level["seccomp"], calls = _try("seccomp", asked, lambda: _seccomp(writable=ruleset is not None))
    lockdown = Lockdown(ruleset, calls, "AS" in level["limits"].split())
    level["denied"] = measure(lockdown)
    return level, lockdown


def _try(name, asked, enter):
    """What a layer says of itself and what it returns; ``off: reason`` and None where it cannot be had."""
    if name not in asked:
        return "off: switched off", None
    if not kernel.LINUX:
        return "off: needs Linux", None
    try:
        result = enter()
    except (OSError, KeyError) as error:
        return f"off: {error or 'not supported'}", None
    return result if isinstance(result, tuple) else (result, None)


def _landlock(library):
    version = landlock.abi()
    preload.remember_listing()
    return f"on, abi {version}", landlock.create(version, preload.readable_paths(library))


def _seccomp(writable):
    if kernel.MACHINE not in seccomp.ARCHITECTURES:
        raise OSError(f"no table for {kernel.MACHINE}")
    seccomp.Filter(seccomp.for_server(kernel.MACHINE, writable)).install()
    return "on", seccomp.Filter(seccomp.for_child(kernel.MACHINE))


def _reach(library):
    """Keep the standard library importable for a user who cannot enter root's home."""
    if os.geteuid() != 0 or preload.reachable(library):
        return "whole standard library", library
    try:
        return "whole standard library, mounted", preload.move_within_reach(library)
    except OSError as error:
        return f"preloaded modules only: {library} is closed to other users and {error}", library


def _limit() -> str:
    """Set the limits that every child inherits; says which the system has, CPU and AS (set by each child) included."""
    wanted = dict(LIMITS)
    if 0 in (os.getuid(), os.geteuid()):
        wanted["NPROC"] = PROCESSES
    held = ["CPU", *(["AS"] if kernel.LINUX else [])]
    for name, value in wanted.items():
        try:
            setrlimit(getattr(resource, f"RLIMIT_{name}"), (_within(name, value), _within(name, value)))
        except (AttributeError, OSError, ValueError):
            continue
        held.append(name)
    return " ".join(held)


def _within(name: str, value: int) -> int:
    """A limit's value, or the lower one that this process was itself started under."""
    _, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


def measure(lockdown: Lockdown) -> str:
    """What a child under the lockdown is in fact refused: found by trying each in a child of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            lockdown.entry()(MEASURE_CPU_S, MEASURE_MB)
            refused = [name for name, attempt in ATTEMPTS.items() if _is_refused(attempt)]
            os.write(writer, ", ".join(refused).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answer:
        text = answer.read().decode()
    os.waitpid(child, 0)
    return text or "nothing"


def _is_refused(attempt) -> bool:
    try:
        attempt()
    except OSError as error:
        return error.errno in REFUSALS
    return False


def _start_process():
    if os.fork() == 0:
        os._exit(0)


def _write_file():
    os.close(os.open("/tmp", os.O_WRONLY | getattr(os, "O_TMPFILE", os.O_CREAT), 0o600))


def _open_socket():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()


ATTEMPTS = {
    "processes": _start_process,
    "reading": lambda: os.close(os.open("/etc/passwd", os.O_RDONLY)),
    "writing": _write_file,
    "network": _open_socket,
    "signals": lambda: os.kill(os.getppid(), 0),
    "memory of others": lambda: os.close(os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY)),
}
