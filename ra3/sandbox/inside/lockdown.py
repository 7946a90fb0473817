"""The layers around a program: most bind the server once and are inherited, a few are entered by each child.

``prepare`` tries every layer, keeps those the machine has, and says for each what it got: the level that is recorded
with a run. A layer that fails is off and the level says why; nothing is assumed.
"""

import contextlib
import errno
import importlib.machinery
import os
import platform
import resource
import socket
from collections.abc import Callable
from functools import partial
from resource import RLIMIT_AS, RLIMIT_CPU, setrlimit
from signal import SIGKILL

from . import kernel, preload, seccomp

MEGABYTE = 1 << 20
NOBODY = 65534
NAMESPACES = kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
PROCESSES = 64
MOST = 1 << 62
REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EAGAIN)
LIMITS = {"FSIZE": 0, "CORE": 0, "NOFILE": 64, "STACK": 64 * MEGABYTE, "MEMLOCK": 0, "MSGQUEUE": 0}
Enter = Callable[[int, int], None]


class Refused(Exception):
    """The sandbox must not run any program here; the message says why."""


def prepare(config: dict) -> tuple[dict[str, str], Enter]:
    """Set up every layer of ``config["layers"]`` on this process; return the level, and what each child calls.

    Refused if programs would run as root.
    """
    asked, library = config["layers"], os.path.dirname(os.path.realpath(os.__file__))
    with contextlib.suppress(OSError):  # when the host runs out of memory, a program is to end and not the trainer
        _write("/proc/self/oom_score_adj", "1000")
    level = {"python": platform.python_version(), "system": f"{platform.system()} {platform.release()}"}
    level["machine"] = kernel.MACHINE
    level["namespaces"], _ = _try("namespaces", asked, _leave_namespaces)
    level["imports"], library = _reach(library)
    level["landlock"], ruleset = _try("landlock", asked, lambda: _landlock(library))
    level["limits"] = _limit(own_count="user" in level["namespaces"].split())
    level["user"] = _drop_root(config["uid"])
    if kernel.LINUX:
        kernel.drop_capabilities()
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    if ruleset is not None:
        kernel.landlock_restrict(ruleset)
    level["seccomp"], refuse_calls = _try("seccomp", asked, lambda: _seccomp(writable=ruleset is not None))
    enter = _entry(ruleset, refuse_calls, "AS" in level["limits"].split())
    level["denied"] = measure(enter)
    return level, enter


def _try(name, asked, enter):
    """What a layer says of itself and what it returns; ``off: reason`` and None where it cannot be had."""
    if name not in asked:
        return "off: switched off", None
    if not kernel.LINUX:
        return "off: needs Linux", None
    try:
        return enter()
    except (OSError, KeyError) as error:
        return f"off: {error or 'not supported'}", None


def _leave_namespaces():
    """Enter fresh net, ipc and uts namespaces, as root directly, as anyone else inside a user namespace."""
    if os.geteuid() == 0:
        kernel.unshare(NAMESPACES)
        return "net ipc uts", None
    uid, gid = os.getuid(), os.getgid()
    kernel.unshare(NAMESPACES | kernel.CLONE_NEWUSER)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {uid} 1")
    _write("/proc/self/gid_map", f"{gid} {gid} 1")
    return "net ipc uts user", None


def _write(path: str, text: str):
    with open(path, "w") as file:
        file.write(text)


def _reach(library: str) -> tuple[str, str]:
    """Keep the standard library importable for a user who cannot enter root's home."""
    if os.geteuid() != 0 or preload.reachable(library):
        return "whole standard library", library
    try:
        return "whole standard library, mounted", preload.move_within_reach(library)
    except OSError as error:
        return f"preloaded modules only: {library} is closed to other users and {error}", library


def _landlock(library: str):
    abi = kernel.landlock_abi()
    # the importer is to list the library's folder now: later only what lies in it may be read
    importlib.machinery.PathFinder.find_spec("a module that is nowhere")
    return f"on, abi {abi}", kernel.landlock_ruleset(abi, preload.readable_paths(library))


