"""Run folders read from outside: what a run is, did and measured, whether its files are whole, how two runs differ.

This is the one reader of run folders; `ra3 runs`, the report and comparisons build on its records. It changes nothing
in a folder, also looks at a run that is going, and turns what cannot be read into sentences (`InspectedRun.troubles`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ra3.config.help import settings
from ra3.config.tree import flatten, plain
from ra3.errors import UserError
from ra3.run.checkpoints import CHECKSUMS, checksum, product_files, read_manifest
from ra3.run.files import number, read_lines, read_object
from ra3.run.folder import config_changes, owner_of, refuse_other_format
from ra3.run.ledger import LEDGER, Costs, Spent, by_kind, duration, read_ledger, total
from ra3.run.results import Results, Table

MARKS = ("environment.json", "metrics.jsonl", "results.json")
"""A folder that holds one of these holds a run; config.json alone may be a model's."""
NUMBERS = ("config.json", "metrics.jsonl", "results.json")
"""The files of a finished run whose numbers a comparison shows."""
RUN_AGAIN = "restore it, or move that folder away: the same command then runs it again"
MAX_ROLLOUTS = 64
"""Rollouts of one step that are read."""


@dataclass(frozen=True)
class Attempt:
    """One start of a run: ``Attempt(1, "2026-11-21T08:00:00Z", {"ra3": "0.1.0"}, "5f2c7a90b1de")``."""

    attempt: int = 0
    started: str = "?"
    versions: dict[str, str] = field(default_factory=dict)
    code: str = ""
    """Fingerprint of the sources."""

    @property
    def made_by(self) -> str:
        """The version in words: "ra3 0.1.0 5f2c7a90b1de"."""
        return " ".join(part for part in ("ra3", self.versions.get("ra3", ""), self.code) if part)


@dataclass(frozen=True)
class CorpusCounts:
    """Documents of a run."""

    documents: int = 0
    """Trained on."""
    heldout: int = 0


@dataclass(frozen=True)
class RunFacts(Attempt):
    """environment.json: the newest attempt, and those before it."""

    command: str = "?"
    resume: str = ""
    """The command that goes on with the run."""
    argv: tuple[str, ...] = ()
    earlier: tuple[Attempt, ...] = ()
    corpus: CorpusCounts = CorpusCounts()

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """All attempts, oldest first."""
        return (*self.earlier, self)


@dataclass(frozen=True)
class MetricLine:
    """One line of metrics.jsonl: ``MetricLine("rlvr", 0, 12, {"reward": 0.5, "loss": nan})``."""

    stage: str
    em_round: int
    step: int
    values: dict[str, float]
    """NaN for what is no number."""


@dataclass(frozen=True)
class InspectedRun:
    """A run folder as it was found. What is missing is empty; what is broken is a sentence in `troubles`."""

    folder: Path
    state: str
    """Finished, stopped or "running: process 4711 on HOST, since TIME"."""
    settings: dict[str, Any]
    """The resolved configuration by dotted key: {"run.seed": 0, ...}."""
    facts: RunFacts
    environment: dict[str, Any]
    """environment.json as it stands."""
    metrics: list[MetricLine]
    costs: Costs
    results: Results
    has_model: bool
    troubles: list[str]

    @property
    def stages(self) -> dict[str, list[MetricLine]]:
        """The lines of each stage, stages in the order in which they began."""
        found: dict[str, list[MetricLine]] = {}
        for line in self.metrics:
            found.setdefault(line.stage, []).append(line)
        return found


@dataclass(frozen=True)
class RecordedToken:
    """A token of a recorded rollout."""

    text: str
    role: str
    """context, expert, decision, latent or sampled."""
    advantage: float = 0.0
    logp: float = math.nan


@dataclass(frozen=True)
class RecordedRollout:
    """One line of rollouts.jsonl."""

    stage: str
    document: str
    tokens: tuple[RecordedToken, ...]
    round: int = 0
    step: int = 0
    sample: int = 0
    reward: float = math.nan
    verdict: str | None = None
    """None where nothing was judged."""
    opener: str = "#"
    """The sign that latents begin with."""


