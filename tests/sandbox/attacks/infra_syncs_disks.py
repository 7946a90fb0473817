"""Wait in the kernel for the host's disks, where no signal comes through."""

import os


def f(x):
    for _ in range(10_000):
        try:
            os.sync()
            os.fsync(os.open(os.__file__, os.O_RDONLY))
        except OSError:
            pass
