"""What can go wrong around a run without anybody's mistake, in words: no memory, no sandbox, a disk that fails."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ra3.errors import UserError, is_out_of_memory
from ra3.run.files import DISK_REASONS, saved_so_far
from ra3.run.folder import Run
from ra3.sandbox import SandboxError

LESS_MEMORY = "free some memory, or lower update.micro_batch_tokens, corpus.max_tokens or sandbox.workers"


@contextmanager
def told(run: Run) -> Iterator[None]:
    """Turns such an error into a UserError that says what the run folder kept and how to go on; others pass."""
    try:
        yield
    except Exception as error:
        told_as = in_words(error, run.folder, run.resume_line)
        if told_as is None:
            raise
        raise told_as from error


def in_words(error: Exception, folder: Path | None = None, resume: str = "") -> UserError | None:
    """The error as a UserError if it is one of these troubles, else None. `folder`: the run folder, if there is one."""
    what, fix = _trouble(error)
    if not what:
        return None
    if folder:
        what += f"; kept: {saved_so_far(folder)}"
        fix += f"; then go on with: {resume}\n  with settings changed: --fork {folder} and another run.name"
    return UserError(what, where=str(getattr(error, "filename", None) or folder or "") or None, fix=fix)


def _trouble(error: Exception) -> tuple[str, str]:
    """(what is wrong, what helps); empty where the error is of another kind."""
    first = (str(error).splitlines() or [""])[0][:200]
    if is_out_of_memory(error):
        return f"out of memory: {first or type(error).__name__}", LESS_MEMORY
    if isinstance(error, SandboxError):
        return f"the sandbox is dead: {first}", "see that this Python can start processes (`ulimit -u`, memory)"
    if isinstance(error, OSError) and error.errno in DISK_REASONS:
        return DISK_REASONS[error.errno]
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many files are open", "raise the limit (`ulimit -n`)"
    if isinstance(error, OSError) and error.errno == errno.EAGAIN:
        return "no further process can be started", "end some, or raise the limit (`ulimit -u`)"
    return "", ""
