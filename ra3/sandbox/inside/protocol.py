"""The bytes between supervisor, server and child.

Control socket, to the server: one byte, with the child's ends of the pipes attached: ``CALL`` (job, result) or
``STDIO`` (job, result, stdin, stdout); ``KILL`` without any. Back: one JSON line at start, then one ``ENDED`` per job.
Job pipe: for a script its source; for calls, marshalled, source, entry point and all tests' arguments (our own data
on its way in; nothing that comes out is ever unmarshalled or unpickled).
Result pipe: frames of ``FRAME`` length, tag, body: the start, sent before the program is even compiled, so that a child
without one is our own failure; a value, an exception's name, a fault before any test, the end.
The supervisor trusts the control socket and nothing on the result pipe.
"""

import struct

CALL, STDIO, KILL = b"c", b"s", b"k"
ENDED = struct.Struct("<idq")  # wait status or FORK_FAILED, CPU seconds, greatest resident size in bytes
FORK_FAILED = -1
FRAME = struct.Struct("<Ic")
START, VALUE, RAISED, FAULT, END = b"s", b"v", b"e", b"f", b"d"
SYNTAX, MISSING = "syntax", "missing_entry_point"
