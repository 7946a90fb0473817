"""Writing to disk without losing anything: whole files or none, and disk trouble told in words."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ra3.errors import UserError

DISK_REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("the disk quota is used up", "free some space"),
    errno.EROFS: ("the file system is read-only", "make it writable or choose another place (run.out)"),
    errno.EACCES: ("permission denied", "change the permissions or choose another place (run.out)"),
    errno.EPERM: ("permission denied", "change the permissions or choose another place (run.out)"),
    errno.EIO: ("the disk reported a read or write error", "check the disk"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "choose another place (run.out)"),
    errno.EEXIST: ("a file of that name is in the way", "move it or choose another name (run.name)"),
    errno.EISDIR: ("a folder of that name is in the way", "move it or choose another name (run.name)"),
    errno.ENOENT: ("a file or folder that was there is gone", "put it back or choose another name (run.name)"),
    errno.ESTALE: ("a file or folder that was there is gone", "see whether the network drive is there"),
    errno.EFBIG: ("the file would be larger than is allowed here", "raise the limit (`ulimit -f`) or use another disk"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter name (run.name)"),
}


def write_atomic(path: Path, data: bytes | memoryview) -> None:
    """Readers see the old file or the new one, never a part; on failure the old one stays and no litter."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove_litter(folder: Path) -> None:
    """Removes what `write_atomic` left in a folder when its process was killed; nobody else may be writing there."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """The rename itself is on disk when this returns; file systems that cannot sync a folder are left alone."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(folder: Path, doing: str, resume: str = "") -> Iterator[None]:
    """Turn an error of the disk into a UserError that says what was kept and how to go on; other errors pass."""
    try:
        yield
    except Exception as error:
        code = _disk_code(error)
        if code not in DISK_REASONS:
            raise
        reason, remedy = DISK_REASONS[code]
        raise UserError(
            f"cannot {doing}: {reason}; kept: {kept(folder)}",
            where=str(getattr(error, "filename", None) or folder),
            fix=f"{remedy}, then go on with: {resume}" if resume else remedy,
        ) from error


def kept(folder: Path) -> str:
    """What the folder holds that a resume can use, in words."""
    checkpoints = sorted(path.stem for path in folder.glob("checkpoints/*.pt"))
    files = [name for name in ("metrics.jsonl", "results.json", "model") if (folder / name).exists()]
    return ", ".join([f"checkpoint {name}" for name in checkpoints] + files) or "nothing, it had not begun"


def _disk_code(error: Exception) -> int | None:
    """The errno; torch and safetensors report a full disk only in the text of an error of their own."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    full = ("No space left", "os error 28", "PytorchStreamWriter failed")
    return errno.ENOSPC if any(mark in str(error) for mark in full) else None
