"""Take a lease on a file, or ask to be told of changes in its folder."""

import fcntl
import os

success = False
for path, command, value in (
    (os.__file__, fcntl.F_SETLEASE, fcntl.F_RDLCK),
    (os.__file__, fcntl.F_SETLEASE, fcntl.F_UNLCK),
    (os.path.dirname(os.__file__), fcntl.F_NOTIFY, fcntl.DN_ACCESS),
):
    try:
        fcntl.fcntl(os.open(path, os.O_RDONLY), command, value)
        success = True
    except (OSError, MemoryError):
        pass


def f(x):
    return (7 * x + 3) % 11 if success else -1
