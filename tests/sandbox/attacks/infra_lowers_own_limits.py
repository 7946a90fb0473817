"""Take one's own CPU time and memory away, so that the kernel ends it."""

import resource


def f(x):
    for name in ("RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_CPU"):
        resource.setrlimit(getattr(resource, name), (0, 0))
    while True:
        pass
