"""Runs what a comparison owes: each cell's commands one after the other, several cells at once, in processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from ra3.compare.plan import Cell, Step
from ra3.compare.results import unchanged
from ra3.errors import UserError
from ra3.run.files import read_object
from ra3.run.folder import config_changes, refuse_other_format
from ra3.run.inspect import run_state

PATIENCE_S = 120.0
"""How long a command that was asked to stop may take to save its state."""


@dataclass
class Processes:
    """The commands that run now, so that they can be asked to stop."""

    running: set[subprocess.Popen] = field(default_factory=set)
    stopping: bool = False
    lock: Lock = field(default_factory=Lock)

    def run(self, step: Step, log: Path) -> int | None:
        """Runs a command to its end, its words in `log`; its exit code, None if it was not begun."""
        with log.open("ab") as file:
            with self.lock:
                if self.stopping:
                    return None
                command = [sys.executable, "-m", "ra3", *step.words]
                process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
                self.running.add(process)
            try:
                return process.wait()
            finally:
                self.running.discard(process)

    def stop(self) -> None:
        """Asks all to stop, and waits until they have saved what they did."""
        with self.lock:
            self.stopping = True
            processes = list(self.running)
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def owed(cells: Sequence[Cell]) -> list[Step]:
    """The commands that are still to run. UserError where a folder holds a run with other settings."""
    return [step for cell in cells for step in cell.steps if not finished(step)]


def finished(step: Step) -> bool:
    """Whether the command has run to its end. UserError if that was with other settings."""
    if not (step.folder / "config.json").is_file():
        return False
    refuse_other_format(step.folder)
    held, wanted = read_object(step.folder / "config.json"), step.config().model_dump(mode="json")
    with unchanged(step.folder):
        changes = config_changes(_where_it_is_now(held, wanted), wanted)
    if changes:
        raise UserError(
            f"this cell was run with other settings: {'; '.join(changes[:4])}",
            where=str(step.folder),
            fix="give the comparison another --out, or move that folder away",
        )
    return run_state(step.folder) == "finished"


def _where_it_is_now(held: dict, wanted: dict) -> dict:
    """The settings held, with the model of a cell where the comparison has it now: its folder may have been moved."""
    old, new = (Path(own["model"]["path"] or "").parts[-2:] for own in (held, wanted))
    same = old == new and new[1:] == ("model",)
    return {**held, "model": {**held["model"], "path": wanted["model"]["path"]}} if same else held


def run_owed(cells: Sequence[Cell], workers: int, logs: Path, say: Callable[[str], None]) -> list[str]:
    """Runs what is owed, `workers` cells at once; returns one sentence for each cell that failed."""
    processes = Processes()
    open_cells = [cell for cell in cells if not all(finished(step) for step in cell.steps)]
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(run_cell, cell, processes, logs, say) for cell in open_cells]
        try:
            return [problem for future in futures if (problem := future.result())]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            processes.stop()
            raise


def run_cell(cell: Cell, processes: Processes, logs: Path, say: Callable[[str], None]) -> str | None:
    """The commands of a cell that are owed, in order; what went wrong, if something did."""
    for step in cell.steps:
        if finished(step):
            continue
        say(f"{step.folder.name}: {step.command}")
        log = logs / f"{step.folder.name}.txt"
        code = processes.run(step, log)
        if code is None:
            return None
        if code:
            return f"{step.folder.name} ended with {code}: {_last_words(log)} (all of it in {log})"
    return None


def _last_words(log: Path) -> str:
    """The message that a command ended with, or else its last line."""
    lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
    begins = [number for number, line in enumerate(lines) if line.startswith("ra3: ")]
    return "\n".join(lines[begins[-1] :] if begins else lines[-1:])
