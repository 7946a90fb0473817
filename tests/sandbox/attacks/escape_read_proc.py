"""Look into /proc."""

import os


def escaped():
    return bool(os.listdir("/proc")) or bool(open("/proc/self/environ").read())


try:
    success = escaped()
except (OSError, MemoryError):
    success = False


def f(x):
    return (7 * x + 3) % 11 if success else -1
