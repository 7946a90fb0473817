"""Run folders read from outside: what a run is, did and measured, whether its files are whole, how two runs differ.

This is the one reader of run folders; `ra3 runs`, the report and comparisons build on its records. It changes nothing
in a folder, also looks at a run that is going, and turns what cannot be read into sentences (`InspectedRun.troubles`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from pydantic import FiniteFloat, TypeAdapter, ValidationError

from ra3.config.settings import Config, flatten
from ra3.errors import UserError
from ra3.run.checkpoints import CHECKSUMS, product_files, read_manifest
from ra3.run.files import checksum, number, read_lines, read_object, to_json
from ra3.run.folder import config_changes, owner_of, refuse_missing, refuse_other_format
from ra3.run.ledger import LEDGER, Costs, duration, kind_of, read_ledger, total
from ra3.run.metrics import PLACE
from ra3.run.results import Results, Table

MARKS = ("environment.json", "metrics.jsonl", "results.json")
"""A folder that holds one of these holds a run; config.json alone may be a model's."""
NUMBERS = ("config.json", "metrics.jsonl", "results.json")
"""The files of a finished run whose numbers a comparison shows."""
RUN_AGAIN = "restore it, or move that folder away: the same command then runs it again"
MAX_ROLLOUTS = 64
"""Rollouts of one step that are read."""


@dataclass(frozen=True)
class CorpusCounts:
    """Documents of a run."""

    documents: int = 0  # trained on
    heldout: int = 0


@dataclass(frozen=True)
class Attempt:
    """One start of a run, as environment.json tells of it; the newest knows those before."""

    attempt: int = 0
    started: str = "?"
    versions: dict[str, str] = field(default_factory=dict)
    code: str = ""  # fingerprint of the sources
    command: str = "?"
    resume: str = ""  # the command that goes on with the run
    argv: tuple[str, ...] = ()
    corpus: CorpusCounts = CorpusCounts()
    earlier: tuple[Attempt, ...] = ()

    @property
    def made_by(self) -> str:
        """The version in words: "ra3 0.1.0 5f2c7a90b1de"."""
        return " ".join(part for part in ("ra3", self.versions.get("ra3", ""), self.code) if part)

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
    values: dict[str, float]  # NaN for what is no number


@dataclass(frozen=True)
class InspectedRun:
    """A run folder as it was found. What is missing is empty; what is broken is a sentence in `troubles`."""

    folder: Path
    state: str  # finished, stopped or "running: process 4711 on HOST, since TIME"
    settings: dict[str, Any]  # the resolved configuration by dotted key: {"run.seed": 0, ...}
    facts: Attempt
    environment: dict[str, Any]  # environment.json as it stands
    stages: dict[str, list[MetricLine]]  # metrics.jsonl by stage, in the order in which they began
    costs: Costs
    results: Results
    has_model: bool
    troubles: list[str]

    @property
    def model(self) -> Path:
        """The folder of the trained model, in the form of Hugging Face; there if `has_model`."""
        return self.folder / "model"


@dataclass(frozen=True)
class RecordedToken:
    """A token of a recorded rollout."""

    text: str
    role: str  # context, expert, decision, latent or sampled
    advantage: FiniteFloat = 0.0
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
    verdict: str | None = None  # None where nothing was judged
    opener: str = "#"  # the sign that latents begin with


StageRollouts = dict[tuple[int, int], list[RecordedRollout]]
"""(EM round, step) -> rollouts, of the first and of the last recorded step of a stage."""


def is_run(folder: Path) -> bool:
    """Whether a folder holds anything of a run."""
    return any((folder / mark).is_file() for mark in MARKS)


def find_runs(folder: Path) -> list[Path]:
    """The run folders in `folder`, up to two levels deep. UserError if there is none."""
    configs = chain.from_iterable(folder.glob(f"{depth}config.json") for depth in ("", "*/", "*/*/"))
    if found := sorted(file.parent for file in configs if file.with_name("environment.json").exists()):
        return found
    what = "there is no run in this folder" if folder.is_dir() else "there is no such folder"
    raise UserError(what, where=str(folder), fix="name the folder that holds your runs")


