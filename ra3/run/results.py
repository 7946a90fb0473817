"""The results of a run as small records: what evaluation measures, results.json keeps, and every table shows.

results.json holds one object, ``{"rows": [...], "problems": [...], "curves": {NAME: [...]}, "differences": [...],
"abstractions": [...]}``, each list of one kind of record below. Writing is `Results.to_json`; `Results.from_json` reads
it back and takes what others wrote as it comes: a record without its numbers is left out, and counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

Record = TypeVar("Record")


@dataclass(frozen=True)
class Score:
    """One number with its interval: ``Score("ra3", "edge", "pass@1", 0.93, 0.90, 0.95, problems=100, samples=20)``."""

    model: str
    band: str
    metric: str
    mean: float
    low: float = math.nan
    high: float = math.nan
    problems: int = 0
    """Problems or documents that the mean is taken over."""
    samples: int = 0
    """Samples for each problem; 0 where there are none."""


@dataclass(frozen=True)
class ProblemCount:
    """How one problem went: ``ProblemCount("ra3", "edge", "f-1", 20, 18, {"passed": 18, "wrong_answer": 2})``."""

    model: str
    band: str
    id: str
    judged: int
    """Samples with a verdict."""
    passed: int
    reasons: dict[str, int] = field(default_factory=dict)
    """How often each reason was given, also to samples that could not be judged."""


@dataclass(frozen=True)
class CurvePoint:
    """A point of a curve: ``CurvePoint("ra3", 2, 0.91, 0.88, 0.94)``."""

    model: str
    x: float
    mean: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Difference:
    """A paired difference a - b: ``Difference("ra3", "ntp", "edge", "pass@1", 0.52, 0.42, 0.61)``."""

    a: str
    b: str
    band: str
    metric: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class LatentEntry:
    """What the latents that end in one word are about."""

    word: str
    count: int
    comments: int
    """Different comments among them."""
    example: str
    code: str
    """The code that follows most often."""
    code_share: float
    """Share of the latents that it follows."""
    right_share: float | None = None
    """Share that is the true intention, where a document knows it."""


@dataclass(frozen=True)
class Results:
    """Everything that was measured in one run."""

    scores: list[Score] = field(default_factory=list)
    problems: list[ProblemCount] = field(default_factory=list)
    curves: dict[str, list[CurvePoint]] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    latents: list[LatentEntry] = field(default_factory=list)

    @classmethod
    def merge(cls, parts: Iterable[Results]) -> Self:
        """The records of all parts, one after the other."""
        whole = cls()
        for part in parts:
            whole.scores.extend(part.scores)
            whole.problems.extend(part.problems)
            whole.differences.extend(part.differences)
            whole.latents.extend(part.latents)
            for name, points in part.curves.items():
                whole.curves.setdefault(name, []).extend(points)
        return whole

    def to_json(self) -> dict[str, Any]:
        """The object that results.json holds."""
        return {
            "rows": [asdict(score) for score in self.scores],
            "problems": [asdict(count) for count in self.problems],
            "curves": {name: [asdict(point) for point in points] for name, points in self.curves.items()},
            "differences": [asdict(difference) for difference in self.differences],
            "abstractions": [asdict(entry) for entry in self.latents],
        }

    @classmethod
    def from_json(cls, value: Any) -> tuple[Self, int]:
        """(the records of such an object, how many things in it were none). Never raises."""
        found, tree = cls(), value if isinstance(value, Mapping) else {"rows": value}
        curves = tree.get("curves", {})
        lists: list[tuple[list, type, Any]] = [
            (found.scores, Score, tree.get("rows", [])),
            (found.problems, ProblemCount, tree.get("problems", [])),
            (found.differences, Difference, tree.get("differences", [])),
            (found.latents, LatentEntry, tree.get("abstractions", [])),
        ]
        for name, points in (curves if isinstance(curves, Mapping) else {"": None}).items():
            lists.append((found.curves.setdefault(str(name), []), CurvePoint, points))
        refused = sum(_add_records(*own) for own in lists)
        return found, refused


def _add_records(records: list[Record], kind: type[Record], values: Any) -> int:
    """Adds the values that are records of this kind; returns how many are none."""
    if not isinstance(values, list):
        return 1
    adapter, before = TypeAdapter(kind), len(records)
    for value in values:
        with suppress(ValidationError):
            records.append(adapter.validate_python(value))
    return len(values) - (len(records) - before)
