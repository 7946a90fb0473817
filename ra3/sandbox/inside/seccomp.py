"""System-call filters for Linux on x86-64 and arm64: a list of refused calls (syscalls.toml), the rest is allowed.

The long list binds the server once, and all its children with it; what a server needs (fork, kill) is refused by a
short second filter that each child puts on: the kernel's cost of a filter grows with its length.

Refused calls fail with EPERM, so a program sees a PermissionError. Calls newer than the table, and ``clone3`` and
``openat2`` whose arguments a filter cannot read, fail with ENOSYS: libraries then fall back to the older call, which
is checked. Threads stay possible (``clone`` with CLONE_THREAD); processes do not. Another architecture's calls kill.
"""

import ctypes
import os
import struct
from collections.abc import Callable
from functools import partial
from tomllib import load

from . import kernel

with open(os.path.join(os.path.dirname(__file__), "syscalls.toml"), "rb") as file:
    _tables = load(file)
_calls = {kind: {call: (*numbers, None)[:2] for call, numbers in calls.items()} for kind, calls in _tables.items()}
REFUSED, REFUSED_TO_CHILDREN = _calls["refused"], _calls["refused_to_children"]
UNREADABLE, CHECKED = _calls["unreadable"], _calls["checked"]
"""By name, the number on x86-64 and on arm64; None where the architecture has no such call."""
LAST_KNOWN = 451
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7), "arm64": (1, 0xC00000B7)}

LOAD, JUMP, RETURN, EQUAL, ABOVE, ANY_BIT = 0x20, 0x05, 0x06, 0x15, 0x25, 0x45
ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
CLONE_THREAD = 0x10000
WRITING = 0o3 | 0o100 | 0o1000 | 0o20000000
SET_PARENT_SIGNAL_OR_DUMPABLE = (1, 4)
SIGNALLING = (*(8, 10, 15), *(5, 6, 7, 36, 37, 38), *(1024, 1026, 1031))
"""Commands of ``fcntl``: owners of signals; record locks; leases, notices, and pipes that use up a user's share."""
SOCKET_OWNER = (0x8901, 0x8902)


def for_server(machine: str, writable: bool) -> bytes:
    """The long filter for a machine; ``writable=False`` also refuses to open any file for writing.

    KeyError for a machine without a table.
    """
    column, audit = ARCHITECTURES[machine]
    program = [_op(LOAD, ARCHITECTURE), _op(EQUAL, audit, 1, 0), _op(RETURN, KILL)]
    program += [_op(LOAD, NUMBER), _op(ABOVE, LAST_KNOWN, 0, 1), _op(RETURN, ENOSYS)]
    program += _when(CHECKED["prlimit64"][column], 0, [_op(EQUAL, 0, 1, 0), _op(RETURN, EPERM)])
    program += _when(CHECKED["fcntl"][column], 1, _refuse_values(SIGNALLING))
    program += _when(CHECKED["ioctl"][column], 1, _refuse_values(SOCKET_OWNER))
    if not writable:
        refuse_writing = [_op(ANY_BIT, WRITING, 0, 1), _op(RETURN, EPERM)]
        program += _when(CHECKED["openat"][column], 2, refuse_writing)
        program += _when(CHECKED["open"][column], 1, refuse_writing)
    program += _refuse_values(_numbers(UNREADABLE, column), ENOSYS)
    program += _refuse_values(_numbers(REFUSED, column))
    return b"".join([*program, _op(RETURN, ALLOW)])


def for_child(machine: str) -> bytes:
    """The short filter that a child adds: no process, no signal to another."""
    column, _ = ARCHITECTURES[machine]
    program = [_op(LOAD, NUMBER)]
    program += _when(CHECKED["clone"][column], 0, [_op(ANY_BIT, CLONE_THREAD, 1, 0), _op(RETURN, EPERM)])
    program += _when(CHECKED["prctl"][column], 0, _refuse_values(SET_PARENT_SIGNAL_OR_DUMPABLE))
    program += _refuse_values(_numbers(REFUSED_TO_CHILDREN, column))
    return b"".join([*program, _op(RETURN, ALLOW)])


def _numbers(table, column) -> list[int]:
    return [row[column] for row in table.values() if row[column] is not None]


def _op(code, value, if_true=0, if_false=0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _when(number, argument, block) -> list[bytes]:
    """Run a block on the low half of one argument if the call has this number; then the number is loaded again."""
    if number is None:
        return []
    low_half = ARGUMENTS + 8 * argument
    body = [_op(LOAD, low_half), *block, _op(LOAD, NUMBER)]
    return [_op(EQUAL, number, 0, len(body)), *body]


def _refuse_values(values, verdict=EPERM) -> list[bytes]:
    """Return the verdict if the loaded word is one of the values."""
    tests = [_op(EQUAL, value, len(values) - place, 0) for place, value in enumerate(values)]
    # a match jumps to the RETURN; without one the step before it is reached, which passes over it
    return [*tests, _op(JUMP, 1), _op(RETURN, verdict)]


def make_filter(code: bytes) -> Callable[[], int]:
    """Return what binds the calling process, and all it starts, to a filter for good; it gives 0 unless the kernel
    declines. Needs NO_NEW_PRIVS."""
    program = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("@HP", len(code) // 8, ctypes.addressof(program))
    header = ctypes.create_string_buffer(header, len(header))
    mode, address = kernel.SECCOMP_MODE_FILTER, ctypes.addressof(header)
    put_on = partial(kernel.raw_prctl, kernel.PR_SET_SECCOMP, mode, address, 0, 0)
    put_on.buffers = program, header  # type: ignore[attr-defined]  # the kernel reads them at every call
    return put_on
