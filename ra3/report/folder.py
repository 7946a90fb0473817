"""A run folder, or a folder of run folders, as plain records; what is missing or broken becomes a sentence."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ra3.errors import UserError
from ra3.run.metrics import number, read_lines

MARKS = ("config.json", "metrics.jsonl", "results.json", "environment.json")
ORDER = ("base", "ntp", "ra3", "ntp+rlvr", "ra3+rlvr")
KEPT_ROLLOUTS = 64  # of one step


@dataclass
class EarlyLate:
    """Rollouts of a stage's first and last recorded step."""

    first_step: tuple[int, int] = (0, 0)
    last_step: tuple[int, int] = (0, 0)
    early: list[dict] = field(default_factory=list)
    late: list[dict] = field(default_factory=list)


@dataclass(frozen=True)
class System:
    """One run folder. Example: System(name="ra3+rlvr", folder=Path("runs/demo/ra3-rlvr"), ...)."""

    name: str
    folder: Path
    config: dict
    environment: dict
    results: dict
    metrics: dict[str, list[dict]]
    """stage -> its lines, in order."""
    seconds: dict[str, float]
    """stage -> wall time over all attempts, as far as timing.jsonl tells."""
    rollouts: dict[str, EarlyLate]
    has_model: bool


@dataclass(frozen=True)
class View:
    """Everything the page shows. `parent` holds the files of the outer folder if there are runs inside."""

    title: str
    folder: Path
    systems: list[System]
    rows: list[dict]
    """Result rows of all systems: model, band, metric, mean, low, high, problems, samples; complete and numeric."""
    curves: dict[str, list[dict]]
    """Curves of all systems: name -> points with model, x, mean, low, high."""
    differences: list[dict]
    """Paired differences: a, b, band, metric, mean, low, high; possibly none."""
    troubles: list[str]
    """Sentences about what could not be read."""


def read_view(folder: Path) -> View:
    """Read `folder`; raises UserError if there is no run in it."""
    if not folder.is_dir():
        raise UserError("there is no such run folder", where=str(folder), fix=_neighbours(folder))
    inner = sorted((p for p in folder.iterdir() if p.is_dir() and _is_run(p)), key=lambda p: _rank(system_name(p.name)))
    if not inner and not _is_run(folder):
        raise UserError(
            f"this folder holds no run: none of {', '.join(MARKS)} is there",
            where=str(folder),
            fix="name a run folder, or a folder of run folders",
        )
    troubles: list[str] = []
    systems = [_read_system(path, system_name(path.name), troubles) for path in inner]
    outer = _read_system(folder, "", troubles) if _is_run(folder) else None
    if outer and (not inner or outer.metrics):
        systems.insert(0, outer)
    sources = ([outer.results] if outer else []) + [system.results for system in systems if system is not outer]
    rows = _unique(_rows(sources, "rows", ("mean",)), ("model", "band", "metric"))
    differences = _unique(_rows(sources, "differences", ("mean", "low", "high")), ("a", "b", "band", "metric"))
    return View(folder.resolve().name, folder, _named(systems), rows, _curves(sources), differences, troubles)


def _neighbours(folder: Path) -> str:
    runs = [str(file.parent) for file in sorted(folder.parent.glob("*/config.json"))]
    return f"run folders there: {', '.join(runs[:8])}" if runs else "give the folder that a run printed when it started"


def system_name(folder_name: str) -> str:
    """The name that results use: "ra3-rlvr" -> "ra3+rlvr"."""
    stem = folder_name.removesuffix("-rlvr").removesuffix("+rlvr")
    return folder_name if stem == folder_name else f"{stem}+rlvr"


def in_order(names: Iterable[str]) -> list[str]:
    """Distinct names: base, NTP, RA3, then after RLVR, then others in the order found."""
    names = list(dict.fromkeys(names))
    return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


