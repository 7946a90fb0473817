"""Runs one program in a child. All of this shares a process with the program, so nothing it says is trusted."""

import atexit
import builtins
import itertools
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


def serve_judge(payload: bytes):
    """Define the program, then answer each question of a judge in another child until that closes its end."""
    source, names = marshal.loads(payload)
    module = define("solution", source)
    if module is None:
        return
    if not all(callable(module.__dict__.get(name)) for name in names):
        return send(protocol.FAULT, protocol.MISSING.encode())
    objects, numbers = {}, itertools.count()
    values.RESTORERS["h"] = objects.__getitem__
    values.RESTORERS["y"] = builtins.__dict__.__getitem__
    while len(header := _read(protocol.FRAME.size)) == protocol.FRAME.size:
        question = values.from_wire(values.parse_untrusted(_read(protocol.FRAME.unpack(header)[0])))
        tag, answer = _answer(module.__dict__, question)
        if tag == protocol.HANDLE:
            number = next(numbers)
            objects[number], answer = answer, b"%d" % number
        send_all(protocol.TO_PEER_FD, protocol.FRAME.pack(len(answer), tag) + answer)
    send(protocol.END)


def define(name: str, source: str, clean_exit=False):
    """The module made by running the source, or None after a fault has been sent."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    try:
        code = compile(source.removeprefix("\ufeff"), f"<{name}>", "exec", dont_inherit=True)
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


def _read(size: int) -> bytes:
    data = b""
    while len(data) < size and (chunk := os.read(protocol.FROM_PEER_FD, size - len(data))):
        data += chunk
    return data


def _answer(names: dict, question) -> tuple:
    what, target, arguments, keywords = question
    try:
        target = names[target] if type(target) is str else target
        if what == "call":
            value = target(*arguments, **keywords)
        else:
            value = getattr(target, *arguments) if what == "get" else setattr(target, *arguments)
        if (data := values.encode(value)) != values.NO_VALUE:
            return protocol.VALUE, data
        return protocol.HANDLE, value
    except BaseException as error:
        return protocol.RAISED, name_of(error)


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
