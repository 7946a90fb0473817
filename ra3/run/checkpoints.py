"""Checkpoints: what a run has finished, and how far it is in what it has not.

A run is a sequence of named stages ("estep-0", "annotate-0.00000", "mstep-0", ...). The output of a finished stage is
kept for good; inside a stage the state after a step is saved now and then, and the last two checkpoints are there.
`checkpoints/manifest.json` is the commit point: a file counts once it is written, synced and listed there with its
checksum; the list before it stays as `manifest.old.json`. No random-number state is saved because there is none: every
seed is derived from the run's seed and the place it is used at. What is damaged is passed over and done again.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict
from typing import Any

import torch

from ra3.run.files import remove_litter, write_atomic
from ra3.run.folder import Run
from ra3.run.manifest import MANIFEST, OLD_MANIFEST, Entry, intact, read_manifest


class Checkpoints:
    """The checkpoints of one run folder. `warnings`: what was found damaged, and from where the run goes on instead."""

    def __init__(self, run: Run):
        self._run = run
        self._folder = run.path("checkpoints")
        self.warnings: list[str] = []
        with run.guard("open the checkpoints"):
            self._folder.mkdir(exist_ok=True)
            remove_litter(self._folder)
            listed, trouble = read_manifest(self._folder)
            self.entries, damaged = intact(self._folder, listed)
        if trouble or damaged:
            found = [f"checkpoints/{name} is missing or damaged" for name in [*trouble, *damaged]]
            self.warnings.append(f"{'; '.join(found)}; the run goes on from {self._newest()}")

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
        """Saves the state after `step` steps of `stage`, or its output (step None).

        The checkpoint before it is kept, older ones inside stages are removed.
        """
        buffer = io.BytesIO()
        torch.save(state, buffer)
        data = buffer.getbuffer()
        name = f"{stage}.pt" if step is None else f"{stage}.step-{step:06d}.pt"
        entry = Entry(stage, step, name, hashlib.sha256(data).hexdigest(), position)
        with self._run.guard("save a checkpoint"):
            write_atomic(self._folder / name, data)
            kept = [e for e in self.entries if e.file != name]
            retired = [e for e in kept if e.step is not None and (e.stage != stage or e is not kept[-1])]
            self.entries = [e for e in kept if e not in retired] + [entry]
            self._write_manifest()
            for old in retired:
                (self._folder / old.file).unlink(missing_ok=True)

    def _load(self, entry: Entry) -> dict[str, Any]:
        return torch.load(self._folder / entry.file, map_location="cpu", weights_only=True)

    def _newest(self) -> str:
        if not self.entries:
            return "its beginning"
        newest = self.entries[-1]
        return f"the end of {newest.stage}" if newest.step is None else f"step {newest.step} of {newest.stage}"

    def _write_manifest(self) -> None:
        text = json.dumps([asdict(e) for e in self.entries], indent=1)
        path = self._folder / MANIFEST
        if path.exists():
            path.replace(self._folder / OLD_MANIFEST)
        write_atomic(path, text.encode())
