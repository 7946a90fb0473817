"""`ra3 runs`: what is in the run folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, Token

from ra3.errors import UserError

runs = App(name="runs", help="Look at run folders: list, show, verify, compare.")


def given_path(kind: type, tokens: Sequence[Token]) -> Path:
    """The path in the words of a flag, `~` being the home folder."""
    from ra3.config.load import path_of

    return path_of(tokens[0].value)


RunFolder = Annotated[Path, Parameter(converter=given_path, help="The run folder, for example runs/demo.")]
Root = Annotated[Path, Parameter(converter=given_path, help="The folder that holds run folders.")]


@runs.command(name="list")
def list_runs(folder: Root = Path("runs"), /) -> None:
    """One line for every run: its state, when it began, how long it took, how many steps it did."""
    from ra3.run.inspect import runs_table

    print(runs_table(folder).aligned())


@runs.command
def show(folder: RunFolder, /) -> None:
    """One run in full: its state, settings that are not at their default, inputs, results."""
    from ra3.run.inspect import run_details

    print(run_details(folder))


@runs.command
def verify(*folders: RunFolder) -> None:
    """Check that run folders are whole: checksums of checkpoints and results, no line broken, no step missing."""
    from ra3.run.inspect import find_runs, run_state, verify_run

    bad = []
    for run in [run for folder in folders or (Path("runs"),) for run in find_runs(folder)]:
        found = verify_run(run)
        bad += [f"{run}: {trouble}" for trouble in found]
        print(f"{run}: {'; '.join(found) or 'whole'} ({run_state(run)})")
    if bad:
        listed = "\n  ".join(bad)
        raise UserError(f"not all is whole:\n  {listed}", fix="`--resume` makes damaged parts again")


@runs.command
def compare(a: RunFolder, b: RunFolder, /) -> None:
    """How two runs differ: settings, metrics, weights, results."""
    from ra3.run.inspect import compare_runs

    print("\n".join(compare_runs(a, b)))
