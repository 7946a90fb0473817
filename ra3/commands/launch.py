"""Starts the ranks of a command on this machine, watches over them, and starts them again where one dies.

On several machines torchrun does this, with the same command: `torchrun --nnodes 4 --nproc-per-node 8 -m ra3 midtrain`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from ra3 import ranks
from ra3.config.settings import RunSettings
from ra3.errors import UserError
from ra3.ranks import PEERS_LOST_CODE

Launcher = Literal["local", "ray"]
MOST_DEATHS = 20
"""Ranks that may die before the launch gives up."""
GRACE_S = 10.0
"""What the others get to end by themselves after a rank has ended with an error."""
LAST_WORDS = 2000
"""Characters of the stderr of a rank that are told where it failed alone."""


def launched(count: int, launcher: Launcher, run: RunSettings, words: Sequence[str]) -> bool:
    """Runs `ra3 WORDS` on `count` ranks and returns True; False where it is to run here, alone or as one of them.

    UserError where the ranks cannot share the lanes.
    """
    if ranks.is_rank():
        ranks.join(run.stuck_after_s)
    wanted = max(count, ranks.count())
    if count < 1 or run.lanes % wanted:
        above = 1 << max(wanted - 1, 0).bit_length()
        fix = f"set run.lanes to {max(8, above)}, and keep it whatever the number of ranks"
        fix = fix if above == wanted else f"take {above // 2} or {above} ranks; run.lanes must be as many or more"
        what = f"{count if count < 1 else wanted} ranks cannot share {run.lanes} lanes"
        raise UserError(what, "--ranks", "a number that divides run.lanes", fix if count > 0 else "leave --ranks out")
    if wanted > ranks.count():
        launch(count, [*words, f"--ranks={count}"], group_class(launcher))
    return wanted > ranks.count()


def group_class(launcher: Launcher) -> Callable[[int, Sequence[str]], Any]:
    """What starts the ranks. UserError where it needs a package that is not here."""
    if launcher == "local":
        return Group
    try:
        from ra3.commands.ray_launch import RayGroup
    except ImportError:
        raise UserError("Ray is not here", "--launch ray", fix="pip install 'ra3[ray]'") from None
    return RayGroup


def launch(count: int, words: Sequence[str], start: Callable[[int, Sequence[str]], Any]) -> None:
    """Runs `ra3 WORDS` on `count` ranks to its end. A rank that is killed ends the others, and all go on with --resume.

    Raises SystemExit with the exit code of the rank that failed, UserError where ranks keep dying.
    """
    for deaths in range(MOST_DEATHS):
        again = ["--resume"] if deaths and "--resume" not in words else []
        with start(count, [*words, *again]) as group:
            rank, code = group.wait()
        if group.stopped_by:
            raise SystemExit(128 + group.stopped_by)
        if code >= 0 and code != PEERS_LOST_CODE:
            if code:
                raise SystemExit(code)
            return
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else "lost the others"
        print(f"ra3: rank {rank} of {count} {how}; all go on from the last checkpoint", file=sys.stderr)
    what = f"{MOST_DEATHS} ranks died, the last one {how}"
    raise UserError(what, fix="see that there is memory for all of them (--dry-run), then go on with --resume")


class Group:
    """The ranks of one attempt. Use as a context manager: in the end none is left."""

    def __init__(self, count: int, words: Sequence[str]):
        with ExitStack() as opened:
            place = Path(opened.enter_context(TemporaryDirectory(prefix="ra3-ranks-")))
            self._said = [place / f"stderr_{rank}" for rank in range(count)]
            opened.callback(self._kill)
            self._processes: list[subprocess.Popen] = []
            for rank in range(count):
                environment = {"GLOO_SOCKET_IFNAME": "lo"} | os.environ | ranks.variables_here(rank, count, place)
                quiet = {"stdout": subprocess.DEVNULL, "stderr": opened.enter_context(self._said[rank].open("w"))}
                command, streams = [sys.executable, "-m", "ra3", *words], quiet if rank else {}
                # a session of their own: Ctrl-C reaches them through us, once
                self._processes.append(subprocess.Popen(command, env=environment, start_new_session=True, **streams))
            self._opened, self.stopped_by = opened.pop_all(), 0

    def wait(self) -> tuple[int, int]:
        """(rank, exit code) of the first that failed, or of rank 0. A signal that comes meanwhile goes to all."""
        while any(process.poll() is None for process in self._processes):
            try:
                if failed := self._failed():
                    self._let_end(failed[1])
                    break
                time.sleep(0.05)
            except KeyboardInterrupt as stop:
                self.stopped_by = getattr(stop, "signum", signal.SIGINT)
                for process in self._processes:
                    process.send_signal(self.stopped_by)
        rank, code = self._failed() or (0, 0)  # where all fail alike, the first speaks
        if rank and code > 0 and (said := self._said[rank].read_text(errors="replace")):
            print(f"rank {rank}: {said[-LAST_WORDS:]}", file=sys.stderr, end="")
        return rank, code

    def _failed(self) -> tuple[int, int] | None:
        """A rank that has ended with an error; one that others made fail only if there is no other."""
        codes = [(rank, process.poll()) for rank, process in enumerate(self._processes)]
        ended = [(rank, code) for rank, code in codes if code]
        return min(ended, key=lambda found: (found[1] == PEERS_LOST_CODE, found), default=None)

    def _let_end(self, code: int) -> None:
        """Waits a little for the others where the run itself has failed."""
        until = time.monotonic() + (GRACE_S if code > 0 else 0)
        while time.monotonic() < until and any(process.poll() is None for process in self._processes):
            time.sleep(0.05)

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *exception: object) -> None:
        self._opened.close()
