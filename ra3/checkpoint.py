"""Checkpoints: what a run has finished, and how far it is in what it has not.

A run is a sequence of named stages ("estep-0", "annotate-0", "mstep-0", ...). The output of a finished stage is kept
for good; inside a stage the state after a step is saved now and then, the last two kept. `checkpoints/manifest.json` is
the commit point: a file counts once it is written, synced and listed there with its checksum. No random-number state is
saved because there is none: every seed is derived from the run's seed and the place it is used at.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ra3.disk import write_atomic
from ra3.errors import UserError
from ra3.runs import Run

KEPT_STEPS = 2


@dataclass(frozen=True)
class Entry:
    """One saved file."""

    stage: str
    step: int | None
    """Steps done; None for the output of a finished stage."""
    file: str
    sha256: str
    position: dict[str, int]
    """Bytes of the metrics files at this moment."""


class Checkpoints:
    """The checkpoints of one run folder."""

    def __init__(self, run: Run):
        self._run = run
        self._folder = run.path("checkpoints")
        with run.guard("open the checkpoints"):
            self._folder.mkdir(exist_ok=True)
        self.entries = self._intact(self._read_manifest())

    @property
    def position(self) -> dict[str, int] | None:
        """Bytes of the metrics files when the newest intact checkpoint was made; None where there is none."""
        return self.entries[-1].position if self.entries else None

    def output(self, stage: str) -> dict[str, Any] | None:
        """The output of a finished stage, or None."""
        entry = next((e for e in self.entries if e.stage == stage and e.step is None), None)
        return self._load(entry) if entry else None

    def newest_step(self, stage: str) -> tuple[int, dict[str, Any]] | None:
        """(steps done, state) of the newest checkpoint inside `stage`, or None."""
        entries = [e for e in self.entries if e.stage == stage and e.step is not None]
        return (entries[-1].step or 0, self._load(entries[-1])) if entries else None

    def save(self, stage: str, step: int | None, state: dict[str, Any], position: dict[str, int]) -> None:
        """Saves the state after `step` steps of `stage`, or its output (step None, which retires its steps)."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        data = buffer.getvalue()
        name = f"{stage}.pt" if step is None else f"{stage}.step-{step:06d}.pt"
        entry = Entry(stage, step, name, hashlib.sha256(data).hexdigest(), position)
        with self._run.guard("save a checkpoint"):
            write_atomic(self._folder / name, data)
            kept = [e for e in self.entries if e.file != name]
            retired = [e for e in kept if e.stage == stage and e.step is not None]
            retired = retired if step is None else retired[: 1 - KEPT_STEPS]
            self.entries = [e for e in kept if e not in retired] + [entry]
            self._write_manifest()
            for old in retired:
                (self._folder / old.file).unlink(missing_ok=True)

    def _load(self, entry: Entry) -> dict[str, Any]:
        return torch.load(self._folder / entry.file, map_location="cpu", weights_only=True)

    def _intact(self, entries: list[Entry]) -> list[Entry]:
        """The entries up to the first one whose file is missing or damaged, unless only a step checkpoint is hurt."""
        good: list[Entry] = []
        for entry in entries:
            if self._matches(entry):
                good.append(entry)
            elif entry.step is None:
                raise UserError(
                    f"the saved output of stage {entry.stage} is missing or damaged",
                    where=str(self._folder / entry.file),
                    fix="restore the file, or start afresh under another name (run.name)",
                )
            else:
                self._run.log(f"checkpoint {entry.file} is damaged and was passed over")
        return good

    def _matches(self, entry: Entry) -> bool:
        path = self._folder / entry.file
        return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256

    def _read_manifest(self) -> list[Entry]:
        path = self._folder / "manifest.json"
        return [Entry(**e) for e in json.loads(path.read_text())] if path.exists() else []

    def _write_manifest(self) -> None:
        text = json.dumps([asdict(e) for e in self.entries], indent=1)
        write_atomic(Path(self._folder / "manifest.json"), text.encode())
