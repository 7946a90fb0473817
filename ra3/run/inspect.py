"""Run folders read from outside: what a run is, did and measured, whether its files are whole, how two runs differ.

This is the one reader of run folders; `ra3 runs`, the report and comparisons build on its records. It changes nothing
in a folder, also looks at a run that is going, and turns what cannot be read into sentences (`InspectedRun.troubles`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ra3.config.help import settings
from ra3.config.tree import plain
from ra3.errors import UserError
from ra3.run.display import duration
from ra3.run.folder import config_changes, flatten, read_object
from ra3.run.ledger import FILE as LEDGER
from ra3.run.ledger import Costs, read_ledger
from ra3.run.lock import owner_of
from ra3.run.manifest import SEAL, checksum, matches, product_files, read_manifest
from ra3.run.metrics import number, read_lines
from ra3.run.profile import cost_differences, total
from ra3.run.results import Results

MARKS = ("config.json", "metrics.jsonl", "results.json", "environment.json")
"""A folder that holds one of these holds a run."""
NUMBERS = ("config.json", "metrics.jsonl", "results.json")
"""The files of a finished run whose numbers a comparison shows."""
RUN_AGAIN = "restore it, or move that folder away: the same command then runs it again"
MAX_ROLLOUTS = 64
"""Rollouts of one step that are read."""


@dataclass(frozen=True)
class Attempt:
    """One start of a run: ``Attempt(1, "2026-11-21T08:00:00Z", "ra3 0.1.0 5f2c7a90b1de")``."""

    number: int
    started: str
    code: str
    """Version and checksum of the sources (ra3/run/environment.py)."""


@dataclass(frozen=True)
class RunFacts:
    """What environment.json says. Missing facts are empty; `raw` is the file's object as it stands."""

    command: str = "?"
    resume: str = ""
    """The command that goes on with the run."""
    argv: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    """Oldest first."""
    documents: int = 0
    """Documents that were trained on."""
    heldout: int = 0
    """Documents that were held out."""
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MetricLine:
    """One line of metrics.jsonl: ``MetricLine("rlvr", 0, 12, {"reward": 0.5, "loss": nan})``."""

    stage: str
    em_round: int
    step: int
    values: dict[str, float]
    """What is no number is NaN."""


@dataclass(frozen=True)
class InspectedRun:
    """A run folder as it was found. What is missing is empty; what is broken is a sentence in `troubles`."""

    folder: Path
    state: str
    """"finished", "stopped" or "running: process 4711 on HOST, since TIME"."""
    settings: dict[str, Any]
    """The resolved configuration by dotted key: {"run.seed": 0, ...}."""
    facts: RunFacts
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
    logp: float
    advantage: float
    """0 where there is none."""


@dataclass(frozen=True)
class RecordedRollout:
    """One line of rollouts.jsonl."""

    document: str
    sample: str
    reward: float
    verdict: str
    """Empty where nothing was judged."""
    opener: str
    """How latents open."""
    tokens: tuple[RecordedToken, ...]


@dataclass
class StageRollouts:
    """Rollouts of the first and of the last recorded step of a stage; `last` is empty while there is one step only."""

    first_step: tuple[int, int]
    """(EM round, step)."""
    last_step: tuple[int, int]
    first: list[RecordedRollout] = field(default_factory=list)
    last: list[RecordedRollout] = field(default_factory=list)


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


def is_run(folder: Path) -> bool:
    """Whether a folder holds anything of a run."""
    return any((folder / mark).is_file() for mark in MARKS)


def run_state(folder: Path) -> str:
    """ "finished", "stopped", or "running: " and the process that holds the folder."""
    if owner := owner_of(folder):
        return f"running: {owner}"
    return "finished" if (folder / SEAL).exists() else "stopped"


def inspect_run(folder: Path) -> InspectedRun:
    """Reads everything but the rollouts. Never fails because of what the files hold."""
    troubles: list[str] = []
    config, environment, results = (
        _read_object(folder / name, troubles) for name in ("config.json", "environment.json", "results.json")
    )
    records, refused = Results.from_json(results) if results else (Results(), 0)
    troubles += [f"results.json holds {refused} things that are no results"] if refused else []
    for name in ("metrics.jsonl", "rollouts.jsonl", LEDGER):
        troubles += _broken_lines(folder / name)
    return InspectedRun(
        folder, run_state(folder), flatten(config), _facts(environment),
        [_metric_line(line) for line in read_lines(folder / "metrics.jsonl")],
        read_ledger(folder), records, (folder / "model" / "config.json").is_file(), troubles,
    )  # fmt: skip


