"""Command lines of ra3 in processes of their own that start in milliseconds: a server imports torch once and forks.

A forked process runs `ra3.cli.main` as the program does; it can be killed, limited and sent signals like any other.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

PRELOADED = (
    *("ra3.cli", "ra3.compare.demo", "ra3.commands.plan", "cli_runs", "transformers.models.llama.modeling_llama"),
    *("transformers.models.qwen2.modeling_qwen2", "safetensors.torch", "rich.live", "matplotlib.figure"),
)
FORKS = multiprocessing.get_context("forkserver")


class Ended(NamedTuple):
    """How a command line ended. `returncode` is negative for a signal, as in subprocess."""

    returncode: int
    stdout: str
    stderr: str


class Started:
    """A command line that is running in `folder`; its words go to files beside it."""

    def __init__(self, folder: Path, words: Sequence[object], prepare: Callable[[], object] | None = None):
        self.words = [str(word) for word in words]
        self._out = [folder / f".{name}.txt" for name in ("stdout", "stderr")]
        FORKS.set_forkserver_preload(list(PRELOADED))
        self.process = FORKS.Process(target=_run, args=(str(folder), self.words, self._out, prepare))
        self.process.start()

    def signal(self, signum: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.process.is_alive():
            os.kill(self.process.pid, signum)

    def wait(self, timeout_s: float = 280) -> Ended:
        """Waits for its end. A process that does not end in time is a failure."""
        self.process.join(timeout_s)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise AssertionError(f"still running after {timeout_s} s: ra3 {' '.join(self.words)}\n{self.said()}")
        return Ended(self.process.exitcode, *(path.read_text(errors="replace") for path in self._out))

    def said(self) -> str:
        """What it has written to stderr so far."""
        return self._out[1].read_text(errors="replace") if self._out[1].exists() else ""

    def wait_until(self, true: Callable[[], object], timeout_s: float = 60) -> None:
        """Waits until something is true, or the process has ended."""
        end = time.monotonic() + timeout_s
        while not true() and self.process.is_alive():
            assert time.monotonic() < end, self.said()
            time.sleep(0.002)


def ra3(folder: Path, *words: object, prepare: Callable[[], object] | None = None) -> Ended:
    """One command line in `folder`, to its end. `prepare` is a module's function, called in its process before it."""
    return Started(folder, words, prepare).wait()


def _run(folder: str, words: list[str], out: list[Path], prepare: Callable[[], object] | None) -> None:
    for descriptor, path in enumerate(out, 1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
        os.close(file)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
    os.environ["COLUMNS"] = "110"
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    sys.argv = ["ra3", *words]
    from ra3.cli import main

    if prepare:
        prepare()
    code = main(words)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
