"""Numbers of a run: the files that hold them, what each one means, and the alarms of those that are sick.

Neither file holds a wall-clock time, so the same seed gives the same bytes (ledger.jsonl has the time). A checkpoint
stores `position()`; a resumed run calls `truncate_to` with it, so that steps done again are not written twice.
What a number means and when it is sick stands in `metrics.toml`.
"""

import math
import os
import tomllib
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from ra3.run.files import append_line, number, to_json
from ra3.run.folder import Run

FILES = ("metrics.jsonl", "rollouts.jsonl")
PLACE = ("stage", "round", "step")
MUST_BE_FINITE = ("loss", "grad_norm", "nll_total")
"""Metrics that alarm at once when they are not."""


class Metrics:
    """Appends lines to the two files of `run`; each line is on its way to disk when the call returns."""

    def __init__(self, run: Run):
        self._run = run
        with run.guard("open the metrics files"):
            self._files: dict[str, FileIO] = {name: run.path(name).open("ab", buffering=0) for name in FILES}

    def log(self, stage: str, em_round: int, step: int, values: Mapping[str, float]) -> None:
        """One line of metrics: numbers to 10 significant digits, NaN and infinities as strings."""
        assert not set(values) & set(PLACE), f"{PLACE} place a line and cannot be metrics: {sorted(values)}"
        numbers = {key: to_json(float(f"{float(value):.10g}")) for key, value in values.items()}
        self._append("metrics.jsonl", {"stage": stage, "round": em_round, "step": step, **numbers})

    def rollout(self, record: Mapping[str, Any]) -> None:
        """One rollout, as `rollout_records` in ra3/rl/loop.py makes it."""
        self._append("rollouts.jsonl", to_json(dict(record)))

    def position(self) -> dict[str, int]:
        """Byte offsets for a checkpoint; what lies before them is safe on disk when this returns."""
        with self._run.guard("write the metrics"):
            for file in self._files.values():
                os.fsync(file.fileno())
        return self.sizes()

    def truncate_to(self, position: Mapping[str, int]) -> None:
        """Drops every line after the checkpoint's `position`, if that is there; {} (no checkpoint) drops all."""
        for name, file in self._files.items():
            os.ftruncate(file.fileno(), position.get(name, 0))

    def close(self) -> None:
        """Closes the files; safe to call twice."""
        for file in self._files.values():
            file.close()

    def sizes(self) -> dict[str, int]:
        """Bytes of each of the two files."""
        return {name: os.fstat(file.fileno()).st_size for name, file in self._files.items()}

    def _append(self, name: str, record: Mapping[str, Any]) -> None:
        with self._run.guard(f"write {name}"):
            append_line(self._files[name], record)


class Alarm(NamedTuple):
    """When a metric is sick: above or below a bound, or below a share of its first value above 0."""

    above: float = math.inf
    above_bfloat16: float | None = None  # in place of `above` where the model computes in bfloat16
    below: float = -math.inf
    below_first: float = 0.0
    stage: str = ""  # the only stage in which that is sick; any if empty
    patience: int = 3  # steps in a row for which it must hold


class Meaning(NamedTuple):
    """What a metric means, and how it reads when all is well and when it is not."""

    meaning: str
    healthy: str
    sick: str
    alarm: Alarm | None = None


_text = Path(__file__).with_name("metrics.toml").read_text(encoding="utf-8")
GLOSSARY = TypeAdapter(dict[str, Meaning]).validate_python(tomllib.loads(_text))


class Alarms:
    """Says once, in words, that a metric of a stage is sick. Feed it every step; it returns new warnings only."""

    def __init__(self, dtype: object = "float32"):
        """dtype: the number format that the model computes in, as run.dtype names it."""
        self._is_bfloat16 = dtype == "bfloat16"
        self._said: set[tuple[str, str]] = set()
        self._sick_steps: dict[tuple[str, str], int] = {}
        self._first: dict[tuple[str, str], float] = {}

    def check(self, stage: str, values: Mapping[str, object]) -> list[str]:
        """Warnings that have become true with this step. A missing number never alarms."""
        fresh = [(key, number(value)) for key, value in values.items() if (stage, key) not in self._said]
        found = {key: text for key, value in fresh if (text := self._warning(stage, key, value))}
        self._said |= {(stage, key) for key in found}
        return list(found.values())

    def _warning(self, stage: str, key: str, value: float) -> str:
        if key in MUST_BE_FINITE and not math.isfinite(value):
            return f"{stage}: {key} is not finite. Lower the learning rate."
        if key not in GLOSSARY or not (alarm := GLOSSARY[key].alarm):
            return ""
        place, known = (stage, key), GLOSSARY[key]
        if value > 0:
            self._first.setdefault(place, value)
        lowest = max(alarm.below, alarm.below_first * self._first.get(place, 0.0))
        highest = alarm.above_bfloat16 or alarm.above if self._is_bfloat16 else alarm.above
        sick = (value > highest or value < lowest) and alarm.stage in ("", stage)
        self._sick_steps[place] = self._sick_steps.get(place, 0) + 1 if sick else 0
        if self._sick_steps[place] < alarm.patience:
            return ""
        first = f", at first {self._first[place]:.3g}" if alarm.below_first and place in self._first else ""
        return f"{stage}: {key} is {value:.3g}{first}. Healthy: {known.healthy}. Sick: {known.sick}."
