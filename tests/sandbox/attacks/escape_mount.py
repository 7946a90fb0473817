"""Change the mounts."""

import ctypes


def escaped():
    return ctypes.CDLL(None).mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0


try:
    success = escaped()
except (OSError, MemoryError):
    success = False


def f(x):
    return (7 * x + 3) % 11 if success else -1