def finished_run(folder: Path) -> InspectedRun:
    """A finished run for a comparison. UserError if a file with its numbers is missing, changed or cannot be read."""
    found = [f"{name} is missing" for name in ("environment.json", LEDGER) if not (folder / name).is_file()]
    found += _changed_files(folder, NUMBERS)
    run = inspect_run(folder)
    if found := [*found, *run.troubles]:
        raise UserError(found[0], where=str(folder), fix=RUN_AGAIN)
    return run


@contextmanager
def unchanged(run: Path) -> Iterator[None]:
    """Turns what goes wrong with a file's content inside into a UserError; with `finished_run` there is no need."""
    try:
        yield
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"a file of this run holds something else than ra3 wrote ({type(error).__name__}: {error})"
        raise UserError(what, where=str(run), fix=RUN_AGAIN) from error


def read_rollouts(folder: Path) -> dict[str, StageRollouts]:
    """Rollouts of the first and last recorded step of every stage, in one pass that does not hold the file."""
    found: dict[str, StageRollouts] = {}
    for record in read_lines(folder / "rollouts.jsonl"):
        step = (_whole(record.get("round")), _whole(record.get("step")))
        part = found.setdefault(str(record.get("stage", "?")), StageRollouts(step, step))
        if step != part.last_step:
            part.last_step, part.last = step, []
        kept = part.first if step == part.first_step else part.last
        if len(kept) < MAX_ROLLOUTS:
            kept.append(_rollout(record))
    return found


def verify_run(folder: Path) -> list[str]:
    """What is wrong with a run folder, one sentence each: broken or changed files, damaged checkpoints, missing steps.
    UserError if it is no run folder."""
    refuse_other(folder)
    run = inspect_run(folder)
    found = [f"{name} is missing" for name in ("config.json", "environment.json") if not (folder / name).is_file()]
    found += run.troubles
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
    return found + (list(_changed_files(folder)) if (folder / SEAL).exists() else [])


def compare_runs(a: Path, b: Path) -> Iterator[str]:
    """How two runs differ: settings, files, the first differing step, costs, results side by side."""
    refuse_other(a, b)
    changes = config_changes(read_object(a / "config.json"), read_object(b / "config.json"))
    yield "settings: " + ("the same" if not changes else "".join(f"\n  {change}" for change in changes))
    yield _first_difference(a / "metrics.jsonl", b / "metrics.jsonl")
    for name in dict.fromkeys([*product_files(a), *product_files(b)]):
        if name.startswith("model/") or name == "annotated.jsonl":
            there = [(run / name).is_file() for run in (a, b)]
            same = all(there) and checksum(a / name) == checksum(b / name)
            yield f"{name}: " + ("the same" if same else "different" if all(there) else f"only in {(a, b)[there[1]]}")
    yield from cost_differences(a, b)
    tables = [_scores(inspect_run(run)) for run in (a, b)]
    for key in dict.fromkeys([*tables[0], *tables[1]]):
        yield f"{' '.join(key)}: {tables[0].get(key, '-')} and {tables[1].get(key, '-')}"


def refuse_other(*folders: Path) -> None:
    """UserError if one of these folders is no run folder."""
    for folder in folders:
        if not (folder / "config.json").is_file():
            raise UserError("this is no run folder: it has no config.json", where=str(folder), fix="`ra3 runs list`")


