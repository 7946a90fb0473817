"""Files of a run folder: written whole or not at all, lines of JSON, errors of the disk told in words; fingerprints."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ra3.errors import UserError

if TYPE_CHECKING:
    from torch import nn

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
    errno.ENOLCK: ("this file system has no locks (a network drive?)", "choose another place (run.out)"),
    errno.EFBIG: ("the file would be larger than is allowed here", "raise the limit (`ulimit -f`) or use another disk"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter name (run.name)"),
}
FULL_DISK = ("No space left", "os error 28", "PytorchStreamWriter failed")
"""What torch and safetensors say, in errors of their own."""


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
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name itself is on disk
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot do that
            raise
    finally:
        os.close(folder)


def open_standard_streams() -> None:
    """Puts the null device where the caller has closed stdin, stdout or stderr: else a file of the run would get that
    number, and what a library prints would go into it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def remove_temporary_files(folder: Path) -> None:
    """Removes what `write_atomic` left in a folder when its process was killed; nobody else may be writing there."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`, or UserError: we write these files whole, so a broken one was changed by hand."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict):
            return value
        what = "this file must hold a JSON object"
    except FileNotFoundError:
        what = "this file of a run folder is missing"
    except (ValueError, RecursionError) as error:
        what = f"this file is no valid JSON: {error}"
    raise UserError(what, where=str(path), fix="restore it")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects in a .jsonl file; nothing if there is no file. A half-written or broken line is passed over."""
    with suppress(FileNotFoundError), path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            with suppress(ValueError, RecursionError):
                if isinstance(record := json.loads(line), dict):
                    yield record


def append_line(file: FileIO, record: Mapping[str, Any]) -> None:
    """Appends one line of JSON to an unbuffered file. A disk that fills up in mid-line leaves no part of it."""
    line = json.dumps(record, sort_keys=True, allow_nan=False).encode() + b"\n"
    before = os.fstat(file.fileno()).st_size
    try:
        while line:
            line = line[file.write(line) :]
    except OSError:
        with suppress(OSError):
            os.ftruncate(file.fileno(), before)
        raise


def drop_partial_line(path: Path) -> None:
    """Cuts a last line that a killed process left unfinished; nothing to do where there is no file."""
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def number(value: object) -> float:
    """A number of a file as a float: 0.5 -> 0.5, "nan" -> nan; anything that is not a number -> nan."""
    try:
        return float(value) if isinstance(value, (int, float, str)) else math.nan
    except (ValueError, OverflowError):
        return math.nan


@contextmanager
def disk_errors(folder: Path, doing: str, resume: str = "") -> Iterator[None]:
    """Turn an error of the disk into a UserError that says what was kept and how to go on; other errors pass."""
    try:
        yield
    except Exception as error:
        full = any(sign in str(error) for sign in FULL_DISK)
        code = errno.ENOSPC if full else getattr(error, "errno", None)
        if code not in DISK_REASONS:
            raise
        reason, remedy = DISK_REASONS[code]
        raise UserError(
            f"cannot {doing}: {reason}; kept: {saved_so_far(folder)}",
            where=str(getattr(error, "filename", None) or folder),
            fix=f"{remedy}, then go on with: {resume}" if resume else remedy,
        ) from error


def saved_so_far(folder: Path) -> str:
    """Lists, in words, what the folder holds that a resume can use."""
    try:
        checkpoints = sorted(path.stem for path in folder.glob("checkpoints/*.pt"))
        files = [name for name in ("metrics.jsonl", "results.json", "model") if (folder / name).exists()]
    except OSError:  # what went wrong, as no memory, goes on
        return f"what {folder} holds"
    return ", ".join([f"checkpoint {name}" for name in checkpoints] + files) or "nothing, it had not begun"


def checksum(path: Path) -> str:
    """SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint_weights(model: nn.Module) -> str:
    """16 hex digits for names, shapes and bits of all weights, the same on every device."""
    import torch

    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in model.state_dict().items():
        tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor  # spread over the ranks
        digest.update(repr((name, tuple(tensor.shape), str(tensor.dtype))).encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fingerprint_code(package: Path) -> str:
    """12 hex digits for all source files in a folder, which also tell where no repository does."""
    files = sorted((*package.rglob("*.py"), *package.rglob("*.toml")))
    content = (f"{path.relative_to(package).as_posix()}\0".encode() + path.read_bytes() + b"\0" for path in files)
    return hashlib.sha256(b"".join(content)).hexdigest()[:12]


def fingerprint_items(items: Iterable[Any]) -> str:
    """16 hex digits for documents, problems or any plain values, in their order."""
    digest = hashlib.blake2b(digest_size=8)
    for item in items:
        digest.update(repr(_canonical(item)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _canonical(value: Any) -> Any:
    """The value as nested lists whose repr is the same in every process: fields by name, sets and dicts in order."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [type(value).__name__, *(_canonical(getattr(value, f.name)) for f in dataclasses.fields(value))]
    if isinstance(value, dict):
        return ["dict", *sorted(([_canonical(k), _canonical(v)] for k, v in value.items()), key=repr)]
    if isinstance(value, (set, frozenset)):
        return ["set", *sorted((_canonical(item) for item in value), key=repr)]
    if isinstance(value, int) and value.bit_length() > 1000:
        return hex(value)  # in decimal it takes time that grows with the square of its length, and Python refuses it
    return [_canonical(item) for item in value] if isinstance(value, (list, tuple)) else value


def to_json(value: Any) -> Any:
    """The value as JSON knows it: dicts with string keys, lists, strings, numbers; NaN and infinities as strings.

    Records, dataclasses as named tuples, are dicts of their fields."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if dataclasses.is_dataclass(value) or hasattr(value, "_asdict"):
        return to_json(vars(value) if dataclasses.is_dataclass(value) else value._asdict())
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(to_json(item) for item in value)
    return to_json(value.item()) if hasattr(value, "item") else str(value)  # a NumPy or torch scalar
