"""How a command ends: whatever it raises becomes one message on stderr and an exit code, with what helps.

What can go wrong without anybody's mistake (no memory, a dead sandbox, a disk that fails) is told as a UserError, too.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cyclopts import CycloptsError

from ra3.errors import UserError, is_out_of_memory
from ra3.ranks import PEERS_LOST_CODE, PeersLost
from ra3.run.files import DISK_REASONS, saved_so_far
from ra3.run.stopping import Stopped

RESUMED_BY_FLAG = ("demo", "midtrain", "rlvr", "eval", "annotate")
RESUMED_BY_ITSELF = ("compare", "sweep")
FILES_OPEN = "too many files are open", "raise the limit (`ulimit -n`)"
REASONS = DISK_REASONS | {
    errno.EMFILE: FILES_OPEN,
    errno.ENFILE: FILES_OPEN,
    errno.EAGAIN: ("no further process can be started", "end some, or raise the limit (`ulimit -u`)"),
}
"""What the system refuses, and what helps, by the number of its error."""


def exit_code(action: Callable[[], object], words: Sequence[str]) -> int:
    """Call `action`, which the command line `words` asked for: 0 done, 1 a bug, 2 an error of use, 75 a rank that
    lost the others, 130 Ctrl-C, 141 nobody reads the output, 143 SIGTERM."""
    try:
        with explain_failures():
            action()
            if sys.stdout:  # there is none where a caller has closed it
                sys.stdout.flush()
        return 0
    except (UserError, CycloptsError) as error:
        return _complain(str(error), 2)
    except (Stopped, KeyboardInterrupt) as stop:
        return _complain(_stopped(words), 128 + getattr(stop, "signum", signal.SIGINT))
    except PeersLost as lost:
        return _complain(str(lost), PEERS_LOST_CODE)
    except BrokenPipeError:  # `ra3 midtrain --help | head`
        return _unread(words)
    except SystemExit as end:  # rich's answer to a broken pipe
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        return _unread(words)
    except Exception as error:
        return _complain(f"this is a bug in ra3: {type(error).__name__}: {error}\nRA3_DEBUG=1 shows where.", 1)


def _complain(message: str, code: int) -> int:
    if os.environ.get("RA3_DEBUG") == "1":
        traceback.print_exc()
    print(f"ra3: {message}", file=sys.stderr)
    return code


def _unread(words: Sequence[str]) -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    again = "stopped" if "--help" in words else _stopped(words)
    return 141 if again == "stopped" else _complain(f"nobody reads the output any more; {again}", 141)


def _stopped(words: Sequence[str]) -> str:
    """The words that go on with the command, if it can go on."""
    command = words[0] if words else ""
    again = [word for word in words if word != "--resume"]
    if command in RESUMED_BY_FLAG:
        again.append("--resume")
    elif command not in RESUMED_BY_ITSELF:
        return "stopped"
    return f"stopped; go on with\n  ra3 {shlex.join(again)}"


@contextmanager
def explain_failures(folder: Path | None = None, resume: str = "") -> Iterator[None]:
    """Turns such a trouble into a UserError, in a run with what its `folder` kept and how to go on; others pass."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        from ra3.sandbox import SandboxError  # not before it is needed: `ra3 --help` is instant

        first = (str(error).splitlines() or [""])[0][:200]
        code = error.errno if isinstance(error, OSError) else None
        if is_out_of_memory(error):
            what = f"out of memory: {first or type(error).__name__}"
            fix = "free some memory, or lower update.micro_batch_tokens, corpus.max_tokens or sandbox.workers"
        elif isinstance(error, SandboxError):
            what = f"the sandbox is dead: {first}"
            fix = "see that this Python can start processes (`ulimit -u`, memory)"
        elif code in REASONS:
            what, fix = REASONS[code]
        else:
            raise
        if folder:
            what += f"; kept: {saved_so_far(folder)}"
            fix += f"; then go on with: {resume}\n  with settings changed: --fork {folder} and another run.name"
        raise UserError(what, str(getattr(error, "filename", None) or folder or "") or None, fix=fix) from error
