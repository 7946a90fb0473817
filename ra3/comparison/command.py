"""`ra3 compare`: reads the file, runs what is owed, writes results.json and compare.html, prints the tables."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

from ra3.comparison.grid import owed, run_owed
from ra3.comparison.measured import read_cells, summarised
from ra3.comparison.page import comparison_page
from ra3.comparison.plan import Cell, Comparison, find_comparison, read_comparison
from ra3.comparison.tables import tables
from ra3.disk import disk_errors, plain, write_atomic
from ra3.errors import UserError


def run(file: str, out: Path | None, workers: int, dry_run: bool) -> None:
    """The whole comparison, or what is missing of it; with `dry_run` only the commands that are owed are printed."""
    comparison = read_comparison(find_comparison(file))
    folder = out or Path("runs") / f"compare-{comparison.name}"
    cells = comparison.cells(folder)
    commands = owed(cells)
    total = sum(len(cell.steps) for cell in cells)
    print(f"{comparison.name}: {len(cells)} cells, {total} commands, {len(commands)} of them owed, in {folder}")
    if dry_run:
        print("\n".join(step.text for step in commands))
        return
    problems: list[str] = []
    try:
        problems += run_owed(cells, workers, folder / "logs", lambda line: print(line, flush=True))
    finally:  # also of a comparison that was stopped: what is there
        write_comparison(comparison, cells, folder, problems)
    if problems:
        raise UserError("\n".join(problems), where=str(folder), fix="mend it and run the same command again")


def write_comparison(comparison: Comparison, cells: list[Cell], folder: Path, problems: list[str]) -> None:
    """results.json, compare.html, and the tables on the terminal, from what is there."""
    results = summarised(comparison, read_cells(cells))
    command = f"ra3 {shlex.join(sys.argv[1:])}"
    with disk_errors(folder, "write the comparison"):
        write_atomic(folder / "results.json", json.dumps(plain(results), indent=2).encode())
        page = comparison_page(comparison.name, results, cells, command, problems)
        write_atomic(folder / "compare.html", page.encode())
    for table in tables(results):
        print(table.markdown)
    print(f"\n{folder / 'compare.html'}")
