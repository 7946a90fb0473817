"""Link a file that is not ours."""

import os


def escaped():
    os.link("/etc/passwd", "/tmp/ra3-attack-canary")
    return True


try:
    success = escaped()
except (OSError, MemoryError):
    success = False


def f(x):
    return (7 * x + 3) % 11 if success else -1