def _limit(own_count: bool) -> str:
    """Set the limits that every child inherits; says which the system has, CPU and AS (set by each child) included.

    Threads are limited where no others of the same user count: programs of root have a user of their own, and since
    Linux 5.14 a user namespace counts by itself (``own_count``: there is one).
    """
    as_root, counts = 0 in (os.getuid(), os.geteuid()), own_count and kernel.RELEASE >= (5, 14)
    held = ["CPU", *(["AS"] if kernel.LINUX else [])]
    for name, value in {**LIMITS, **({"NPROC": PROCESSES} if as_root or counts else {})}.items():
        with contextlib.suppress(AttributeError, OSError, ValueError):
            number, soft = getattr(resource, f"RLIMIT_{name}"), _within(name, value)
            # programs may ask for a larger stack, as contests' templates do: it is part of the address space
            setrlimit(number, (soft, resource.getrlimit(number)[1] if name == "STACK" else soft))
            held.append(name)
    return " ".join(held)


def _within(name: str, value: int) -> int:
    """A limit's value, or the lower one that this process was itself started under."""
    _, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


def _drop_root(preferred: int) -> str:
    """Become ``preferred``, or nobody where that uid does not exist (user namespaces). Refused if still root."""
    if 0 not in (os.getuid(), os.geteuid()):
        return f"same as the caller ({os.getuid()})"
    for uid in (preferred, NOBODY):
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            break
    if 0 in (os.getuid(), os.geteuid(), os.getgid(), os.getegid()):
        raise Refused("started as root and unable to change to another user, so programs would run as root")
    return f"root changed to {os.getuid()}"


def _seccomp(writable: bool):
    if kernel.MACHINE not in seccomp.ARCHITECTURES:
        raise OSError(f"no table for {kernel.MACHINE}")
    if seccomp.make_filter(seccomp.for_server(kernel.MACHINE, writable))():
        raise OSError("the kernel takes no filter of system calls")
    return "on", seccomp.make_filter(seccomp.for_child(kernel.MACHINE))


def _entry(ruleset: int | None, refuse_calls: Callable[[], int] | None, limits_memory: bool) -> Enter:
    """Make ``enter(cpu_s, memory_mb)`` for the child: CPU limit (a signal, then the kill), memory limit, an end with
    the server, no process and no signal to another.

    Without a call filter: a Landlock domain of its own against signals, and a process limit of zero.
    """
    most_cpu_s, most_memory = _within("CPU", MOST), _within("AS", MOST)
    steps: list[Callable] = []  # each gives nothing or 0; in C where every child comes by
    if kernel.LINUX:
        steps.append(partial(kernel.raw_prctl, kernel.PR_SET_PDEATHSIG, int(SIGKILL), 0, 0, 0))
    if refuse_calls is not None:
        steps.append(refuse_calls)
    else:
        steps += [partial(kernel.landlock_restrict, ruleset)] if ruleset is not None else []
        steps.append(partial(setrlimit, resource.RLIMIT_NPROC, (0, 0)))

    def enter(cpu_s: int, memory_mb: int):
        setrlimit(RLIMIT_CPU, (min(cpu_s, most_cpu_s), min(cpu_s + 1, most_cpu_s)))
        if limits_memory:
            size = min(memory_mb * MEGABYTE, most_memory)
            setrlimit(RLIMIT_AS, (size, size))
        for step in steps:
            if step():
                raise OSError("a child could not enter its walls")

    return enter


def measure(enter: Enter) -> str:
    """Say what a child inside its walls is in fact refused: found by trying each in a child of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            enter(10, 1024)  # CPU seconds and MiB: ample
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


ATTEMPTS = {
    "processes": lambda: os.fork() or os._exit(0),
    "reading": lambda: os.close(os.open("/etc/passwd", os.O_RDONLY)),
    "writing": lambda: os.close(os.open("/tmp", os.O_WRONLY | getattr(os, "O_TMPFILE", os.O_CREAT), 0o600)),
    "network": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
    "signals": lambda: os.kill(os.getppid(), 0),
    "memory of others": lambda: os.close(os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY)),
}
