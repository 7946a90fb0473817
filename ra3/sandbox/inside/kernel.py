"""The few Linux calls that Python's standard library does not offer, through ctypes. Every failure is an OSError.

Landlock (Linux 5.13 and later, any user): the program may read the standard library and two devices, and no more.
Rights are masked by the kernel's ABI; from ABI 4 TCP, from ABI 6 signals and abstract sockets are refused as well.
"""

import contextlib
import ctypes
import os
import platform
import re
import struct
import sys

LINUX = sys.platform == "linux"
MACHINE = platform.machine()
RELEASE = tuple(map(int, re.findall(r"\d+", platform.release())[:2]))
"""Version of the kernel, such as (6, 12)."""

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP = 1, 4, 22
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL, SECCOMP_MODE_FILTER = 4, 2
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = (
    0x20000, 0x4000000, 0x8000000, 0x10000000, 0x40000000,
)  # fmt: skip
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
CAPABILITY_VERSION_3 = 0x20080522
LANDLOCK_CREATE, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT = 444, 445, 446
VERSION_FLAG, PATH_BENEATH = 1, 1
WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
DEVICES = {"/dev/null": READ_FILE | WRITE_FILE | TRUNCATE, "/dev/urandom": READ_FILE}

_libc = ctypes.CDLL(None, use_errno=True)
fork = ctypes.PyDLL(None).fork
"""``fork(2)`` and no more; -1 if it fails. ``os.fork`` also makes locks and thread states anew, for which a process of
one thread has no need."""
_libc.syscall.restype = ctypes.c_long
if LINUX:
    raw_prctl = _libc.prctl
    """-1 if the kernel refuses."""
    raw_prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4


def _call(name, *arguments):
    result = getattr(_libc, name)(*arguments)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def _syscall(number, *arguments):
    """A raw system call; integers are passed as 64-bit values, pointers and bytes as they are."""
    wide = (ctypes.c_ulong(argument) if isinstance(argument, int) else argument for argument in arguments)
    return _call("syscall", ctypes.c_long(number), *wide)


def prctl(option: int, value: int, last: int = 0):
    """``prctl(option, value, last)``."""
    return _call("prctl", option, value, last, 0, 0)


def trim():
    """Give free memory of the C library back, so that no child inherits it."""
    with contextlib.suppress(AttributeError):  # glibc only
        _libc.malloc_trim(0)


def unshare(flags):
    """Leave the namespaces named by the flags for fresh ones."""
    return _call("unshare", flags)


def mount(source, target, flags):
    """``mount(2)`` without a file system type: bind mounts and changes of an existing mount."""
    return _call("mount", source and os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(flags), None)


def drop_capabilities():
    """Give up every capability of this process, for good."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    _call("capset", header, (ctypes.c_uint32 * 6)())


def landlock_abi() -> int:
    """Return the kernel's Landlock version. OSError if there is none."""
    return _syscall(LANDLOCK_CREATE, None, 0, VERSION_FLAG)


def landlock_ruleset(abi: int, readable: list[str]) -> int:
    """Make a ruleset and return its descriptor: reading below ``readable`` and of the devices, all else is refused."""
    handled = (1 << RIGHTS_BY_ABI.get(abi, 16)) - 1
    attributes = struct.pack("=QQQ", handled, 0b11, 0b11)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = _syscall(LANDLOCK_CREATE, attributes, len(attributes), 0)
    for path, rights in {**dict.fromkeys(readable, READ_FILE | READ_DIR), **DEVICES}.items():
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # a rule only ever allows more: a path that is not there needs none
        try:
            allowed = rights & handled if os.path.isdir(path) else rights & handled & ~READ_DIR
            rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed, place))
            _syscall(LANDLOCK_ADD_RULE, ruleset, PATH_BENEATH, rule, 0)
        finally:
            os.close(place)
    return ruleset


def landlock_restrict(ruleset: int):
    """Bind the calling process to the ruleset, for good; needs NO_NEW_PRIVS."""
    _syscall(LANDLOCK_RESTRICT, ruleset, 0)
