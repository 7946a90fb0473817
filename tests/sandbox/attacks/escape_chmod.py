"""Change a mode, an owner or a time."""

import os


def escaped():
    os.utime("/tmp")
    return True


try:
    success = escaped()
except (OSError, MemoryError):
    success = False


def f(x):
    return (7 * x + 3) % 11 if success else -1
