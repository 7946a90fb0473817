"""One writer per run folder: the kernel's lock decides, the file's text explains.

`flock` falls with its process, so a lock left by a killed process is simply taken over. Where a file system has no
`flock`, the process id decides. A lock written on another host cannot be judged from here and is never taken over.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
import weakref
from pathlib import Path

from ra3.errors import UserError

LOCK_NAME = ".lock"
NO_FLOCK = {errno.ENOSYS, errno.ENOTSUP, errno.EINVAL}


class FolderLock:
    """Holds `<folder>/.lock` until `release`. The file stays behind, empty, so that no one locks an unlinked file."""

    def __init__(self, descriptor: int):
        self._descriptor: int | None = descriptor
        _held.add(self)

    @classmethod
    def take(cls, folder: Path) -> FolderLock:
        """Lock `folder` or raise UserError naming the process that has it."""
        path = folder / LOCK_NAME
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            owner = _read_owner(descriptor)
            if not _lock(descriptor, owner):
                raise _busy(path, owner)
            if owner and owner.get("host") != socket.gethostname():
                raise _foreign(path, owner)
            _write_owner(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Empty the file and let go; safe to call twice."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            self.forget()

    def forget(self) -> None:
        """Close our descriptor without touching the file: what a forked child must do, or it would hold the lock on."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            _held.discard(self)


def owner_of(folder: Path) -> str | None:
    """Which process has a folder locked, in words; None if none has. Nothing is changed."""
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return _describe(_read_owner(descriptor))
    except OSError:
        return None
    finally:
        os.close(descriptor)


_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_held):
        lock.forget()


os.register_at_fork(after_in_child=_forget_all)


def _lock(descriptor: int, owner: dict) -> bool:
    """True if the lock is ours now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
    return owner.get("host") != socket.gethostname() or not _alive(int(owner.get("pid", 0)))


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read_owner(descriptor: int) -> dict:
    """What the last holder wrote; {} if it let go properly or died before it wrote."""
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0).decode())
    except (UnicodeDecodeError, json.JSONDecodeError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _write_owner(descriptor: int) -> None:
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    text = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "started": started})
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)


def _describe(owner: dict) -> str:
    return f"process {owner.get('pid', '?')} on {owner.get('host', '?')}, since {owner.get('started', '?')}"


def _busy(path: Path, owner: dict) -> UserError:
    return UserError(
        f"another run is writing this folder: {_describe(owner)}",
        where=str(path.parent),
        fix="wait for it or stop it, or choose another name (run.name) for this run",
    )


def _foreign(path: Path, owner: dict) -> UserError:
    return UserError(
        f"this folder is locked from another machine: {_describe(owner)}",
        where=str(path.parent),
        fix=f"if that process is gone, delete {path} and start again",
    )
