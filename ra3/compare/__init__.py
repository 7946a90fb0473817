"""`ra3 compare` and `ra3 sweep`: variants x seeds, mid-trained, evaluated and perhaps put through RLVR, on one page.

reading (a file) or sweeps (words) -> plan (cells, commands) -> grid (runs what is owed) -> equal_flops (twins) ->
cells (numbers of each run) -> measured (over seeds) -> tables (printed), plots and page (HTML)
"""

from __future__ import annotations

from pathlib import Path

from ra3.config.arguments import (
    CompareOut,
    CompareWorkers,
    ComparisonFile,
    DryRun,
    SweepRecipe,
    SweepRlvr,
    SweepSeeds,
    SweptSettings,
)


def compare(
    file: ComparisonFile, /, *, out: CompareOut = None, workers: CompareWorkers = 1, dry_run: DryRun = False
) -> None:
    """Compare variants over seeds, each mid-trained and evaluated: one page with paired differences and intervals."""
    from ra3.compare.command import run
    from ra3.compare.definition import find_comparison, read_comparison

    comparison = read_comparison(find_comparison(file))
    run(comparison, out or Path("runs") / f"compare-{comparison.name}", workers, dry_run)


def sweep(
    *settings: SweptSettings,
    recipe: SweepRecipe = None,
    seeds: SweepSeeds = "0,1",
    rlvr: SweepRlvr = False,
    out: CompareOut = None,
    workers: CompareWorkers = 1,
    dry_run: DryRun = False,
) -> None:
    """Try every combination of the values of some settings: a comparison without a file, a figure for each setting."""
    from ra3.compare.command import run
    from ra3.compare.sweeps import swept

    comparison = swept(settings, recipe, seeds, rlvr)
    run(comparison, out or Path("runs") / comparison.name, workers, dry_run)
