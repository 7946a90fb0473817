"""Leave a file in shared memory."""

import os


def escaped():
    os.close(os.open("/dev/shm/ra3-attack-canary", os.O_CREAT | os.O_RDWR))
    return True


try:
    success = escaped()
except (OSError, MemoryError):
    success = False


def f(x):
    return (7 * x + 3) % 11 if success else -1
