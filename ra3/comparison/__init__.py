"""`ra3 compare`: variants x seeds, each mid-trained, evaluated and perhaps put through RLVR, on one page.

file -> plan (cells and their commands) -> grid (runs what is owed) -> measured (numbers per cell, statistics over
seeds) -> tables (printed) and page (HTML)
"""

from __future__ import annotations

from ra3.arguments import CompareOut, CompareWorkers, ComparisonFile, DryRun


def compare(
    file: ComparisonFile, /, *, out: CompareOut = None, workers: CompareWorkers = 1, dry_run: DryRun = False
) -> None:
    """Compare variants over seeds, each mid-trained and evaluated: one page with paired differences and intervals."""
    from ra3.comparison.command import run

    run(file, out, workers, dry_run)