@dataclass
class StageRollouts:
    """Rollouts of the first and of the last recorded step of a stage; `last` is empty while there is one step only."""

    first_step: tuple[int, int]
    """(EM round, step)."""
    last_step: tuple[int, int]
    first: list[RecordedRollout] = field(default_factory=list)
    last: list[RecordedRollout] = field(default_factory=list)


def is_run(folder: Path) -> bool:
    """Whether a folder holds anything of a run."""
    return any((folder / mark).is_file() for mark in MARKS)


def find_runs(folder: Path) -> list[Path]:
    """The run folders in `folder`, up to two levels deep. UserError if there is none."""
    if not folder.is_dir():
        raise UserError("there is no such folder", where=str(folder), fix="name the folder that holds your runs")
    depths = ("config.json", "*/config.json", "*/*/config.json")
    found = [
        file.parent for depth in depths for file in folder.glob(depth) if (file.parent / "environment.json").exists()
    ]
    if not found:
        raise UserError("there is no run in this folder", where=str(folder), fix="name the folder that holds your runs")
    return sorted(found)


def run_state(folder: Path) -> str:
    """Whether a run is "finished", "stopped", or "running: " by which process."""
    if owner := owner_of(folder):
        return f"running: {owner}"
    return "finished" if (folder / CHECKSUMS).exists() else "stopped"


def inspect_run(folder: Path) -> InspectedRun:
    """Reads everything but the rollouts. Never fails because of what the files hold."""
    troubles: list[str] = []
    config, environment, results = (
        _read_object(folder / name, troubles) for name in ("config.json", "environment.json", "results.json")
    )
    records, refused = Results.from_json(results) if results else (Results(), 0)
    troubles += [f"results.json holds {refused} things that are no results"] if refused else []
    troubles += [*_broken_lines(folder / "metrics.jsonl"), *_broken_lines(folder / LEDGER)]
    try:
        facts = TypeAdapter(RunFacts).validate_python(environment)
    except ValidationError as error:
        facts = RunFacts()
        keys = dict.fromkeys(str(wrong["loc"][0]) for wrong in error.errors())
        troubles.append(f"environment.json holds something else than ra3 wrote: {', '.join(keys)}")
    return InspectedRun(
        folder, run_state(folder), dict(flatten(config)), facts, environment,
        [_metric_line(line) for line in read_lines(folder / "metrics.jsonl")],
        read_ledger(folder), records, (folder / "model" / "config.json").is_file(), troubles,
    )  # fmt: skip


def finished_run(folder: Path) -> InspectedRun:
    """A finished run for a comparison. UserError if a file with its numbers is missing, changed or cannot be read."""
    refuse_other_format(folder)
    found = [f"{name} is missing" for name in ("environment.json", LEDGER) if not (folder / name).is_file()]
    found += _changed_files(folder, NUMBERS)
    run = inspect_run(folder)
    if found := [*found, *run.troubles]:
        raise UserError(found[0], where=str(folder), fix=RUN_AGAIN)
    return run


def read_rollouts(folder: Path) -> dict[str, StageRollouts]:
    """Rollouts of the first and last recorded step of every stage, in one pass that does not hold the file; lines that
    are no rollouts are passed over."""
    adapter, found = TypeAdapter(RecordedRollout), {}
    for record in read_lines(folder / "rollouts.jsonl"):
        try:
            rollout = adapter.validate_python(record)
        except ValidationError:
            continue
        step = (rollout.round, rollout.step)
        part = found.setdefault(rollout.stage, StageRollouts(step, step))
        if step != part.last_step:
            part.last_step, part.last = step, []
        kept = part.first if step == part.first_step else part.last
        if len(kept) < MAX_ROLLOUTS:
            kept.append(rollout)
    return found


