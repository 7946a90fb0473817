"""Take away the server's CPU time."""

import os
import resource


def escaped():
    resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))
    return True


try:
    success = escaped()
except (OSError, MemoryError):
    success = False


def f(x):
    return (7 * x + 3) % 11 if success else -1
