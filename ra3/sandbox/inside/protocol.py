"""The bytes between supervisor, server and child.

Control socket, to the server: one ``COMMAND`` (what, CPU seconds, MiB of address space), with the child's ends of the
pipes attached: ``CALL`` (job, result), ``STDIO`` (job, result, stdin, stdout), ``SERVE`` and ``JUDGE`` (job, result,
what it reads from the other, what it writes to it); ``KILL`` without any. Before all that one JSON line, the server's
settings. Back: one JSON line, its level, then one ``ENDED`` per job; a child that did not get as far as the program is
our own failure.
Job pipe: for a script its source; for calls, marshalled, source, entry point and all tests' arguments (our own data
on its way in; nothing that comes out is ever unmarshalled or unpickled).
Result pipe: frames of ``FRAME`` length, tag, body: a value, an exception's name, a fault before any test, the end.
Between judge and program: from the judge one ``VALUE`` per call, [name, arguments, keywords] as encoded values; back a
``VALUE``, a ``HANDLE`` (the number of an object that stays with the program) or a ``RAISED``.
The supervisor trusts the control socket and nothing on the result pipe of a program; the judge trusts no reply.
"""

import struct

COMMAND = struct.Struct("<cII")
CALL, STDIO, SERVE, JUDGE, KILL = b"c", b"s", b"p", b"j", b"k"
ENDED = struct.Struct("<idq?")  # wait status or FORK_FAILED, CPU seconds, greatest resident bytes, program reached
FORK_FAILED = -1
FRAME = struct.Struct("<Ic")
VALUE, RAISED, FAULT, END, HANDLE = b"v", b"e", b"f", b"d", b"h"
SYNTAX, MISSING = "syntax", "missing_entry_point"
GONE, TOO_LONG, NO_CALL = "error:ProgramGone", "error:ReplyTooLong", "error:NoCallMade"  # only a judge says so
RESULT_FD, FROM_PEER_FD, TO_PEER_FD = 3, 4, 5