def verify_run(folder: Path) -> list[str]:
    """Lists what is wrong with a run folder, one sentence each: broken or changed files, damaged checkpoints, missing
    steps."""
    try:
        refuse_other(folder)
    except UserError as error:
        return [error.what]
    run = inspect_run(folder)
    found = [] if (folder / "environment.json").is_file() else ["environment.json is missing"]
    found += [*run.troubles, *_broken_lines(folder / "rollouts.jsonl")]
    if (folder / "checkpoints").is_dir():
        found += _checkpoint_troubles(folder / "checkpoints")
    steps: dict[tuple[str, int], list[int]] = {}
    for line in run.metrics:
        steps.setdefault((line.stage, line.em_round), []).append(line.step)
    found += [
        f"metrics.jsonl: the steps of {stage}, round {em_round}, are not 0 to {len(own) - 1}"
        for (stage, em_round), own in steps.items()
        if own != list(range(len(own)))
    ]
    return found + (list(_changed_files(folder)) if (folder / CHECKSUMS).exists() else [])


def runs_table(root: Path) -> Table:
    """One row for every run in `root`."""
    rows = []
    for folder in find_runs(root):
        name = str(folder.relative_to(root)) if folder != root else folder.resolve().name
        rows.append((name, *_summary(inspect_run(folder)).values()))
    return Table(f"runs in {root}", ("name", "command", "state", "started", "spent", "steps"), rows)


def run_details(folder: Path) -> str:
    """One run in full: state, facts, settings that differ from the defaults, results, troubles."""
    refuse_other(folder)
    run = inspect_run(folder)
    summary = {"name": folder.resolve().name, **_summary(run), "attempts": str(len(run.facts.attempts))}
    lines = [f"{name:9}{value}" for name, value in (summary | {"resume": run.facts.resume or "?"}).items()]
    shown = [name for name in ("corpus", "checkpoints", "fork", "versions") if name in run.environment]
    lines += [f"{name}: {json.dumps(run.environment[name])}" for name in shown]
    defaults = {key: plain(setting.default) for key, setting in settings().items()}
    changed = [f"  {key} = {value}" for key, value in run.settings.items() if defaults.get(key) != value]
    scores = [f"  {' '.join(place)}: {score}" for place, score in _scores(run).items()]
    return "\n".join([*lines, "settings that differ from the defaults", *changed, "results", *scores, *run.troubles])


def compare_runs(a: Path, b: Path) -> Iterator[str]:
    """Compares two runs: settings, files, the first differing step, costs, results side by side."""
    refuse_other(a, b)
    changes = config_changes(read_object(a / "config.json"), read_object(b / "config.json"))
    yield "settings: " + ("the same" if not changes else "".join(f"\n  {change}" for change in changes))
    yield _first_difference(a / "metrics.jsonl", b / "metrics.jsonl")
    for name in dict.fromkeys([*product_files(a), *product_files(b)]):
        if name.startswith("model/") or name == "annotated.jsonl":
            there = [(run / name).is_file() for run in (a, b)]
            same = all(there) and checksum(a / name) == checksum(b / name)
            yield f"{name}: " + ("the same" if same else "different" if all(there) else f"only in {(a, b)[there[1]]}")
    runs = [inspect_run(a), inspect_run(b)]
    yield from _cost_differences(*(run.costs for run in runs))
    tables = [_scores(run) for run in runs]
    for key in dict.fromkeys([*tables[0], *tables[1]]):
        yield f"{' '.join(key)}: {tables[0].get(key, '-')} and {tables[1].get(key, '-')}"


def refuse_other(*folders: Path) -> None:
    """UserError if one of these folders holds no run, or one of another format."""
    for folder in folders:
        if not (folder / "config.json").is_file():
            raise UserError("this is no run folder: it has no config.json", where=str(folder), fix="`ra3 runs list`")
        refuse_other_format(folder)


