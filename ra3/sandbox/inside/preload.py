"""The first thing in the server's interpreter: what programs find imported, and how the rest of the standard library
stays importable."""

import _thread
import builtins
import contextlib
import ctypes
import importlib
import json
import os
import resource
import stat
import sys
import time

from . import kernel

MODULES = (
    "__future__", "_strptime", "abc", "array", "ast", "base64", "bisect", "calendar", "cmath", "collections",
    "collections.abc", "contextlib", "copy", "dataclasses", "datetime", "decimal", "encodings.ascii",
    "encodings.latin_1", "enum", "fractions", "functools", "heapq", "io", "itertools", "json", "math", "numbers",
    "operator", "queue", "random", "re", "statistics", "string", "struct", "textwrap", "threading", "time", "traceback",
    "types", "typing", "unicodedata", "weakref", "zlib",
)  # fmt: skip
_set_stack_size = _thread.stack_size
MOUNT_POINTS = ("/mnt", "/media", "/opt", "/tmp")
HIDDEN = ("site-packages", "dist-packages", "test", "idlelib", "ensurepip")


def start():
    """Import what programs find, then serve; called in ``python -c "..." FOLDER CONTROL_FD``, where FOLDER holds this
    package and is first on the path. The settings come through the control socket: anyone may read a command line."""
    control_fd = int(sys.argv[2])
    config = json.loads(os.read(control_fd, 1 << 16))
    time.tzset()
    os.environ.clear()
    sys.argv[:] = ["solution.py"]
    # without the after-fork hooks of threading and random: the server has one thread and every child begins with one
    # seed, and running them costs each child a quarter of its time
    register, os.register_at_fork = os.register_at_fork, lambda **_: None
    for name in MODULES:
        importlib.import_module(name)
    os.register_at_fork = register
    import _sitebuiltins  # what Python's site module would give programs
    import threading

    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D")
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D")
    threading.stack_size = _thread.stack_size = stack_size
    if kernel.LINUX:  # the C library loads this one when a thread is cancelled, and aborts if it then cannot
        with contextlib.suppress(OSError):
            ctypes.CDLL("libgcc_s.so.1")
    from . import server  # after the preload, or the modules it needs would register their after-fork hooks

    del sys.path[0]
    server.main(control_fd, config)


def stack_size(size: int = 0, /) -> int:
    """``threading.stack_size``, but what is more than half of the memory limit, which no thread could have, is half.

    Contests' templates ask for 512 MiB to be sure.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return _set_stack_size(size if limit == resource.RLIM_INFINITY else min(size, limit // 2))


def readable_paths(library: str) -> list[str]:
    """What a program may read: the standard library without installed packages, and the time zones."""
    entries = [os.path.join(library, name) for name in os.listdir(library) if name not in HIDDEN]
    return [*entries, "/usr/share/zoneinfo"]


def reachable(path: str) -> bool:
    """Whether any user may walk to a folder."""
    parent = os.path.dirname(path)
    return bool(os.stat(path).st_mode & stat.S_IXOTH) and (path == parent or reachable(parent))


def move_within_reach(library: str) -> str:
    """Show the standard library, read-only, at a place that any user may enter, for this process alone; its new folder.

    Needed when root's own interpreter lies in a closed home folder and programs run as another user. Needs root and
    the right to mount; OSError otherwise.
    """
    target = next(place for place in MOUNT_POINTS if os.path.isdir(place) and reachable(place))
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount(None, "/", kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount(library, target, kernel.MS_BIND)
    kernel.mount(None, target, kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY)
    sys.path[:] = [_moved(path, library, target) for path in sys.path]
    for module in list(sys.modules.values()):
        if hasattr(module, "__path__"):
            module.__path__ = [_moved(path, library, target) for path in module.__path__]
    sys.path_importer_cache.clear()
    importlib.invalidate_caches()
    return target


def _moved(path: str, old: str, new: str) -> str:
    real = os.path.realpath(path)
    return new + real[len(old) :] if (real + os.sep).startswith(old + os.sep) else path
