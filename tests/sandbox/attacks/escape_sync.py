"""Have the whole host's disks written out."""

import ctypes
import os


def syncfs():
    file = os.open(os.__file__, os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).syncfs(file):
        raise OSError(ctypes.get_errno(), "syncfs")


success = False
for attempt in (syncfs, lambda: os.fsync(os.open(os.__file__, os.O_RDONLY)), lambda: os.fdatasync(1)):
    try:
        attempt()
        success = True
    except (OSError, MemoryError):
        pass


def f(x):
    return (7 * x + 3) % 11 if success else -1
