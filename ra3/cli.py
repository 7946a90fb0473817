"""The command line. Nothing heavy is imported before the settings are read and found right."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from ra3 import __version__
from ra3.commands.failures import exit_code
from ra3.commands.runs import RunFolder, given_path, runs
from ra3.compare import compare, sweep
from ra3.ranks import is_rank, leave
from ra3.run.files import open_standard_streams
from ra3.run.stopping import deadline, stopping_at_once

SECTIONS = {
    "demo": ("run", "model", "corpus", "midtrain", "rlvr", "eval", "sandbox", "update"),
    "midtrain": ("run", "model", "corpus", "midtrain", "update"),
    "rlvr": ("run", "model", "rlvr", "sandbox", "update"),
    "eval": ("run", "model", "eval", "sandbox", "corpus"),
    "overlap": ("run", "corpus", "rlvr"),
    "grade": ("sandbox", "run"),
    "annotate": ("run", "model", "corpus", "midtrain"),
}
"""The settings each command is mostly about; its help shows them first."""

Words = Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]
"""Recipes and settings, which `ra3.config.load` reads: it tells all mistakes at once."""
Resume = Annotated[bool, Parameter(negative="", show_default=False, help="Go on where this run stopped.")]
Fork = Annotated[
    Path | None,
    Parameter(converter=given_path, show_default=False, help="Begin a new run with what this run has done."),
]
DryRun = Annotated[bool, Parameter(negative="", show_default=False, help="Show what this would take, and stop.")]
Profile = Annotated[bool, Parameter(negative="", show_default=False, help="Print at the end where the time went.")]
Ranks = Annotated[
    int, Parameter(show_default=False, help="Do it on so many processes of this machine, a GPU each (see run.lanes).")
]
Launch = Annotated[
    Literal["local", "ray"],
    Parameter(show_default=False, help="Where the ranks run: here, or as actors of a running Ray cluster."),
]
Check = Annotated[bool, Parameter(negative="", show_default=False, help="Check each file: it compiles and turns back.")]
To = Annotated[str, Parameter(help="A new folder.")]
Tracker = Annotated[
    Literal["tensorboard", "wandb", "trackio"], Parameter(help="Where: each is an extra, `pip install 'ra3[wandb]'`.")
]
Follow = Annotated[bool, Parameter(negative="", show_default=False, help="Go on until the run ends.")]
Out = Annotated[Path, Parameter(converter=given_path, help="Folder for the annotated text.")]

app = App(
    name="ra3",
    version=f"ra3 {__version__}",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
    help="""Mid-train a language model with RA3: it learns by reinforcement to write its plans as comments.

    ra3 demo: the whole story on a CPU, from base model to report.

    ra3 midtrain tiny-cpu: a recipe, by name or file. `ra3 midtrain --help` lists every setting.

    ra3 midtrain --model FOLDER --corpus FOLDER: your own model and code.""",
)
for command in (runs, compare, sweep):
    app.command(command)


@app.command
def demo(
    *words: Words, resume: Resume = False, profile: Profile = False, dry_run: DryRun = False,
    ranks: Ranks = 1, launch: Launch = "local",
) -> None:  # fmt: skip
    """The whole story on the embedded world: base, NTP and RA3, RLVR from each, evaluation and a report."""
    _do("demo", words, dry_run, ranks, launch, resume=resume, profile=profile)


@app.command
def midtrain(
    *words: Words, resume: Resume = False, fork: Fork = None, profile: Profile = False, dry_run: DryRun = False,
    ranks: Ranks = 1, launch: Launch = "local",
) -> None:  # fmt: skip
    """Mid-train a model on expert text (RA3, or next-token prediction with --midtrain.method ntp)."""
    _do("midtrain", words, dry_run, ranks, launch, resume=resume, fork=fork, profile=profile)


@app.command
def rlvr(
    *words: Words, resume: Resume = False, fork: Fork = None, profile: Profile = False, dry_run: DryRun = False,
    ranks: Ranks = 1, launch: Launch = "local",
) -> None:  # fmt: skip
    """Train a model by reinforcement with unit tests as reward."""
    _do("rlvr", words, dry_run, ranks, launch, resume=resume, fork=fork, profile=profile)


@app.command(name="eval")
def evaluate(
    *words: Words, resume: Resume = False, profile: Profile = False, dry_run: DryRun = False,
    ranks: Ranks = 1, launch: Launch = "local",
) -> None:  # fmt: skip
    """Sample programs, or take those of a file (--samples), run them against the tests, and report pass@k."""
    _do("eval", words, dry_run, ranks, launch, resume=resume, profile=profile)


@app.command
def annotate(
    *words: Words, out: Out = Path("annotated"), check: Check = False, resume: Resume = False, dry_run: DryRun = False,
    ranks: Ranks = 1, launch: Launch = "local",
) -> None:  # fmt: skip
    """Write the model's latents into a corpus, as comments."""
    _do("annotate", words, dry_run, ranks, launch, resume=resume, out=out, check=check)


