"""Numbers of a run: metrics.jsonl and rollouts.jsonl without clocks, timing.jsonl with them; see also GLOSSARY.

metrics.jsonl holds no wall-clock time, so the same seed gives the same bytes. A checkpoint stores `position()`; a
resumed run calls `truncate_to` with it, so that steps done again are not written twice.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

from ra3.config.tree import plain
from ra3.errors import UserError
from ra3.run.folder import Run
from ra3.run.glossary import GLOSSARY, Meaning

__all__ = ["GLOSSARY", "Meaning", "Metrics", "mend", "number", "read_lines"]

FILES = ("metrics.jsonl", "timing.jsonl", "rollouts.jsonl")
PLACE = ("stage", "round", "step")


class Metrics:
    """Appends lines to the three files of `run`; each line is on its way to disk when the call returns."""

    def __init__(self, run: Run, tensorboard: bool = False):
        self._run, self._started = run, time.monotonic()
        self._board = _tensorboard(run.path("tensorboard")) if tensorboard else None
        self._count: dict[str, int] = {}
        self._files: dict[str, FileIO] = {}
        with run.guard("open the metrics files"):
            for name in FILES:
                mend(run.path(name))
                self._files[name] = run.path(name).open("ab", buffering=0)

    def log(self, stage: str, em_round: int, step: int, values: Mapping[str, float]) -> None:
        """One line of metrics (numbers to 10 significant digits, NaN and infinities as strings) and one of timing."""
        place = {"stage": stage, "round": em_round, "step": step}
        assert not set(values) & set(PLACE), f"{PLACE} place a line and cannot be metrics: {sorted(values)}"
        numbers = {key: float(value) for key, value in values.items()}
        elapsed = {"elapsed_s": _round(time.monotonic() - self._started, 6), "unix_s": _round(time.time(), 14)}
        self._append("metrics.jsonl", {**place, **{key: _round(number) for key, number in numbers.items()}})
        self._append("timing.jsonl", {**place, "attempt": self._run.attempt, **elapsed})
        self._mirror(stage, numbers)

    def rollout(self, record: Mapping[str, Any]) -> None:
        """One rollout, as the run folder's format describes it."""
        self._append("rollouts.jsonl", plain(dict(record)))

    def position(self) -> dict[str, int]:
        """Byte offsets for a checkpoint; what lies before them is safe on disk when this returns."""
        with self._run.guard("write the metrics"):
            for file in self._files.values():
                os.fsync(file.fileno())
        return {name: os.fstat(file.fileno()).st_size for name, file in self._files.items()}

    def truncate_to(self, position: Mapping[str, int] | None) -> None:
        """Drop every line after the checkpoint's `position`; None or {} (no checkpoint) drops all lines.

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
        """Close the files; safe to call twice."""
        for file in self._files.values():
            file.close()
        if self._board:
            self._board.close()

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _append(self, name: str, record: dict) -> None:
        """Whole lines only: if the disk fills up in mid-line, the part that was written is taken back."""
        line = json.dumps(record, sort_keys=True, ensure_ascii=True, allow_nan=False).encode() + b"\n"
        file = self._files[name]
        with self._run.guard(f"write {name}"):
            before = os.fstat(file.fileno()).st_size
            try:
                written = file.write(line)
                while written < len(line):
                    written += file.write(line[written:])
            except OSError:
                with suppress(OSError):
                    os.ftruncate(file.fileno(), before)
                raise

    def _mirror(self, stage: str, numbers: dict[str, float]) -> None:
        if self._board:
            count = self._count[stage] = self._count.get(stage, -1) + 1
            for key, number in numbers.items():
                self._board.add_scalar(f"{stage}/{key}", number, count)


def read_lines(path: Path) -> Iterator[dict]:
    """The objects in a .jsonl file; nothing if there is no file. A half-written or broken line is passed over."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                yield record


def number(value: object) -> float:
    """A metric as a float: 0.5 -> 0.5, "nan" -> nan; anything that is not a number -> nan."""
    try:
        return float(value) if isinstance(value, (int, float, str)) else math.nan
    except (ValueError, OverflowError):
        return math.nan


def _round(value: float, digits: int = 10) -> float | str:
    return float(f"{value:.{digits}g}") if math.isfinite(value) else str(value)


def mend(path: Path) -> None:
    """Cuts a last line that a killed process left unfinished; nothing to do where there is no file."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            cut = file.read(end - start).rfind(b"\n")
            end = start + cut + 1
            if cut >= 0:
                break
        if end < size:
            file.truncate(end)


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(
            "TensorBoard is not installed", fix="pip install tensorboard, or leave the mirror off"
        ) from error
    return SummaryWriter(str(folder))
