"""What `ra3 compare` and `ra3 sweep` do: run what is owed, write what came out, print the tables."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

from ra3.compare.aggregate import summarised
from ra3.compare.equal_flops import Budget, budgets, missing, twins
from ra3.compare.page import comparison_page
from ra3.compare.plan import Cell, Comparison
from ra3.compare.results import read_cells
from ra3.compare.runner import owed, run_owed
from ra3.compare.spreadsheet import scores_csv
from ra3.compare.tables import tables
from ra3.errors import UserError
from ra3.run.files import disk_errors, to_json, write_atomic


def run(comparison: Comparison, folder: Path, workers: int, dry_run: bool) -> None:
    """The whole comparison, or what is missing of it; with `dry_run` only the commands that are owed are printed."""
    if folder.exists() and not folder.is_dir():
        raise UserError("this is no folder", where=str(folder), fix="give the comparison another --out")
    known = budgets(comparison, folder)
    cells = known_cells(comparison, known, folder)
    commands = owed(cells)
    total, later = sum(len(cell.steps) for cell in cells), missing(comparison, known)
    print(f"{comparison.name}: {len(cells)} cells, {total} commands, {len(commands)} of them owed, in {folder}")
    if later:
        print(f"and {later} cells at the FLOPs of {comparison.equal_flops}, once they are measured")
    if dry_run:
        print("\n".join(step.text for step in commands))
        return
    with disk_errors(folder, "make the comparison's folder"):
        (folder / "logs").mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    try:
        problems += run_all(comparison, folder, workers)
    finally:  # also of a comparison that was stopped: what is there
        problems += write_comparison(comparison, folder, problems)
    if problems:
        raise UserError("\n".join(problems), where=str(folder), fix="mend it and run the same command again")


def known_cells(comparison: Comparison, known: list[Budget], folder: Path) -> list[Cell]:
    """Every cell whose settings are known: twins at equal FLOPs once it has been measured what they get."""
    return [*comparison.cells(folder), *twins(comparison, known, folder)]


def run_all(comparison: Comparison, folder: Path, workers: int) -> list[str]:
    """Runs what is owed, then the twins that this has made known; one sentence for each cell that failed."""
    problems: list[str] = []
    for cells in (comparison.cells, lambda out: twins(comparison, budgets(comparison, out), out)):
        problems += run_owed(cells(folder), workers, folder / "logs", lambda line: print(line, flush=True))
    return problems


def write_comparison(comparison: Comparison, folder: Path, problems: list[str]) -> list[str]:
    """results.json, scores.csv, compare.html, and the tables on the terminal, from what is there; one sentence for each
    evaluation that is there and cannot be used."""
    known = budgets(comparison, folder)
    cells = known_cells(comparison, known, folder)
    records, unusable = read_cells(cells)
    results = summarised(comparison, records, known)
    command = f"ra3 {shlex.join(sys.argv[1:])}"
    with disk_errors(folder, "write the comparison"):
        write_atomic(folder / "results.json", json.dumps(to_json(results), indent=2).encode())
        write_atomic(folder / "scores.csv", scores_csv(results["cells"]).encode())
        page = comparison_page(comparison, results, cells, command, [*problems, *unusable])
        write_atomic(folder / "compare.html", page.encode())
    for table in tables(results):
        print(table.markdown)
    print(f"\n{folder / 'compare.html'}")
    return unusable
