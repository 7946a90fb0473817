"""`ra3 compare` and `ra3 sweep`: variants x seeds, mid-trained, evaluated and perhaps put through RLVR, on one page.

definition (a file) or sweeps (words) -> runner (runs what is owed) -> equal_flops (twins) -> results (numbers of each
run, and over seeds) -> tables (printed), figures and page (HTML). `demo` is the comparison that `ra3 demo` runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from ra3.commands.runs import given_path

DryRun = Annotated[bool, Parameter(negative="", show_default=False, help="Show what this would take, and stop.")]
ComparisonFile = Annotated[str, Parameter(help="A .toml file, or the name of a comparison that comes with ra3.")]
CompareOut = Annotated[
    Path | None,
    Parameter(converter=given_path, show_default=False, help="Folder for its run folders. Default: runs/compare-NAME."),
]
CompareStart = Annotated[
    str | None,
    Parameter(show_default=False, help="Model folder that every variant starts from; {seed} in it is the cell's seed."),
]
CompareWorkers = Annotated[
    int, Parameter(validator=validators.Number(gte=1), help="Cells that run at once, each in a process of its own.")
]
SweptSettings = Annotated[str, Parameter(help="SETTING=VALUE,VALUE,... or, for all variants, SETTING=VALUE.")]
SweepRecipe = Annotated[str | None, Parameter(show_default=False, help="The recipe that the settings change.")]
SweepSeeds = Annotated[str, Parameter(help="The seeds, with commas between.")]
SweepRlvr = Annotated[bool, Parameter(negative="", show_default=False, help="Put every variant through RLVR, too.")]


def compare(
    file: ComparisonFile, /, *, start: CompareStart = None,
    out: CompareOut = None, workers: CompareWorkers = 1, dry_run: DryRun = False,
) -> None:  # fmt: skip
    """Compare variants over seeds, each mid-trained and evaluated: one page with paired differences and intervals."""
    from ra3.compare.definition import find_comparison, read_comparison
    from ra3.compare.runner import run

    comparison = read_comparison(find_comparison(file))
    comparison = comparison.starting_from(start) if start else comparison
    run(comparison, out or Path("runs") / f"compare-{comparison.name}", workers, dry_run)


def sweep(
    *settings: SweptSettings, recipe: SweepRecipe = None, seeds: SweepSeeds = "0,1", rlvr: SweepRlvr = False,
    out: CompareOut = None, workers: CompareWorkers = 1, dry_run: DryRun = False,
) -> None:  # fmt: skip
    """Try every combination of the values of some settings: a comparison without a file, a figure for each setting."""
    from ra3.compare.runner import run
    from ra3.compare.sweeps import swept

    comparison = swept(settings, recipe, seeds, rlvr)
    run(comparison, out or Path("runs") / comparison.name, workers, dry_run)