@app.command
def overlap(*words: Words) -> None:
    """List what the corpus and the RLVR problems share with the benchmarks of --run.benchmarks."""
    from ra3.config.load import load, parse

    config = load(*parse(words))
    from ra3.commands.inputs import overlap_lines

    for line in overlap_lines(config):
        print(line)


@app.command
def grade(*words: Words) -> None:
    """Run programs against their tests, JSON lines from stdin to stdout: a verdict for each, in their order."""
    from ra3.config.load import load, parse

    config = load(*parse(words))
    from ra3.commands.grade import verdict_lines

    for line in verdict_lines(config, open(0, "rb", closefd=False)):  # noqa: SIM115 - a thread may still read
        print(line, flush=True)


@app.command
def report(folder: RunFolder, /) -> None:
    """Write report.html into a run folder: curves, results and annotated code in one offline file."""
    from ra3.report import write_report

    print(write_report(folder))


@app.command
def track(folder: RunFolder, /, *, to: Tracker, follow: Follow = False) -> None:
    """Show a run's metrics in TensorBoard, Weights & Biases or trackio, while it is going or afterwards."""
    from ra3.run.trackers import track as show

    print(f"{show(folder, to, follow)} lines of {folder / 'metrics.jsonl'} shown in {to}")


@app.command
def publish(folder: RunFolder, /, *, to: To) -> None:
    """Write a finished run's model and annotated corpus, each with its card, into a folder for others to use."""
    from ra3.commands.publish import publish as write

    for written in write(folder, to):
        print(written)


for name in SECTIONS:
    app[name].usage = f"Usage: ra3 {name} [RECIPE ...] [--SECTION.NAME VALUE ...] [OPTIONS]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code (`ra3/commands/failures.py`)."""
    words = list(sys.argv[1:] if argv is None else argv)
    open_standard_streams()
    with stopping_at_once():
        return exit_code(lambda: _run(words), words)


def _run(words: list[str]) -> None:
    app(words, exit_on_error=False, print_error=False)
    if words and words[0] in SECTIONS and {"--help", "-h"} & set(words):
        from ra3.config.help import manual
        from ra3.config.load import ALIASES

        print("Short forms", *(f"  --{alias} = --{key}" for alias, key in ALIASES.items()), "", sep="\n")
        print(manual(SECTIONS[words[0]], min(shutil.get_terminal_size().columns, 110)))


def _do(command: str, words: Sequence[str], dry_run: bool, ranks: int, launch: Any, **options: Any) -> None:
    """Reads the settings, then does what a command does, or shows its plan."""
    from ra3.config.load import load, parse

    files, overrides = parse(words)
    recipes = files or ["demo"] * (command == "demo")
    config = load(recipes, overrides)
    if dry_run:
        print(f"plan of ra3 {command} (nothing is run; a few trials take some seconds)", flush=True)
        from ra3.commands.plan import plan_lines

        for line in plan_lines(command, config):
            print(line, flush=True)
        return
    if ranks != 1 or is_rank():
        from ra3.commands.launch import launched

        flags = [f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items() if value]
        if launched(ranks, launch, config.run, [command, *words, *flags]):
            return
    # the deadline on all that comes before the run folder is open, where the run's own takes over
    with deadline(config.run.stuck_after_s, None, f"ra3 {shlex.join(sys.argv[1:])}", "loading model, text or tests"):
        from ra3.api import do

        do(command, recipes, overrides, config, **options)
    leave()
