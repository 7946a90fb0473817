"""What the report shows, as records: one run, or the runs of a folder and the results of all of them together."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ra3.errors import UserError
from ra3.run.folder import refuse_other_format
from ra3.run.inspect import MARKS, InspectedRun, MetricLine, StageRollouts, inspect_run, is_run, read_rollouts
from ra3.run.results import CurvePoint, Results, in_order

Record = TypeVar("Record")
OTHERS = ("s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8")
"""CSS variables of the colours of models that are none of the demo's."""


@dataclass(frozen=True)
class System:
    """One run under the name that results give its model: System("ra3+rlvr", the run in runs/demo/ra3-rlvr, ...)."""

    name: str
    run: InspectedRun
    stages: dict[str, list[MetricLine]]
    rollouts: dict[str, StageRollouts]


@dataclass(frozen=True)
class View:
    """Everything the page shows."""

    title: str
    folder: Path
    systems: list[System]
    results: Results
    """Of all runs; every score, difference and point of a curve once."""
    troubles: list[str]
    """Sentences about what could not be read."""
    colours: dict[str, str]
    """model -> CSS variable, for every system and every model in the results."""


def read_view(folder: Path) -> View:
    """Reads `folder`; UserError if there is no run in it, or one of another format."""
    if not folder.is_dir():
        raise UserError("there is no such run folder", where=str(folder), fix=_neighbours(folder))
    names = {path: system_name(path.name) for path in sorted(folder.iterdir()) if path.is_dir() and is_run(path)}
    inner = [path for name in in_order(names.values()) for path, own in names.items() if own == name]
    if not inner and not is_run(folder):
        raise UserError(
            f"this folder holds no run: none of {', '.join(MARKS)} is there",
            where=str(folder),
            fix="name a run folder, or a folder of run folders",
        )
    for path in (folder, *inner):
        refuse_other_format(path)
    runs = [inspect_run(path) for path in inner]
    outer = inspect_run(folder) if is_run(folder) else None
    shown = [outer, *runs] if outer and (outer.metrics or not runs) else runs
    read = [outer, *runs] if outer else runs  # the outer folder's word goes before its runs'
    systems = [
        System(names.get(run.folder) or _lone_name(run), run, run.stages, read_rollouts(run.folder)) for run in shown
    ]
    results = _unique_results(run.results for run in read)
    measured = [*results.scores, *(point for points in results.curves.values() for point in points)]
    models = [*(system.name for system in systems), *(record.model for record in measured)]
    troubles = [f"{run.folder.resolve().name}/{trouble}" for run in read for trouble in run.troubles]
    return View(folder.resolve().name, folder, systems, results, troubles, colour_names(in_order(models)))


def system_name(folder_name: str) -> str:
    """The name that results use: "ra3-rlvr" -> "ra3+rlvr"."""
    stem = folder_name.removesuffix("-rlvr").removesuffix("+rlvr")
    return folder_name if stem == folder_name else f"{stem}+rlvr"


def value_text(value: float) -> str:
    """A number in few digits with a true minus sign."""
    return f"{value:.4g}".replace("-", "\u2212")


def is_after_rlvr(model: str) -> bool:
    """Whether a model's name says that RLVR came after its mid-training."""
    return model.endswith("+rlvr")


def colour_names(models: Iterable[str]) -> dict[str, str]:
    """model -> CSS variable: one each for base, NTP and RA3, then s1, s2, ... for others in the order given."""
    families = {model: re.split(r"[^a-z0-9]", model.lower())[0] for model in models}
    known = {model: family for model, family in families.items() if family in ("base", "ntp", "ra3")}
    others = [model for model in families if model not in known]
    return known | {model: OTHERS[place % len(OTHERS)] for place, model in enumerate(others)}


def _lone_name(run: InspectedRun) -> str:
    """A mid-training is called by its method, so that it has its method's colour; another run by its folder."""
    method = run.settings.get("midtrain.method")
    midtrained = run.facts.command == "midtrain" or "mstep" in run.stages
    return str(method) if method and midtrained else system_name(run.folder.resolve().name)


def _neighbours(folder: Path) -> str:
    runs = [str(file.parent) for file in sorted(folder.parent.glob("*/config.json"))]
    return f"run folders there: {', '.join(runs[:8])}" if runs else "give the folder that a run printed when it started"


def _unique_results(parts: Iterable[Results]) -> Results:
    """The results together, the first record of each kind that has its numbers; curves from left to right."""
    whole = Results.merge(parts)

    def sorted_points(points: list[CurvePoint]) -> list[CurvePoint]:
        known = [point for point in points if math.isfinite(point.x) and math.isfinite(point.mean)]
        return sorted(_first_of_each(known, lambda p: (p.model, p.x)), key=lambda p: p.x)

    return Results(
        _first_of_each((s for s in whole.scores if math.isfinite(s.mean)), lambda s: (s.model, s.band, s.metric)),
        whole.problems,
        {name: found for name, points in whole.curves.items() if (found := sorted_points(points))},
        _first_of_each(whole.differences, lambda d: (d.a, d.b, d.band, d.metric)),
        whole.latents,
    )


def _first_of_each(records: Iterable[Record], key: Callable[[Record], Hashable]) -> list[Record]:
    first: dict[Hashable, Record] = {}
    for record in records:
        first.setdefault(key(record), record)
    return list(first.values())
