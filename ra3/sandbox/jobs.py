"""A job for the sandbox and what came of it."""

import marshal
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ra3.sandbox.inside import protocol, values

MAX_SOURCE = 256 * 1024
DEFAULT_OUTPUT = 1 << 20
MARSHAL_VERSION = 2  # the last one whose bytes depend on nothing but the values
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True)
class Job:
    """One program to run; equal jobs have equal outcomes, so a caller may run one of them.

    Example: ``Job.call("def f(x):\\n    return x + 1\\n", "f", [(1,), (2,)])`` gives the results 2 and 3.
    """

    kind: str
    """``call``: define ``entry_point`` and call it once per test; ``stdio``: run as a script; ``judge``: let test code
    in another child call the program."""
    source: str
    entry_point: str | None
    """``judge``: the names that the test takes from the program, with spaces between them."""
    data: bytes
    """``call``: the list of argument lists, by ``encode_inputs``; ``stdio``: the bytes of stdin; ``judge``: the test's
    source."""
    tests: int
    """``call``: the number of argument lists; else 0."""
    max_output: int = DEFAULT_OUTPUT
    """Bytes the program may write (results, stdout, one answer to its judge) before it is killed."""
    cpu_s: float | None = None
    """CPU seconds, instead of the sandbox's."""
    memory_mb: int | None = None
    """Address space in MiB, instead of the sandbox's."""
    wall_s: float | None = None
    """Seconds by the clock, instead of the sandbox's."""
    trusted: bool = False
    """The source is a benchmark's own, such as a checker: it runs where judges run, and draws as they do."""

    @staticmethod
    def call(source: str, entry_point: str, inputs: Iterable[Iterable], max_output=DEFAULT_OUTPUT) -> "Job":
        """``inputs`` holds one list of arguments per test. TypeError for an argument that is not plain data."""
        inputs = list(inputs)
        return Job("call", source, entry_point, encode_inputs(inputs), len(inputs), max_output)

    @staticmethod
    def stdio(source: str, stdin: str, max_output=DEFAULT_OUTPUT) -> "Job":
        """One run of a script on one stdin."""
        return Job("stdio", source, None, stdin.encode(), 0, max_output)

    @staticmethod
    def judge(source: str, names: Iterable[str], test: str, max_output=DEFAULT_OUTPUT) -> "Job":
        """A test's own code, which finds these names of the program; its result is True or an exception's name."""
        return Job("judge", source, " ".join(names), test.encode(), 0, max_output)

    def payload(self) -> bytes:
        """What the child reads from its job pipe."""
        if self.kind == "stdio":
            return self.source.encode("utf-8", "surrogatepass")
        if self.kind == "judge":
            return marshal.dumps((self.source, self._names()), MARSHAL_VERSION)
        return marshal.dumps((self.source, self.entry_point, self.data), MARSHAL_VERSION)

    def judge_payload(self) -> bytes:
        """What the judge of a ``judge`` job reads from its job pipe."""
        return marshal.dumps((self.data.decode(), self._names(), self.max_output), MARSHAL_VERSION)

    def _names(self) -> list[str]:
        return (self.entry_point or "").split()


def encode_inputs(inputs: Iterable[Iterable]) -> bytes:
    """The argument lists of all tests as bytes, equal for equal arguments. TypeError if one is not plain data."""
    arguments = [list(arguments) for arguments in inputs]
    encode_strictly(arguments)
    return marshal.dumps(arguments, MARSHAL_VERSION)


def encode_strictly(value) -> bytes:
    """The bytes of one of our own values. TypeError if anything in it has no plain form."""
    data = values.encode(value)
    if values.NO_VALUE in data:
        raise TypeError("a value that is not None, bool, int, float, complex, str, bytes, list, tuple, dict or set")
    return data


@dataclass(frozen=True)
class Result:
    """What one test gave: a value in its encoded form, or the name of the exception it raised."""

    data: bytes = b""
    error: str | None = None

    @property
    def value(self):
        """The value, for looking at; grading compares encoded forms. ValueError, TypeError, KeyError if malformed."""
        return values.from_wire(values.parse_untrusted(self.data))


@dataclass(frozen=True)
class Outcome:
    """What a job did, as seen from outside."""

    fault: str | None
    """None if the program ran to its end; else timeout, memory, output_cap, syntax, missing_entry_point, infra or
    error:NAME; a test that never called the program is error:NoCallMade."""
    results: tuple[Result, ...] = ()
    """``call``: one per test, in order; fewer after a fault."""
    stdout: bytes = b""
    """``stdio``: what the program wrote."""
    cpu_s: float = 0.0
    peak_mb: float = 0.0


def read_frames(data: bytes, tests: int) -> tuple[tuple[Result, ...], str | None]:
    """The results and the fault that a child's frames claim.

    ``error:ProtocolError`` if they are not well formed or more than the tests, ``error:ExitedEarly`` without an end.
    """
    results, place = [], 0
    while len(data) - place >= protocol.FRAME.size:
        length, tag = protocol.FRAME.unpack_from(data, place)
        place += protocol.FRAME.size
        body = data[place : place + length]
        place += length
        if place > len(data):
            break
        if tag == protocol.END:
            return tuple(results), None
        if tag == protocol.FAULT:
            return tuple(results), _fault(body)
        if tag not in (protocol.VALUE, protocol.RAISED) or len(results) == tests:
            return tuple(results), "error:ProtocolError"
        results.append(Result(data=body) if tag == protocol.VALUE else Result(error=exception_name(body)))
    return tuple(results), "error:ProtocolError" if place != len(data) else "error:ExitedEarly"


def _fault(body: bytes) -> str:
    text = body.decode("ascii", "replace")
    if text in (protocol.SYNTAX, protocol.MISSING):
        return text
    return "memory" if text == "error:MemoryError" else f"error:{exception_name(body.removeprefix(b'error:'))}"


def exception_name(body: bytes) -> str:
    """A program's own word for its exception, if it is a plausible name."""
    text = body.decode("ascii", "replace")
    return text if NAME.fullmatch(text) else "Exception"