def runs_table(root: Path) -> str:
    """One aligned line for every run in `root`: name, command, state, start, wall time, steps by stage."""
    lines = [("name", "command", "state", "started", "spent", "steps")]
    for folder in find_runs(root):
        run = inspect_run(folder)
        name = str(folder.relative_to(root)) if folder != root else folder.resolve().name
        lines.append((name, *_summary(run)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def run_details(folder: Path) -> str:
    """One run in full: state, facts, settings that differ from the defaults, results."""
    refuse_other(folder)
    run = inspect_run(folder)
    named = zip(("command", "state", "started", "spent", "steps"), _summary(run), strict=True)
    lines = [f"{name:9}{value}" for name, value in (("name", folder.resolve().name), *named)]
    lines += [f"attempts {len(run.facts.attempts)}", f"resume   {run.facts.resume or '?'}"]
    lines += [
        f"{name}: {json.dumps(run.facts.raw[name])}"
        for name in ("corpus", "checkpoints", "fork", "versions")
        if name in run.facts.raw
    ]
    defaults = {key: plain(setting.default) for key, setting in settings().items()}
    lines.append("settings that differ from the defaults")
    lines += [f"  {key} = {value}" for key, value in run.settings.items() if defaults.get(key) != value]
    lines.append("results")
    lines += [f"  {' '.join(place)}: {score}" for place, score in _scores(run).items()]
    return "\n".join([*lines, *run.troubles])


def _summary(run: InspectedRun) -> tuple[str, str, str, str, str]:
    started = run.facts.attempts[0].started if run.facts.attempts else "?"
    steps = ", ".join(f"{stage} {len(lines)}" for stage, lines in run.stages.items()) or "none"
    return run.facts.command, run.state, started, duration(total(run.costs).wall_s), steps


def _scores(run: InspectedRun) -> dict[tuple[str, str, str], str]:
    return {(s.model, s.band, s.metric): f"{s.mean:.4g} [{s.low:.4g}, {s.high:.4g}]" for s in run.results.scores}


def _read_object(path: Path, troubles: list[str]) -> dict[str, Any]:
    """The JSON object in a file; {} where there is none, with a sentence where there is something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        troubles.append(f"{path.name} cannot be read: {error}")
        return {}
    if not isinstance(value, dict):
        troubles.append(f"{path.name} holds no JSON object")
    return value if isinstance(value, dict) else {}


def _facts(environment: dict[str, Any]) -> RunFacts:
    earlier, argv, corpus = (environment.get(key) for key in ("earlier", "argv", "corpus"))
    attempts = [*(earlier if isinstance(earlier, list) else []), environment]
    corpus = corpus if isinstance(corpus, dict) else {}
    return RunFacts(
        command=str(environment.get("command", "?")),
        resume=str(environment.get("resume", "")),
        argv=tuple(str(word) for word in argv) if isinstance(argv, list) else (),
        attempts=tuple(_attempt(own) for own in attempts if isinstance(own, dict) and own),
        documents=_whole(corpus.get("documents")),
        heldout=_whole(corpus.get("heldout")),
        raw=environment,
    )


def _attempt(own: dict[str, Any]) -> Attempt:
    versions = own.get("versions")
    version = versions.get("ra3") if isinstance(versions, dict) else None
    code = " ".join(str(part) for part in ("ra3", version, own.get("code")) if part)
    return Attempt(_whole(own.get("attempt")), str(own.get("started", "?")), code)


def _metric_line(line: dict[str, Any]) -> MetricLine:
    values = {key: number(value) for key, value in line.items() if key not in ("stage", "round", "step")}
    return MetricLine(str(line.get("stage", "?")), _whole(line.get("round")), _whole(line.get("step")), values)


def _rollout(record: dict[str, Any]) -> RecordedRollout:
    tokens = record.get("tokens")
    return RecordedRollout(
        document=str(record.get("document", "?")),
        sample=str(record.get("sample", "?")),
        reward=number(record.get("reward")),
        verdict=str(record.get("verdict") or ""),
        opener=str(record.get("opener", "#")),
        tokens=tuple(_token(token) for token in tokens if isinstance(token, dict)) if isinstance(tokens, list) else (),
    )


def _token(token: dict[str, Any]) -> RecordedToken:
    advantage = number(token.get("advantage"))
    known = abs(advantage) < float("inf")  # false for NaN, too
    return RecordedToken(
        str(token.get("text", "")), str(token.get("role", "")), number(token.get("logp")), advantage if known else 0.0
    )


def _whole(value: object) -> int:
    """A whole number of a file; 0 for what is none."""
    return int(value) if isinstance(value, (int, float)) and abs(value) < 1e15 else 0


def _broken_lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    with path.open("rb") as file:
        bad = sum(bool(line.strip()) for line in file) - sum(1 for _ in read_lines(path))
    return [f"{path.name} has {bad} lines that are no JSON objects"] if bad else []


def _changed_files(folder: Path, names: Sequence[str] | None = None) -> Iterator[str]:
    """Files of a finished run, all or those of these names, that are not as it left them."""
    sums = _read_object(folder / SEAL, [])
    if not sums:
        yield f"{SEAL} is missing or holds no checksums"
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
    yield from (f"checkpoints/{e.file} is missing or damaged" for e in entries if not matches(folder, e))


def _first_difference(a: Path, b: Path) -> str:
    for line, (one, two) in enumerate(zip_longest(read_lines(a), read_lines(b), fillvalue={}), 1):
        if one != two:
            keys = [key for key in one | two if one.get(key) != two.get(key)]
            shown = ", ".join(f"{key} {one.get(key)} and {two.get(key)}" for key in keys[:4])
            place = " ".join(str((one or two).get(key)) for key in ("stage", "round", "step"))
            return f"metrics.jsonl: first different in line {line} ({place}): {shown}"
    return "metrics.jsonl: the same"
