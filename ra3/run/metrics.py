"""Numbers of a run: metrics.jsonl and rollouts.jsonl; what each number means is in ra3/run/glossary.py.

Neither file holds a wall-clock time, so the same seed gives the same bytes (ledger.jsonl has the time). A checkpoint
stores `position()`; a resumed run calls `truncate_to` with it, so that steps done again are not written twice.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from io import FileIO
from typing import Any

from ra3.config.tree import plain
from ra3.errors import UserError
from ra3.run.files import append_line
from ra3.run.folder import Run

FILES = ("metrics.jsonl", "rollouts.jsonl")
PLACE = ("stage", "round", "step")


class Metrics:
    """Appends lines to the two files of `run`; each line is on its way to disk when the call returns."""

    def __init__(self, run: Run):
        self._run = run
        with run.guard("open the metrics files"):
            self._files: dict[str, FileIO] = {name: run.path(name).open("ab", buffering=0) for name in FILES}

    def log(self, stage: str, em_round: int, step: int, values: Mapping[str, float]) -> None:
        """One line of metrics: numbers to 10 significant digits, NaN and infinities as strings."""
        assert not set(values) & set(PLACE), f"{PLACE} place a line and cannot be metrics: {sorted(values)}"
        numbers = {key: _rounded(float(value)) for key, value in values.items()}
        self._append("metrics.jsonl", {"stage": stage, "round": em_round, "step": step, **numbers})

    def rollout(self, record: Mapping[str, Any]) -> None:
        """One rollout, as ra3/rl/rollout_records.py makes it."""
        self._append("rollouts.jsonl", plain(dict(record)))

    def position(self) -> dict[str, int]:
        """Byte offsets for a checkpoint; what lies before them is safe on disk when this returns."""
        with self._run.guard("write the metrics"):
            for file in self._files.values():
                os.fsync(file.fileno())
        return {name: os.fstat(file.fileno()).st_size for name, file in self._files.items()}

    def truncate_to(self, position: Mapping[str, int] | None) -> None:
        """Drops every line after the checkpoint's `position`; None or {} (no checkpoint) drops all lines.

        Raises UserError if a file is shorter than the checkpoint says: then lines are missing that cannot be remade.
        """
        wanted = {name: int((position or {}).get(name, 0)) for name in FILES}
        for name, file in self._files.items():
            if (size := os.fstat(file.fileno()).st_size) < wanted[name]:
                raise UserError(
                    f"the file has {size} bytes, the checkpoint was made when it had {wanted[name]}",
                    where=str(self._run.path(name)),
                    fix="restore the file, or start afresh under another name (run.name)",
                )
        for name, file in self._files.items():
            os.ftruncate(file.fileno(), wanted[name])

    def close(self) -> None:
        """Closes the files; safe to call twice."""
        for file in self._files.values():
            file.close()

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _append(self, name: str, record: Mapping[str, Any]) -> None:
        with self._run.guard(f"write {name}"):
            append_line(self._files[name], record)


def _rounded(value: float) -> float | str:
    return float(f"{value:.10g}") if math.isfinite(value) else str(value)