def _read_object(path: Path, troubles: list[str]) -> dict[str, Any]:
    """The JSON object in a file; {} where there is none, with a sentence where there is something else."""
    try:
        return read_object(path) if path.exists() else {}
    except (UserError, OSError) as error:
        troubles.append(f"{path.name} cannot be read: {getattr(error, 'what', error)}")
        return {}


def _metric_line(line: dict[str, Any]) -> MetricLine:
    values = {key: number(value) for key, value in line.items()}
    values.pop("stage", None)
    em_round, step = (values.pop(key, math.nan) for key in ("round", "step"))
    em_round, step = (int(place) if abs(place) < 1e15 else 0 for place in (em_round, step))
    return MetricLine(str(line.get("stage", "?")), em_round, step, values)


def _summary(run: InspectedRun) -> dict[str, str]:
    return {
        "command": run.facts.command,
        "state": run.state,
        "started": run.facts.attempts[0].started,
        "spent": duration(total(run.costs).wall_s),
        "steps": ", ".join(f"{stage} {len(lines)}" for stage, lines in run.stages.items()) or "none",
    }


def _scores(run: InspectedRun) -> dict[tuple[str, str, str], str]:
    return {(s.model, s.band, s.metric): f"{s.mean:.4g} [{s.low:.4g}, {s.high:.4g}]" for s in run.results.scores}


def _broken_lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    with path.open("rb") as file:
        bad = sum(bool(line.strip()) for line in file) - sum(1 for _ in read_lines(path))
    return [f"{path.name} has {bad} lines that are no JSON objects"] if bad else []


def _changed_files(folder: Path, names: Sequence[str] | None = None) -> Iterator[str]:
    """Files of a finished run, all or those of these names, that are not as it left them."""
    sums = _read_object(folder / CHECKSUMS, [])
    if not sums:
        yield f"{CHECKSUMS} is missing or holds no checksums"
    for name in sums if names is None else [name for name in names if name in sums]:
        if not (folder / name).is_file():
            yield f"{name} is missing"
        elif checksum(folder / name) != sums[name]:
            yield f"{name} is not as the run left it"


def _checkpoint_troubles(folder: Path) -> Iterator[str]:
    try:
        entries, broken = read_manifest(folder)
    except UserError as error:
        yield f"checkpoints: {error.what}"
        return
    yield from (f"checkpoints/{name} cannot be read" for name in broken)
    yield from (f"checkpoints/{e.file} is missing or damaged" for e in entries if not e.is_intact(folder))


def _first_difference(a: Path, b: Path) -> str:
    for line, (one, two) in enumerate(zip_longest(read_lines(a), read_lines(b), fillvalue={}), 1):
        if one != two:
            keys = [key for key in one | two if one.get(key) != two.get(key)]
            shown = ", ".join(f"{key} {one.get(key)} and {two.get(key)}" for key in keys[:4])
            place = " ".join(str((one or two).get(key)) for key in ("stage", "round", "step"))
            return f"metrics.jsonl: first different in line {line} ({place}): {shown}"
    return "metrics.jsonl: the same"


def _cost_differences(a: Costs, b: Costs) -> Iterator[str]:
    """Wall time, CPU time and FLOPs of two runs by kind of stage, and how they compare in all."""
    one, two = by_kind(a), by_kind(b)
    for kind in dict.fromkeys([*one, *two]):
        yield f"{kind} took {' and '.join(_cost_text(total(own.get(kind, {}))) for own in (one, two))}"
    first, second = total(a), total(b)
    amounts = {"wall time": "wall_s", "CPU time": "cpu_s", "FLOPs": "flops"}
    ratios = [
        f"{getattr(second, name) / getattr(first, name):.2f} in {words}"
        for words, name in amounts.items()
        if getattr(first, name)
    ]
    if ratios and second.wall_s:
        yield f"the second over the first: {', '.join(ratios)}"


def _cost_text(spent: Spent) -> str:
    return f"{duration(spent.wall_s)} ({duration(spent.cpu_s)} CPU, {spent.flops / 1e12:.3g} TFLOP)"
