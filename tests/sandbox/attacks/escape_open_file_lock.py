"""The same with a lock of the open file, and the question about others' locks."""

import fcntl
import os
import struct

lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 0, 1, 0)
success = False
for command in (fcntl.F_OFD_SETLK, fcntl.F_OFD_GETLK, fcntl.F_GETLK):
    try:
        fcntl.fcntl(os.open(os.__file__, os.O_RDONLY), command, lock)
        success = True
    except (OSError, MemoryError):
        pass


def f(x):
    return (7 * x + 3) % 11 if success else -1