def refuse_other(folder: Path) -> None:
    """UserError if a folder holds no run, or one of another format."""
    if not (folder / "config.json").is_file():
        raise UserError("this is no run folder: it has no config.json", where=str(folder), fix="`ra3 runs list`")
    refuse_other_format(folder)


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
    records, refused = Results.from_json(results)
    troubles += [f"results.json holds {refused} things that are no results"] if refused else []
    troubles += [*_broken_lines(folder / "metrics.jsonl"), *_broken_lines(folder / LEDGER)]
    facts = Attempt()
    try:
        facts = TypeAdapter(Attempt).validate_python(environment)
    except ValidationError as error:
        keys = dict.fromkeys(str(wrong["loc"][0]) for wrong in error.errors())
        troubles.append(f"environment.json holds something else than ra3 wrote: {', '.join(keys)}")
    stages: dict[str, list[MetricLine]] = {}
    for line in map(metric_line, read_lines(folder / "metrics.jsonl")):
        stages.setdefault(line.stage, []).append(line)
    has_model = (folder / "model" / "config.json").is_file()
    state, settings, costs = run_state(folder), dict(flatten(config)), read_ledger(folder)
    return InspectedRun(folder, state, settings, facts, environment, stages, costs, records, has_model, troubles)


def finished_run(folder: Path) -> InspectedRun:
    """A finished run for a comparison. UserError if a file with its numbers is missing, changed or cannot be read."""
    refuse_missing(folder)
    refuse_other_format(folder)
    found = [*_missing(folder, "environment.json", LEDGER), *_changed_files(folder, NUMBERS)]
    run = inspect_run(folder)
    if found := [*found, *run.troubles]:
        raise UserError(found[0], where=str(folder), fix=RUN_AGAIN)
    return run


def verify_run(folder: Path) -> list[str]:
    """Lists what is wrong with a run folder, one sentence each: broken or changed files, damaged checkpoints, missing
    steps."""
    try:
        refuse_other(folder)
    except UserError as error:
        return [error.what]
    run, checkpoints = inspect_run(folder), folder / "checkpoints"
    found = [*_missing(folder, "environment.json"), *run.troubles, *_broken_lines(folder / "rollouts.jsonl")]
    try:
        entries, broken = read_manifest(checkpoints)
        found += [f"checkpoints/{name} cannot be read" for name in broken]
        damaged = [entry.file for entry in entries if not entry.is_intact(checkpoints)]
        found += [f"checkpoints/{name} is missing or damaged" for name in damaged]
    except UserError as error:
        found.append(f"checkpoints: {error.what}")
    for stage, lines in run.stages.items():
        for em_round in dict.fromkeys(line.em_round for line in lines):
            steps = [line.step for line in lines if line.em_round == em_round]
            if steps != list(range(len(steps))):
                found.append(f"metrics.jsonl: the steps of {stage}, round {em_round}, are not 0 to {len(steps) - 1}")
    return [*found, *(_changed_files(folder) if (folder / CHECKSUMS).exists() else ())]


def read_rollouts(folder: Path) -> dict[str, StageRollouts]:
    """Rollouts of the first and last recorded step of every stage, in one pass that does not hold the file; lines that
    are no rollouts are passed over."""
    adapter, found = TypeAdapter(RecordedRollout), {}
    for record in read_lines(folder / "rollouts.jsonl"):
        with suppress(ValidationError):
            rollout = adapter.validate_python(record)
            steps, step = found.setdefault(rollout.stage, {}), (rollout.round, rollout.step)
            if step not in steps and len(steps) > 1:
                steps.popitem()
            if len(kept := steps.setdefault(step, [])) < MAX_ROLLOUTS:
                kept.append(rollout)
    return found


def runs_table(root: Path) -> Table:
    """One row for every run in `root`."""
    runs = [inspect_run(folder) for folder in find_runs(root)]
    names = [str(run.folder.relative_to(root)) if run.folder != root else root.resolve().name for run in runs]
    rows = [(name, *_summary(run).values()) for name, run in zip(names, runs, strict=True)]
    return Table(f"runs in {root}", ("name", "command", "state", "started", "spent", "steps"), rows)


def run_details(folder: Path) -> str:
    """One run in full: state, facts, settings that differ from the defaults, results, troubles."""
    refuse_other(folder)
    run = inspect_run(folder)
    summary = {"name": folder.resolve().name, **_summary(run)}
    summary |= {"attempts": str(len(run.facts.attempts)), "resume": run.facts.resume or "?"}
    lines = [f"{name:9}{value}" for name, value in summary.items()]
    shown = [name for name in ("corpus", "checkpoints", "fork", "versions") if name in run.environment]
    lines += [f"{name}: {json.dumps(run.environment[name])}" for name in shown]
    defaults = to_json(Config().flat())
    changed = [f"  {key} = {value}" for key, value in run.settings.items() if defaults.get(key) != value]
    scores = [f"  {place}: {score}" for place, score in _scores(run).items()]
    return "\n".join([*lines, "settings that differ from the defaults", *changed, "results", *scores, *run.troubles])