def _rank(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def _is_run(path: Path) -> bool:
    return any((path / mark).is_file() for mark in MARKS)


def _named(systems: list[System]) -> list[System]:
    """A lone run is called by its method, so that it has its method's colour."""
    named = []
    for system in systems:
        method = _dict(system.config.get("midtrain")).get("method")
        midtrained = system.environment.get("command") == "midtrain" or "mstep" in system.metrics
        name = system.name or (str(method) if method and midtrained else system_name(system.folder.resolve().name))
        named.append(System(**{**vars(system), "name": name}))
    return named


def _read_system(path: Path, name: str, troubles: list[str]) -> System:
    config, environment, results = (
        _read_object(path / file, troubles) for file in ("config.json", "environment.json", "results.json")
    )
    metrics: dict[str, list[dict]] = {}
    for line in read_lines(path / "metrics.jsonl"):
        metrics.setdefault(str(line.get("stage", "?")), []).append(line)
    return System(
        name,
        path,
        config,
        environment,
        results,
        metrics,
        _seconds(path / "timing.jsonl"),
        _rollouts(path / "rollouts.jsonl"),
        (path / "model" / "config.json").is_file(),
    )


def _read_object(path: Path, troubles: list[str]) -> dict:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (ValueError, RecursionError, OSError) as error:
        troubles.append(f"{path.parent.name}/{path.name} cannot be read: {error}.")
        return {}
    if not isinstance(value, dict):
        troubles.append(f"{path.parent.name}/{path.name} does not hold an object.")
    return _dict(value)


def _rows(sources: list[dict], key: str, needed: tuple[str, ...]) -> list[dict]:
    """Rows of all sources with their numbers as floats; rows without a needed number are left out."""
    found = []
    for source in sources:
        for row in filter(lambda item: isinstance(item, dict), _list(source.get(key))):
            numbers = {name: number(row.get(name)) for name in ("mean", "low", "high", "problems", "samples", "x")}
            texts = {name: str(row.get(name, "?")) for name in ("model", "band", "metric", "a", "b")}
            row = {**texts, **numbers}
            if all(row[name] == row[name] for name in needed):
                found.append(row)
    return found


def _unique(rows: list[dict], keys: tuple[str, ...]) -> list[dict]:
    """The first row of each kind: the outer folder's word goes before its runs'."""
    first: dict[tuple, dict] = {}
    for row in rows:
        first.setdefault(tuple(row[key] for key in keys), row)
    return list(first.values())


def _curves(sources: list[dict]) -> dict[str, list[dict]]:
    names = dict.fromkeys(str(name) for source in sources for name in _dict(source.get("curves")))
    found = {}
    for name in names:
        points = _rows([_dict(source.get("curves")) for source in sources], name, ("x", "mean"))
        if points := _unique(points, ("model", "x")):
            found[name] = sorted(points, key=lambda point: point["x"])
    return found


def _seconds(path: Path) -> dict[str, float]:
    """Time between a line and the one before it (or the attempt's start) belongs to the line's stage."""
    spent: dict[str, float] = {}
    before: dict[object, float] = {}
    for line in read_lines(path):
        elapsed, attempt = number(line.get("elapsed_s")), str(line.get("attempt"))
        if elapsed == elapsed:
            stage = str(line.get("stage", "?"))
            spent[stage] = spent.get(stage, 0.0) + max(0.0, elapsed - before.get(attempt, 0.0))
            before[attempt] = elapsed
    return spent


def _rollouts(path: Path) -> dict[str, EarlyLate]:
    """First and last recorded step of every stage, read in one pass without holding the file."""
    found: dict[str, EarlyLate] = {}
    for record in read_lines(path):
        step = (_whole(record.get("round")), _whole(record.get("step")))
        stage = str(record.get("stage", "?"))
        if stage not in found:
            found[stage] = EarlyLate(first_step=step, last_step=step)
        part = found[stage]
        if step == part.first_step and len(part.early) < KEPT_ROLLOUTS:
            part.early.append(record)
        if step != part.last_step:
            part.last_step, part.late = step, []
        if step != part.first_step and len(part.late) < KEPT_ROLLOUTS:
            part.late.append(record)
    return found


def _whole(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) and abs(value) < 1e15 else 0


def _dict(value: object) -> dict:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list:
    return value if isinstance(value, list) else []
