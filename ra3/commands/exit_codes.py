"""How a command ends: whatever it raises becomes one message on stderr and an exit code."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

from cyclopts import CycloptsError

from ra3.errors import UserError
from ra3.run.stopping import Stopped

RESUMED_BY_FLAG = ("demo", "midtrain", "rlvr", "eval", "annotate")
RESUMED_BY_ITSELF = ("compare", "sweep")


def exit_code(action: Callable[[], object], words: Sequence[str]) -> int:
    """Call `action`, which the command line `words` asked for: 0 done, 1 a bug, 2 an error of use, 130 Ctrl-C, 141
    nobody reads the output, 143 SIGTERM."""
    try:
        action()
        sys.stdout.flush()
        return 0
    except (UserError, CycloptsError) as error:
        return _complain(str(error), 2)
    except (Stopped, KeyboardInterrupt) as stop:
        return _complain(_stopped(words), 128 + getattr(stop, "signum", signal.SIGINT))
    except BrokenPipeError:  # `ra3 midtrain --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        from ra3.commands.failures import in_words

        if told := in_words(error):
            return _complain(str(told), 2)
        return _complain(f"this is a bug in ra3: {type(error).__name__}: {error}\nRA3_DEBUG=1 shows where.", 1)


def _stopped(words: Sequence[str]) -> str:
    """The words that go on with the command, if it can go on."""
    command = words[0] if words else ""
    again = [word for word in words if word != "--resume"]
    if command in RESUMED_BY_FLAG:
        again.append("--resume")
    elif command not in RESUMED_BY_ITSELF:
        return "stopped"
    return f"stopped; go on with\n  ra3 {shlex.join(again)}"


def _complain(message: str, code: int) -> int:
    if os.environ.get("RA3_DEBUG") == "1":
        traceback.print_exc()
    print(f"ra3: {message}", file=sys.stderr)
    return code