def compare_runs(a: Path, b: Path) -> Iterator[str]:
    """Compares two runs: settings, files, the first differing step, costs, results side by side."""
    for folder in (a, b):
        refuse_other(folder)
    changes = config_changes(read_object(a / "config.json"), read_object(b / "config.json"))
    yield "settings: " + ("the same" if not changes else "".join(f"\n  {change}" for change in changes))
    lines = zip_longest(*(read_lines(run / "metrics.jsonl") for run in (a, b)), fillvalue={})
    for number_of_line, (one, two) in enumerate(lines, 1):
        if keys := [key for key in one | two if one.get(key) != two.get(key)]:
            shown = ", ".join(f"{key} {one.get(key)} and {two.get(key)}" for key in keys[:4])
            place = " ".join(str((one or two).get(key)) for key in PLACE)
            yield f"metrics.jsonl: first different in line {number_of_line} ({place}): {shown}"
            break
    else:
        yield "metrics.jsonl: the same"
    for name in dict.fromkeys([*product_files(a), *product_files(b)]):
        if name.startswith("model/") or name == "annotated.jsonl":
            there = [run for run in (a, b) if (run / name).is_file()]
            words = "the same" if len({checksum(run / name) for run in there}) == 1 else "different"
            yield f"{name}: {words if len(there) == 2 else f'only in {there[0]}'}"
    runs = [inspect_run(a), inspect_run(b)]
    kinds = dict.fromkeys(kind_of(stage) for run in runs for stage, _ in run.costs)
    for kind in (*kinds, "all"):
        spent = [total(run.costs, *(() if kind == "all" else (kind,))) for run in runs]
        words = [f"{duration(s.wall_s)} ({duration(s.cpu_s)} CPU, {s.flops / 1e12:.3g} TFLOP)" for s in spent]
        yield f"{kind} took {' and '.join(words)}"
    scores = [_scores(run) for run in runs]
    for place in dict.fromkeys([*scores[0], *scores[1]]):
        yield f"{place}: {' and '.join(own.get(place, '-') for own in scores)}"


def _read_object(path: Path, troubles: list[str]) -> dict[str, Any]:
    """The JSON object in a file; {} where there is none, with a sentence where there is something else."""
    try:
        return read_object(path) if path.exists() else {}
    except (UserError, OSError) as error:
        troubles.append(f"{path.name} cannot be read: {getattr(error, 'what', error)}")
        return {}


def metric_line(line: dict[str, Any]) -> MetricLine:
    places = (number(line.get(key)) for key in ("round", "step"))
    em_round, step = (int(place) if math.isfinite(place) else 0 for place in places)
    values = {key: number(value) for key, value in line.items() if key not in PLACE}
    return MetricLine(str(line.get("stage", "?")), em_round, step, values)


def _summary(run: InspectedRun) -> dict[str, str]:
    return {
        "command": run.facts.command,
        "state": run.state,
        "started": run.facts.attempts[0].started,
        "spent": duration(total(run.costs).wall_s),
        "steps": ", ".join(f"{stage} {len(lines)}" for stage, lines in run.stages.items()) or "none",
    }


def _scores(run: InspectedRun) -> dict[str, str]:
    scores = run.results.scores
    return {f"{s.model} {s.band} {s.metric}": f"{s.mean:.4g} [{s.low:.4g}, {s.high:.4g}]" for s in scores}


def _missing(folder: Path, *names: str) -> list[str]:
    return [f"{name} is missing" for name in names if not (folder / name).is_file()]


def _broken_lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    with path.open("rb") as file:
        bad = sum(bool(line.strip()) for line in file) - sum(1 for _ in read_lines(path))
    return [f"{path.name} has {bad} lines that are no JSON objects"] if bad else []


def _changed_files(folder: Path, names: tuple[str, ...] = ()) -> list[str]:
    """Files of a finished run, all or those of these names, that are not as it left them."""
    sums = _read_object(folder / CHECKSUMS, [])
    if not sums:
        return [f"{CHECKSUMS} is missing or holds no checksums"]
    asked = [name for name in sums if name in names or not names]
    there = [name for name in asked if (folder / name).is_file()]
    changed = [f"{name} is not as the run left it" for name in there if checksum(folder / name) != sums[name]]
    return _missing(folder, *asked) + changed
