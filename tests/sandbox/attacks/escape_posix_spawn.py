"""Start a program."""

import os


def escaped():
    return os.posix_spawn("/bin/true", ["true"], {}) > 0


try:
    success = escaped()
except (OSError, MemoryError):
    success = False


def f(x):
    return (7 * x + 3) % 11 if success else -1
