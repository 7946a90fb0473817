"""The command line. Nothing heavy is imported before the settings are read and found right."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from ra3 import __version__
from ra3.commands.exit_codes import exit_code
from ra3.commands.runs import runs
from ra3.compare import compare, sweep
from ra3.config.arguments import (
    Check,
    DryRun,
    ForkFolder,
    Out,
    Profile,
    Resume,
    RunFolder,
    Seed,
    TheoryOut,
    Tokens,
)
from ra3.config.flags import ALIASES, OPTIONS, RunOptions, parse, settings_help
from ra3.run.stopping import Watchdog, stopping_at_once

if TYPE_CHECKING:
    from ra3.config.tree import Config

SECTIONS = {
    "demo": ("run", "model", "corpus", "midtrain", "rlvr", "eval", "sandbox", "update"),
    "midtrain": ("run", "model", "corpus", "midtrain", "update"),
    "rlvr": ("run", "model", "rlvr", "sandbox", "update"),
    "eval": ("run", "model", "eval", "sandbox", "corpus"),
    "overlap": ("run", "corpus", "rlvr"),
    "annotate": ("run", "model", "corpus", "midtrain"),
}
"""The settings each command is mostly about; its help shows them first."""

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


def _usage(command: str) -> str:
    return f"Usage: ra3 {command} [RECIPE ...] [--SECTION.NAME VALUE ...] [OPTIONS]"


@app.command(usage=_usage("demo"))
def demo(*tokens: Tokens, resume: Resume = False, profile: Profile = False, dry_run: DryRun = False) -> None:
    """The whole story on the embedded world: base, NTP and RA3, RLVR from each, evaluation and a report."""
    config, recipes = _configure(tokens, "demo")
    if dry_run:
        return _show_plan("demo", config)
    from ra3.commands.demo import run

    with _loading(config):
        run(config, RunOptions("demo", recipes, resume, profile=profile))


@app.command(usage=_usage("midtrain"))
def midtrain(
    *tokens: Tokens, resume: Resume = False, fork: ForkFolder = None, profile: Profile = False, dry_run: DryRun = False
) -> None:
    """Mid-train a model on expert text (RA3, or next-token prediction with --midtrain.method ntp)."""
    config, recipes = _configure(tokens)
    if dry_run:
        return _show_plan("midtrain", config)
    from ra3.commands import run as pipeline

    with _loading(config):
        pipeline.midtrain(config, RunOptions("midtrain", recipes, resume, fork, profile))


@app.command(usage=_usage("rlvr"))
def rlvr(
    *tokens: Tokens, resume: Resume = False, fork: ForkFolder = None, profile: Profile = False, dry_run: DryRun = False
) -> None:
    """Train a model by reinforcement with unit tests as reward."""
    config, recipes = _configure(tokens)
    if dry_run:
        return _show_plan("rlvr", config)
    from ra3.commands import run as pipeline

    with _loading(config):
        pipeline.rlvr(config, RunOptions("rlvr", recipes, resume, fork, profile))


@app.command(name="eval", usage=_usage("eval"))
def evaluate(*tokens: Tokens, resume: Resume = False, profile: Profile = False, dry_run: DryRun = False) -> None:
    """Sample programs, or take those of a file (--samples), run them against the tests, and report pass@k."""
    config, recipes = _configure(tokens)
    if dry_run:
        return _show_plan("eval", config)
    from ra3.commands import run as pipeline

    with _loading(config):
        pipeline.evaluate(config, RunOptions("eval", recipes, resume, profile=profile))


@app.command(usage=_usage("overlap"))
def overlap(*tokens: Tokens) -> None:
    """List what the corpus and the RLVR problems share with the benchmarks of --run.benchmarks."""
    config, _ = _configure(tokens)
    from ra3.commands.inputs import overlap_lines

    for line in overlap_lines(config):
        print(line)


@app.command(usage=_usage("annotate"))
def annotate(
    *tokens: Tokens, out: Out = Path("annotated"), check: Check = False, resume: Resume = False,
    dry_run: DryRun = False,
) -> None:  # fmt: skip
    """Write the model's latents into a corpus, as comments."""
    config, recipes = _configure(tokens)
    if dry_run:
        return _show_plan("annotate", config)
    from ra3.commands import run as pipeline

    with _loading(config):
        pipeline.annotate(config, RunOptions("annotate", recipes, resume=resume, out=out, check=check))


@app.command
def report(folder: RunFolder, /) -> None:
    """Write report.html into a run folder: curves, results and annotated code in one offline file."""
    from ra3.report import write_report

    print(write_report(folder))


@app.command
def theory(*, out: TheoryOut = Path("runs/theory"), seed: Seed = 0) -> None:
    """Check the theorems of RA3 on worlds with exact answers: theory.html and theory.json, in about a minute."""
    from theory.command import run

    print(run(out, seed))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code (`ra3/commands/exit_codes.py`)."""
    words = list(sys.argv[1:] if argv is None else argv)
    with stopping_at_once():
        return exit_code(lambda: _run(words), words)


def _run(words: list[str]) -> None:
    app(words, exit_on_error=False, print_error=False)
    if words and words[0] in SECTIONS and {"--help", "-h"} & set(words):
        print(settings_help(SECTIONS[words[0]], min(shutil.get_terminal_size().columns, 110)))


def _configure(tokens: Sequence[str], *default: str) -> tuple[Config, tuple[str, ...]]:
    """The settings of a command line, and the recipes they come from: `default` when it names none."""
    from ra3.config.load import load

    files, overrides = parse(tokens)
    recipes = tuple(files) or default
    return load(recipes, overrides, flags=(*ALIASES, *OPTIONS)), recipes


def _loading(config: Config) -> Watchdog:
    """The deadline on all that comes before the run folder is open, where the run's own takes over."""
    return Watchdog(config.run.stuck_after_s, None, f"ra3 {shlex.join(sys.argv[1:])}", "loading model, text or tests")


def _show_plan(command: str, config: Config) -> None:
    from ra3.commands.plan import describe

    print(describe(command, config))
