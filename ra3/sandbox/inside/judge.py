"""Runs a benchmark's own test code in a child of its own; the program it tests lives in another and is asked by pipe.

The names that the test takes from the program are proxies here. A call sends plain values and gets plain values back,
of exact builtin types, so that comparing them runs nobody's code. What has no plain form stays with the program and is
a ``Remote`` here: it can be called, passed back, read and given attributes, but not compared, hashed, tested for
truth, counted or iterated. Arguments go by value: what the program does to them is not seen here.

The test's verdict is the one frame this child sends. A program that is gone, or whose reply is malformed, ends the test
at once, and nothing in the test can catch that.
"""

import builtins
import marshal
import os

from . import program, protocol, values

MUTE = (StopIteration, StopAsyncIteration)
"""Exceptions that would end a loop in the test quietly; they arrive as ProgramError."""
TYPES = {kind: kind.__name__ for kind in (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)}


class ProgramError(Exception):
    """The program raised something that is no builtin exception, or gave a value that has no plain form."""


class Remote:
    """An object of the program that has no plain form; its owner does with it what it is asked."""

    __slots__ = ("_ask", "_number")

    def __init__(self, ask, number):
        object.__setattr__(self, "_ask", ask)
        object.__setattr__(self, "_number", number)

    def __call__(self, *arguments, **keywords):
        return self._ask("call", self, arguments, keywords)

    def __getattr__(self, name):
        return self._ask("get", self, (name,), {})

    def __setattr__(self, name, value):
        self._ask("set", self, (name, value), {})

    def _refuse(self, *_):
        raise TypeError("the program gave an object that is not plain data, so it cannot be compared")

    __eq__ = __ne__ = __hash__ = __bool__ = __repr__ = __str__ = __format__ = _refuse  # type: ignore[assignment]


def run(payload: bytes):
    """Run the test; then one frame: a value if nothing was raised and the program was called, else what went wrong."""
    source, names, max_reply = marshal.loads(payload)
    _teach_values()
    channel = Channel(max_reply)
    module = {"__name__": "test", **{name: _proxy(channel, name) for name in names}}
    try:
        exec(compile(source, "<test>", "exec", dont_inherit=True), module)
    except BaseException as error:
        program.send(protocol.RAISED, program.name_of(error))
        return program.send(protocol.END)
    if not channel.calls:
        return program.send(protocol.FAULT, protocol.NO_CALL.encode())
    program.send(protocol.VALUE, values.encode(True))
    program.send(protocol.END)


def _teach_values():
    """Here a question may also hold objects of the program and builtin types, and an answer nothing without a form."""
    values.CONVERTERS[Remote] = lambda value, depth: {"t": "h", "v": object.__getattribute__(value, "_number")}
    values.CONVERTERS[type] = lambda value, depth: {"t": "y", "v": TYPES[value]} if value in TYPES else values.OPAQUE
    values.RESTORERS["obj"] = _refuse_object


def _refuse_object(_):
    raise ProgramError("an object that is not plain data, inside of a value")


def _proxy(channel: "Channel", name: str):
    def call(*arguments, **keywords):
        return channel.ask("call", name, arguments, keywords)

    call.__name__ = call.__qualname__ = name
    return call


class Channel:
    """Questions to the program and its answers, one at a time."""

    def __init__(self, max_reply: int):
        self.calls, self._max_reply = 0, max_reply

    def ask(self, what: str, target, arguments: tuple, keywords: dict):
        """The program's answer as a plain value or a ``Remote``; raises what the program raised."""
        question = values.encode([what, target, arguments, keywords])
        if values.NO_VALUE in question:
            raise TypeError("a test may only pass plain data, builtin types and the program's own objects")
        self.calls += what == "call"
        try:
            program.send_all(protocol.TO_PEER_FD, protocol.FRAME.pack(len(question), protocol.VALUE) + question)
        except OSError:
            leave()
        length, tag = protocol.FRAME.unpack(self._read(protocol.FRAME.size))
        if length > self._max_reply:
            leave(protocol.TOO_LONG)
        return self._answer(tag, self._read(length))

    def _answer(self, tag: bytes, body: bytes):
        if tag == protocol.RAISED:
            raise _exception(body.decode("ascii", "replace"))
        try:
            tree = values.parse_untrusted(body)
            if tag == protocol.HANDLE and type(tree) is int:
                return Remote(self.ask, tree)
            return values.from_wire(tree) if tag == protocol.VALUE else leave()
        except ProgramError:
            raise
        except Exception:
            leave()

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            chunk = os.read(protocol.FROM_PEER_FD, min(size - len(data), 1 << 16))
            if not chunk:
                leave()
            data += chunk
        return bytes(data)


def leave(fault: str = protocol.GONE):
    """The program is gone or speaks nonsense: the test ends here, whatever it would catch."""
    program.send(protocol.FAULT, fault.encode())
    os._exit(0)


def _exception(name: str) -> Exception:
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, MUTE):
        try:
            return kind("raised by the program")
        except TypeError:  # a UnicodeDecodeError wants five arguments
            return ProgramError(name)
    return ProgramError(name)
