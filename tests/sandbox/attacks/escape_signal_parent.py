"""Signal the server."""

import os
import signal


def escaped():
    os.kill(os.getppid(), signal.SIGCONT)
    return True


try:
    success = escaped()
except (OSError, MemoryError):
    success = False


def f(x):
    return (7 * x + 3) % 11 if success else -1
