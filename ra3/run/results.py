"""The results of a run as small records - what evaluation measures and results.json keeps - and the tables of them.

results.json holds one object, ``{"rows": [...], "problems": [...], "curves": {NAME: [...]}, "differences": [...],
"abstractions": [...], "codes": [...], "left_out": {ID: reason}}``, each list of one kind of record below. A table has
no renderer: the terminal, the report and comparisons show the same one, in which every number is written once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

MODELS = ("base", "ntp", "ra3", "ntp+rlvr", "ra3+rlvr")
ORDERS = {"model": MODELS, "band": ("known", "edge", "hard"), "metric": ()}
"""How names of each kind are ordered; others follow as they are found."""
LABELS = {"base": "base", "ntp": "NTP", "ra3": "RA3", "rlvr": "RLVR"}
SHARES = ("_rate", "_share", "_right", "f1", "precision", "recall", "accuracy", "changes_code")
"""How metrics end that lie in [0, 1]."""


@dataclass(frozen=True)
class Score:
    """One number with its interval: ``Score("ra3", "edge", "pass@1", 0.93, 0.90, 0.95, problems=100, samples=20)``."""

    model: str
    band: str
    metric: str
    mean: float
    low: float = math.nan
    high: float = math.nan
    problems: int = 0  # or documents that the mean is taken over
    samples: int = 0  # for each problem; 0 where there are none
    unjudged: int = 0  # samples without a verdict: `mean` counts them as failed and is the least that it can be
    most: float = math.nan  # what the mean would be if all of them had passed


@dataclass(frozen=True)
class ProblemCount:
    """How one problem went: ``ProblemCount("ra3", "edge", "f-1", 20, 18, {"passed": 18, "wrong_answer": 2})``."""

    model: str
    band: str
    id: str
    judged: int  # samples with a verdict
    passed: int
    reasons: dict[str, int] = field(default_factory=dict)  # of all samples, those that could not be judged among them

    @property
    def unjudged(self) -> int:
        """Samples without a verdict."""
        return self.reasons.get("infra", 0)


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
    comments: int  # different comments among them
    example: str
    code: str  # the code that follows most often
    code_share: float  # share of the latents that it follows
    right_share: float | None = None  # share that is the true intention, where a document knows it


@dataclass(frozen=True)
class AnnotatedCode:
    """A held-out document and what a model wrote into it: ``AnnotatedCode("ra3", "a.py", "# go\\nx\\n", [(0, 5)])``."""

    model: str
    document: str
    text: str
    latents: list[tuple[int, int]]  # where the intentions stand, in characters of the text
    gains: list[float] = field(default_factory=list)  # bits that each saves on the lines from it to the next one
    context: str = ""  # what was read before the text


LISTS: dict[str, tuple[str, type]] = {
    "scores": ("rows", Score), "problems": ("problems", ProblemCount), "differences": ("differences", Difference),
    "latents": ("abstractions", LatentEntry), "codes": ("codes", AnnotatedCode),
}  # fmt: skip
"""Lists of records: field of `Results` -> key in results.json, kind of record."""


@dataclass(frozen=True)
class Results:
    """Everything that was measured in one run."""

    scores: list[Score] = field(default_factory=list)
    problems: list[ProblemCount] = field(default_factory=list)
    curves: dict[str, list[CurvePoint]] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    latents: list[LatentEntry] = field(default_factory=list)
    codes: list[AnnotatedCode] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # problems that are not scored, by id, and why

    @classmethod
    def merge(cls, parts: Iterable[Results]) -> Self:
        """The records of all parts, one after the other."""
        whole = cls()
        for part in parts:
            for name in LISTS:
                getattr(whole, name).extend(getattr(part, name))
            whole.left_out.update(part.left_out)
            for name, points in part.curves.items():
                whole.curves.setdefault(name, []).extend(points)
        return whole

    def to_json(self) -> dict[str, Any]:
        """The object that results.json holds."""
        tree = asdict(self)
        lists = {key: tree[name] for name, (key, _) in LISTS.items()}
        return lists | {"curves": tree["curves"], "left_out": tree["left_out"]}

    @classmethod
    def from_json(cls, value: Any) -> tuple[Self, int]:
        """(the records of such an object, how many things in it were none and are left out). Never raises."""
        tree = value if isinstance(value, Mapping) else {"rows": value}
        curves = tree.get("curves", {})
        curves = curves if isinstance(curves, Mapping) else {"": None}
        left_out = tree.get("left_out", {})
        left_out = {str(k): str(v) for k, v in left_out.items()} if isinstance(left_out, Mapping) else {}
        found, refused = cls(curves={str(name): [] for name in curves}, left_out=left_out), 0
        lists = [(getattr(found, name), kind, tree.get(key, [])) for name, (key, kind) in LISTS.items()]
        lists += [(found.curves[str(name)], CurvePoint, points) for name, points in curves.items()]
        for records, kind, values in lists:
            adapter = TypeAdapter(kind)
            for value in values if isinstance(values, list) else [None]:
                try:
                    records.append(adapter.validate_python(value))
                except ValidationError:
                    refused += 1
        return found, refused


@dataclass(frozen=True)
class Cell:
    """A number with its interval, ``Cell("61.3", "57.0", "65.2")``, or a text alone, ``Cell("finished")``."""

    text: str = ""
    low: str = ""
    high: str = ""
    note: str = ""  # what stands after the number
    model: str = ""  # the model that the cell is about, where a renderer may show its colour
    trend: str = ""  # "up" or "down" for a difference whose interval leaves out 0
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

    def aligned(self, width: float = math.inf) -> str:
        """Heads and rows as columns of plain text, columns of numbers to the right; columns for which `width`
        characters are too few stand below, behind the first one again."""
        columns = []
        for head, *cells in zip(*([str(cell) for cell in line] for line in (self.heads, *self.rows)), strict=True):
            own = max(map(len, (head, *cells)))
            side = str.rjust if all(cell[:1] in "-0123456789" for cell in cells) else str.ljust
            columns.append([side(cell, own) for cell in (head, *cells)])
        blocks = [columns[:2]]
        for column in columns[2:]:
            if sum(len(other[0]) + 2 for other in blocks[-1]) + len(column[0]) > width:
                blocks.append(columns[:1])
            blocks[-1] = [*blocks[-1], column]
        lines = (("  ".join(line).rstrip() for line in zip(*block, strict=True)) for block in blocks)
        return "\n\n".join(map("\n".join, lines))

    def markdown(self) -> str:
        """Heads and rows as a table of Markdown."""
        lines = [self.heads, ["---"] * len(self.heads), *self.rows]
        return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def result_tables(scores: Iterable[Score]) -> list[Table]:
    """pass@k: a table for each k, smallest first, models down and bands across. Other metrics: a table for each band,
    metrics down and models across."""
    scores = [score for score in scores if math.isfinite(score.mean)]
    passes = sorted({s.metric for s in scores if s.metric.startswith("pass@")}, key=lambda k: (len(k), k))
    others = [score for score in scores if score.metric not in passes]
    tables = [_result_table(k, [s for s in scores if s.metric == k], "model", "band") for k in passes]
    for band in dict.fromkeys(score.band for score in others):
        tables.append(_result_table(band, [s for s in others if s.band == band], "metric", "model"))
    return tables


def _result_table(title: str, scores: Sequence[Score], down: str, across: str) -> Table:
    def head(key: str, name: str) -> Cell:
        if key == "model":
            return Cell(label(name), model=name)
        return Cell(name.replace("_", " ") + (", %" if key == "metric" and is_share(name) else ""))

    lines, columns = (in_order((getattr(s, key) for s in scores), ORDERS[key]) for key in (down, across))
    cells = {}
    for score in scores:
        peers = [s for s in scores if s.metric == score.metric]
        cells[getattr(score, down), getattr(score, across)] = _score_cell(score, peers)
    rows = [[head(down, line), *(cells.get((line, column), Cell("-")) for column in columns)] for line in lines]
    unit, noun = (", in percent", "problems each") if across == "band" else ("", "items each")
    counts = (([s.problems for s in scores], noun), ([s.samples for s in scores], "samples a problem"))
    sizes = [_range(min(own), max(own), words) for own, words in counts if max(own)] or ["sizes not recorded"]
    heads = [Cell(), *(head(across, column) for column in columns)]
    return Table(f"{title}{unit}, with 95% interval; {', '.join(sizes)}.", heads, rows)


def _range(least: int, most: int, words: str) -> str:
    """`100 problems each`, or `50 to 100 problems each`."""
    return f"{least:,} {words}" if least == most else f"{least:,} to {most:,} {words}"


def _score_cell(score: Score, peers: Sequence[Score]) -> Cell:
    """A score without an interval where it has none. The track that intervals are drawn on is 0 to 1 for shares; for
    other metrics it holds those of all `peers`, and 0."""
    mean, low, high = (number_text(score.metric, value) for value in (score.mean, score.low, score.high))
    note = f"at least; at most {number_text(score.metric, score.most)}, {score.unjudged} without a verdict"
    note = note if score.unjudged else ""
    if not score.low < score.high:
        return Cell(mean, note=note, model=score.model)
    ends = [value for s in peers for value in (s.mean, s.low, s.high) if math.isfinite(value)]
    start, end = (0.0, 1.0) if is_share(score.metric) else (min(0.0, *ends), max(0.0, *ends))
    low_at, mean_at, high_at = ((value - start) / (end - start) for value in (score.low, score.mean, score.high))
    return Cell(mean, low, high, note, score.model, span=(low_at, mean_at, high_at))


def is_share(metric: str) -> bool:
    """Whether the metric lies in [0, 1] and is read in percent."""
    return metric.startswith("pass@") or metric.endswith(SHARES)


def number_text(metric: str, value: float) -> str:
    """A share in percent with one decimal, another metric in few digits."""
    return f"{100 * value:.1f}" if is_share(metric) and math.isfinite(value) else f"{value:.4g}"


def in_order(names: Iterable[str], known: Sequence[str] = MODELS) -> list[str]:
    """Distinct names, first those that are known (base, NTP, RA3, then these after RLVR), then others as found."""
    return sorted(dict.fromkeys(names), key=lambda name: known.index(name) if name in known else len(known))


def label(model: str) -> str:
    """A model's name for people: "ra3+rlvr" -> "RA3 + RLVR"."""
    return " + ".join(LABELS.get(part, part) for part in model.split("+"))
