"""A fork: a new run that begins with the checkpoints and metrics of another, under settings of its own."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

from ra3.errors import UserError
from ra3.run.files import disk_errors
from ra3.run.lock import FolderLock

COPIED = ("checkpoints", "metrics.jsonl", "timing.jsonl", "rollouts.jsonl", "ledger.jsonl")
"""What a run resumes from."""


def command_of(folder: Path) -> str | None:
    """The command that made a run; None where its environment.json is missing or damaged."""
    try:
        return str(json.loads((folder / "environment.json").read_text(encoding="utf-8"))["command"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def copy_run(source: Path, target: Path, command: str) -> None:
    """Copies what a run resumes from out of `source`, a run that no process is writing, into the folder `target`.

    UserError if there is no run of the same command in `source`, if it is busy, or if it cannot be copied.
    """
    made_by = command_of(source)
    if made_by is None:
        raise UserError("there is no run to fork in this folder", where=str(source), fix="name a run folder")
    if made_by != command:
        raise UserError(
            f"a run of `ra3 {made_by}` cannot be forked by `ra3 {command}`: their stages differ",
            where=str(source),
            fix=f"use `ra3 {made_by} --fork`, or start from its model with --model {source / 'model'}",
        )
    if source.resolve() == target.resolve():
        raise UserError("a run cannot be forked into its own folder", where=str(source), fix="choose another run.name")
    with disk_errors(target, f"copy the run {source}"), ExitStack() as stack:
        stack.callback(FolderLock.take(source).release)
        for name in COPIED:
            if (source / name).is_dir():
                shutil.copytree(source / name, target / name, dirs_exist_ok=True)
            elif (source / name).exists():
                shutil.copy2(source / name, target / name)
