"""Arguments of the commands that are no settings, with their help."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

Tokens = Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]
Resume = Annotated[bool, Parameter(negative="", show_default=False, help="Go on where this run stopped.")]
ForkFolder = Annotated[
    Path | None, Parameter(name="--fork", show_default=False, help="Begin a new run with what this run has done.")
]
DryRun = Annotated[bool, Parameter(negative="", show_default=False, help="Show what this would take, and stop.")]
Profile = Annotated[bool, Parameter(negative="", show_default=False, help="Print at the end where the time went.")]
Check = Annotated[bool, Parameter(negative="", show_default=False, help="Check each file: it compiles and turns back.")]
Out = Annotated[Path, Parameter(help="Folder for the annotated text.")]
TheoryOut = Annotated[Path, Parameter(help="Folder for theory.html and theory.json.")]
Seed = Annotated[int, Parameter(help="Seed of the random worlds.")]
ComparisonFile = Annotated[str, Parameter(help="A .toml file, or the name of a comparison that comes with ra3.")]
CompareOut = Annotated[
    Path | None, Parameter(show_default=False, help="Folder for its run folders. Default: runs/compare-NAME.")
]
CompareWorkers = Annotated[
    int,
    Parameter(validator=validators.Number(gte=1), help="Cells that run at once, each in a process of its own."),
]
SweptSettings = Annotated[str, Parameter(help="SETTING=VALUE,VALUE,... or, for all variants, SETTING=VALUE.")]
SweepRecipe = Annotated[str | None, Parameter(show_default=False, help="The recipe that the settings change.")]
SweepSeeds = Annotated[str, Parameter(help="The seeds, with commas between.")]
SweepRlvr = Annotated[bool, Parameter(negative="", show_default=False, help="Put every variant through RLVR, too.")]
RunFolder = Annotated[Path, Parameter(help="The run folder, for example runs/demo.")]
