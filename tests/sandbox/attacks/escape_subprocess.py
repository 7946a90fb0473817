"""Start a shell."""

import subprocess


def escaped():
    return subprocess.run(["/bin/sh", "-c", "true"]).returncode == 0


try:
    success = escaped()
except (OSError, MemoryError):
    success = False


def f(x):
    return (7 * x + 3) % 11 if success else -1
