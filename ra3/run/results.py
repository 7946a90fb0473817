"""The results of a run as small records: what evaluation measures, results.json keeps, and every table shows.

results.json holds one object, ``{"rows": [...], "problems": [...], "curves": {NAME: [...]}, "differences": [...],
"abstractions": [...]}``, each list of one kind of record below. Writing is `Results.to_json`; `Results.from_json` reads
it back and takes what others wrote as it comes: a record without its numbers is left out, and counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

Record = TypeVar("Record")
MODELS = ("base", "ntp", "ra3", "ntp+rlvr", "ra3+rlvr")
ORDERS = {"model": MODELS, "band": ("known", "edge", "hard"), "metric": ()}
"""How names of each kind are ordered; others follow as they are found."""
LABELS = {"base": "base", "ntp": "NTP", "ra3": "RA3", "rlvr": "RLVR"}


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


@dataclass(frozen=True)
class Cell:
    """A number with its interval, ``Cell("61.3", "57.0", "65.2")``, or a text alone, ``Cell("finished")``."""

    text: str = ""
    low: str = ""
    high: str = ""
    note: str = ""
    """What stands after the number."""
    model: str = ""
    """The model that the cell is about, where a renderer may show its colour."""
    trend: str = ""
    """"up" or "down" for a difference whose interval leaves out 0."""
    span: tuple[float, float, float] | None = None
    """Low, mean and high from 0 to 1 on the scale of the row, where a renderer may draw the interval."""

    def __str__(self) -> str:
        interval = f" [{self.low}, {self.high}]" if self.low else ""
        return f"{self.text}{interval}{'; ' if self.note else ''}{self.note}"


@dataclass(frozen=True)
class Table:
    """Rows of cells below their heads; the first cell of a row is its head."""

    title: str
    heads: Sequence[Cell | str]
    rows: Sequence[Sequence[Cell | str]]
    intro: str = ""

    def sides(self) -> list[Literal["left", "right"]]:
        """The side of each column on which its cells stand: numbers to the right."""
        columns = zip(*([str(cell) for cell in row] for row in self.rows), strict=True)
        numeric = [all(cell[:1] in "-0123456789" for cell in column) for column in columns]
        return ["right" if is_numeric else "left" for is_numeric in numeric]

    def aligned(self) -> str:
        """Heads and rows as columns of plain text."""
        lines = [[str(cell) for cell in line] for line in (self.heads, *self.rows)]
        columns = []
        for column, side in zip(zip(*lines, strict=True), self.sides(), strict=True):
            width = max(map(len, column))
            columns.append([cell.rjust(width) if side == "right" else cell.ljust(width) for cell in column])
        return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))

    def markdown(self) -> str:
        """Heads and rows as a table of Markdown."""
        lines = [self.heads, ["---"] * len(self.heads), *self.rows]
        return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def result_tables(scores: Iterable[Score]) -> list[Table]:
    """pass@k: a table for each k, smallest first, models down and bands across. Other metrics: a table for each band,
    metrics down and models across."""
    scores = [score for score in scores if math.isfinite(score.mean)]
    passes = {s.metric: None for s in scores if s.metric.startswith("pass@")}
    by_k = [
        _result_table(k, [s for s in scores if s.metric == k], by_band=True)
        for k in sorted(passes, key=lambda metric: (len(metric), metric))
    ]
    others = [score for score in scores if score.metric not in passes]
    return by_k + [
        _result_table(band, [s for s in others if s.band == band], by_band=False)
        for band in dict.fromkeys(score.band for score in others)
    ]


def _result_table(title: str, scores: Sequence[Score], by_band: bool) -> Table:
    down, across = ("model", "band") if by_band else ("metric", "model")
    lines, columns = (in_order((getattr(s, key) for s in scores), ORDERS[key]) for key in (down, across))
    of_metric = {score.metric: [s for s in scores if s.metric == score.metric] for score in scores}
    cells = {(getattr(s, down), getattr(s, across)): score_cell(s, scale_of(of_metric[s.metric])) for s in scores}
    rows = [[_head(down, line), *(cells.get((line, column), Cell("-")) for column in columns)] for line in lines]
    unit, noun = (", in percent", "problems") if by_band else ("", "items")
    heads = [Cell(), *(_head(across, column) for column in columns)]
    return Table(f"{title}{unit}, with 95% interval; {_sizes(scores, noun)}.", heads, rows)


def _head(key: str, name: str) -> Cell:
    if key == "model":
        return Cell(label(name), model=name)
    return Cell(f"{name.replace('_', ' ')}, %" if key == "metric" and is_share(name) else name.replace("_", " "))


def score_cell(score: Score, scale: tuple[float, float]) -> Cell:
    """A score: shares in percent, other metrics as they are; without an interval where it has none. `scale`: the values
    at both ends of the track that the interval is drawn on."""
    mean, low, high = (number_text(score.metric, value) for value in (score.mean, score.low, score.high))
    if not score.low < score.high:
        return Cell(mean, model=score.model)
    start, length = scale[0], (scale[1] - scale[0]) or 1.0
    low_at, mean_at, high_at = ((value - start) / length for value in (score.low, score.mean, score.high))
    return Cell(mean, low, high, model=score.model, span=(low_at, mean_at, high_at))


def scale_of(scores: Sequence[Score]) -> tuple[float, float]:
    """The track that intervals of one metric are drawn on: 0 to 1 for shares, else from 0 or below to the highest."""
    if is_share(scores[0].metric):
        return 0.0, 1.0
    ends = [value for s in scores for value in (s.mean, s.low, s.high) if math.isfinite(value)]
    return min(0.0, *ends), max(0.0, *ends)


def _sizes(scores: Sequence[Score], noun: str) -> str:
    """`100 problems each, 20 samples a problem`, or a range where the scores differ."""
    parts = []
    counted = ([score.problems for score in scores], f"{noun} each"), ([s.samples for s in scores], "samples a problem")
    for counts, words in counted:
        least, most = min(counts), max(counts)
        if most:
            parts.append(f"{least:,} {words}" if least == most else f"{least:,} to {most:,} {words}")
    return ", ".join(parts) or "sizes not recorded"


def is_share(metric: str) -> bool:
    """Whether the metric lies in [0, 1] and is read in percent."""
    names = ("f1", "precision", "recall", "accuracy", "copy_rate", "think_rate", "changes_code")
    return metric.startswith("pass@") or metric.endswith(("_rate", "_share", "_right", *names))


def number_text(metric: str, value: float) -> str:
    """A share in percent with one decimal, another metric in few digits."""
    return f"{100 * value:.1f}" if is_share(metric) and math.isfinite(value) else f"{value:.4g}"


def in_order(names: Iterable[str], known: Sequence[str] = MODELS) -> list[str]:
    """Distinct names, first those that are known (base, NTP, RA3, then these after RLVR), then others as found."""
    return sorted(dict.fromkeys(names), key=lambda name: known.index(name) if name in known else len(known))


def label(model: str) -> str:
    """A model's name for people: "ra3+rlvr" -> "RA3 + RLVR"."""
    return " + ".join(LABELS.get(part, part) for part in model.split("+"))
