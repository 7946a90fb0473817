"""Runs one program in a child. All of this shares a process with the program, so nothing it says is trusted."""

import atexit
import marshal
import os
import sys
import threading
import types

from . import protocol, values

LATER, ENOUGH = (protocol.VALUE, protocol.RAISED), 1 << 14
unsent = bytearray()


def run_call(payload: bytes):
    """Define the entry point, then call it once per test; one frame per test, whatever a test does."""
    source, entry, inputs = marshal.loads(payload)
    module = define("solution", source)
    if module is None:
        return
    function = module.__dict__.get(entry)
    if not callable(function):
        return send(protocol.FAULT, protocol.MISSING.encode())
    for arguments in marshal.loads(inputs):
        _call(function, arguments)
    send(protocol.END)


def run_stdio(payload: bytes) -> int:
    """Run the source as a script with its true stdin and stdout, up to its last thread and exit handler; exit code."""
    code = 0 if define("__main__", payload.decode("utf-8", "surrogatepass"), clean_exit=True) else 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.__stdout__):
        if stream is not None:
            stream.flush()
    send(protocol.END)
    return code


def define(name: str, source: str, clean_exit=False):
    """The module made by running the source, or None after a fault has been sent."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    try:
        code = compile(source, f"<{name}>", "exec", dont_inherit=True)
    except MemoryError:
        return send(protocol.FAULT, b"error:MemoryError")
    except BaseException:
        return send(protocol.FAULT, protocol.SYNTAX.encode())
    try:
        exec(code, module.__dict__)
    except BaseException as error:
        if clean_exit and isinstance(error, SystemExit) and error.code in (None, 0):
            return module
        return send(protocol.FAULT, b"error:" + name_of(error))
    return module


def _call(function, arguments):
    try:
        value = function(*arguments)
    except BaseException as error:
        return send(protocol.RAISED, name_of(error))
    try:
        data = values.encode(value)
    except MemoryError:
        return send(protocol.RAISED, b"MemoryError")
    return send(protocol.VALUE, data)


def name_of(error: BaseException) -> bytes:
    """The name of an exception's class."""
    return type(error).__name__.encode("utf-8", "replace")


def send(tag: bytes, body: bytes = b""):
    """One frame to the supervisor; those between the start and the end travel together, as each write wakes it."""
    unsent.extend(protocol.FRAME.pack(len(body), tag) + body)
    if tag not in LATER or len(unsent) > ENOUGH:
        send_all(protocol.RESULT_FD, unsent)
        unsent.clear()


def send_all(fd: int, data: bytes | bytearray):
    """Write all of it."""
    with memoryview(data) as left:
        place = 0
        while place < len(left):
            place += os.write(fd, left[place:])
