"""Holds one program in a child while a judge in another asks it. Like all code beside a program it is not trusted."""

import builtins
import itertools
import marshal
import os

from . import program, protocol, values


def run(payload: bytes):
    """Define the program, then answer each question until the judge closes its end."""
    source, names = marshal.loads(payload)
    module = program.define("solution", source)
    if module is None:
        return
    if not all(callable(module.__dict__.get(name)) for name in names):
        return program.send(protocol.FAULT, protocol.MISSING.encode())
    objects, numbers = {}, itertools.count()
    values.RESTORERS["h"] = objects.__getitem__
    values.RESTORERS["y"] = builtins.__dict__.__getitem__
    while (question := _next_question()) is not None:
        tag, answer = _answer(module.__dict__, question)
        if tag == protocol.HANDLE:
            number = next(numbers)
            objects[number], answer = answer, b"%d" % number
        program.send_all(protocol.TO_PEER_FD, protocol.FRAME.pack(len(answer), tag) + answer)
    program.send(protocol.END)


def _next_question():
    """[what, target, arguments, keywords], or None at the end."""
    header = _read(protocol.FRAME.size)
    if len(header) < protocol.FRAME.size:
        return None
    return values.from_wire(values.parse_untrusted(_read(protocol.FRAME.unpack(header)[0])))


def _read(size: int) -> bytes:
    data = b""
    while len(data) < size and (chunk := os.read(protocol.FROM_PEER_FD, size - len(data))):
        data += chunk
    return data


def _answer(names: dict, question):
    what, target, arguments, keywords = question
    try:
        value = _act(what, names[target] if type(target) is str else target, arguments, keywords)
        if value is None or type(value) in values.PLAIN:
            return protocol.VALUE, values.encode(value)
        return protocol.HANDLE, value
    except BaseException as error:
        return protocol.RAISED, program.name_of(error)


def _act(what, target, arguments, keywords):
    if what == "call":
        return target(*arguments, **keywords)
    return getattr(target, *arguments) if what == "get" else setattr(target, *arguments)
