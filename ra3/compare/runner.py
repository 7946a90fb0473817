"""Runs what a comparison owes, each cell's commands one after the other, several cells at once, in processes; then
writes what came out."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from shutil import get_terminal_size
from threading import Lock

from ra3.compare.definition import Command, Comparison, GridCell
from ra3.compare.equal_flops import budgets, twins, with_twin
from ra3.compare.page import comparison_page
from ra3.compare.results import compared, read_evaluations, scores_csv
from ra3.compare.tables import tables
from ra3.errors import UserError
from ra3.run.files import disk_errors, to_json, write_atomic

PATIENCE_S = 120.0
"""How long a command that was asked to stop may take to save its state."""


def run(comparison: Comparison, folder: Path, workers: int, dry_run: bool) -> None:
    """The whole comparison, or what is missing of it; with `dry_run` only the commands that are owed are printed."""
    if folder.exists() and not folder.is_dir():
        raise UserError("this is no folder", where=str(folder), fix="give the comparison another --out")
    known = budgets(comparison, folder)
    cells = [*comparison.cells(folder), *twins(comparison, known, folder)]
    commands = [command for cell in cells for command in cell.commands]
    owed = [command for command in commands if not command.is_finished()]
    print(f"{comparison.name}: {len(cells)} cells, {len(commands)} commands, {len(owed)} of them owed, in {folder}")
    if later := len(with_twin(comparison)) * len(comparison.seeds) - len(known):
        print(f"and {later} cells at the FLOPs of {comparison.equal_flops}, once they are measured")
    if dry_run:
        print("\n".join(command.text for command in owed))
        return
    with disk_errors(folder, "make the comparison's folder"):
        (folder / "logs").mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    try:
        problems += run_cells(comparison.cells(folder), workers, folder / "logs")
        problems += run_cells(twins(comparison, budgets(comparison, folder), folder), workers, folder / "logs")
    finally:  # also of a comparison that was stopped: what is there
        problems += write_comparison(comparison, folder, problems)
    if problems:
        raise UserError("\n".join(problems), where=str(folder), fix="mend it and run the same command again")


def write_comparison(comparison: Comparison, folder: Path, problems: list[str]) -> list[str]:
    """results.json, scores.csv, compare.html, and the tables on the terminal, from what is there; one sentence for each
    evaluation that is there and cannot be used."""
    known = budgets(comparison, folder)
    cells = [*comparison.cells(folder), *twins(comparison, known, folder)]
    evaluations, unusable = read_evaluations(cells)
    results = compared(comparison, evaluations, known)
    command = f"ra3 {shlex.join(sys.argv[1:])}"
    with disk_errors(folder, "write the comparison"):
        write_atomic(folder / "results.json", json.dumps(to_json(results), indent=2).encode())
        write_atomic(folder / "scores.csv", scores_csv(evaluations).encode())
        page = comparison_page(comparison, results, cells, command, [*problems, *unusable])
        write_atomic(folder / "compare.html", page.encode())
    for table in chain.from_iterable(tables(results).values()):
        text = table.aligned(get_terminal_size().columns) if sys.stdout.isatty() else table.markdown()
        print(f"\n{table.title}. {table.intro}\n\n{text}")
    print(f"\n{folder / 'compare.html'}")
    return unusable


@dataclass
class Processes:
    """The commands that run now, so that they can be asked to stop."""

    logs: Path
    running: set[subprocess.Popen] = field(default_factory=set)
    stopping: bool = False
    lock: Lock = field(default_factory=Lock)

    def run_cell(self, cell: GridCell) -> str | None:
        """Runs the commands of a cell that are owed, in order; returns what went wrong, if something did."""
        for command in cell.commands:
            if command.is_finished():
                continue
            print(f"{command.folder.name}: {command.name}", flush=True)
            log = self.logs / f"{command.folder.name}.txt"
            if (code := self._run(command, log)) is None:
                return None
            if code:
                return f"{command.folder.name} ended with {code}: {_last_words(log)} (all of it in {log})"
        return None

    def _run(self, command: Command, log: Path) -> int | None:
        """Runs a command to its end, its words in `log`; its exit code, None if it was not begun."""
        with log.open("ab") as file:
            with self.lock:
                if self.stopping:
                    return None
                words = [sys.executable, "-m", "ra3", *command.words]
                process = subprocess.Popen(words, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
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


def run_cells(cells: Sequence[GridCell], workers: int, logs: Path) -> list[str]:
    """Runs what is owed, `workers` cells at once; returns one sentence for each cell that failed."""
    processes = Processes(logs)
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(processes.run_cell, cell) for cell in cells]
        try:
            return [problem for future in futures if (problem := future.result())]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            processes.stop()
            raise


def _last_words(log: Path) -> str:
    """The message that a command ended with, or else its last line."""
    lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
    begins = [number for number, line in enumerate(lines) if line.startswith("ra3: ")]
    return "\n".join(lines[begins[-1] :] if begins else lines[-1:])
