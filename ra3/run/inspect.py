"""Run folders looked at from outside: what state they are in, whether they are whole, and how two of them differ.

Nothing here changes a folder, and a folder of a run that is going can be looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from ra3.config.help import settings
from ra3.config.tree import plain
from ra3.errors import UserError
from ra3.run.display import duration
from ra3.run.folder import config_changes, flatten, read_object
from ra3.run.lock import owner_of
from ra3.run.manifest import SEAL, checksum, matches, product_files, read_manifest
from ra3.run.metrics import number, read_lines
from ra3.run.profile import cost_differences

NUMBERS = ("config.json", "metrics.jsonl", "results.json")
"""The files of a finished run whose numbers a comparison shows."""
RUN_AGAIN = "restore it, or move that folder away: the same command then runs it again"


class Summary(NamedTuple):
    """One run in a line: Summary("first", "midtrain", "finished", "2026-11-21T08:00:00Z", "3m20s", "estep 16")."""

    name: str
    command: str
    state: str
    """finished; running (by which process); stopped."""
    started: str
    spent: str
    """Wall time of all attempts."""
    steps: str
    """Steps done, by stage."""


def find_runs(folder: Path) -> list[Path]:
    """The run folders in `folder`, also one level deeper, as the demo's are. UserError if there is none."""
    if not folder.is_dir():
        raise UserError("there is no such folder", where=str(folder), fix="name the folder that holds your runs")
    depths = ("config.json", "*/config.json", "*/*/config.json")
    found = [
        file.parent for depth in depths for file in folder.glob(depth) if (file.parent / "environment.json").exists()
    ]
    if not found:
        raise UserError("there is no run in this folder", where=str(folder), fix="name the folder that holds your runs")
    return sorted(found)


def summary(run: Path, root: Path) -> Summary:
    """A run in a line; `root` is the folder its name is given from."""
    facts, steps, spent = _object(run / "environment.json"), {}, {}
    for line in read_lines(run / "metrics.jsonl"):
        steps[str(line.get("stage"))] = steps.get(str(line.get("stage")), 0) + 1
    for line in read_lines(run / "timing.jsonl"):
        spent[str(line.get("attempt"))] = number(line.get("elapsed_s"))
    attempts = [*(facts.get("earlier") or []), facts]
    name = str(run.relative_to(root)) if run != root else run.resolve().name
    done = ", ".join(f"{stage} {count}" for stage, count in steps.items()) or "none"
    return Summary(
        name, str(facts.get("command", "?")), state(run), str(attempts[0].get("started", "?")),
        duration(sum(spent.values())), done,
    )  # fmt: skip


def state(run: Path) -> str:
    """finished, running or stopped."""
    if owner := owner_of(run):
        return f"running: {owner}"
    return "finished" if (run / SEAL).exists() else "stopped"


def troubles(run: Path) -> Iterator[str]:
    """What is wrong with a run folder, one sentence each; nothing if it is whole. UserError if it is no run folder."""
    _refuse_other(run)
    for name in ("config.json", "environment.json"):
        if not _object(run / name):
            yield f"{name} is missing or no JSON object"
    if (run / "checkpoints").is_dir():
        yield from _checkpoint_troubles(run / "checkpoints")
    for name in ("metrics.jsonl", "rollouts.jsonl", "timing.jsonl"):
        yield from _line_troubles(run / name)
    yield from _gaps(run / "metrics.jsonl")
    if (run / SEAL).exists():
        yield from _seal_troubles(run)


def refuse_changed(run: Path) -> None:
    """UserError if what a comparison reads of a finished run is not as the run left it."""
    names = [name for name in ("environment.json", "ledger.jsonl") if not (run / name).is_file()]
    found = [f"{name} is missing" for name in names]
    found += [*_seal_troubles(run, NUMBERS), *_line_troubles(run / "ledger.jsonl")]
    if found:
        raise UserError(found[0], where=str(run), fix=RUN_AGAIN)


@contextmanager
def unchanged(run: Path) -> Iterator[None]:
    """What is read inside is read from files that ra3 wrote: UserError where they hold something else."""
    try:
        yield
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"a file of this run holds something else than ra3 wrote ({type(error).__name__}: {error})"
        raise UserError(what, where=str(run), fix=RUN_AGAIN) from error


def differences(a: Path, b: Path) -> Iterator[str]:
    """How two runs differ: settings, files, the first differing step, results side by side."""
    _refuse_other(a, b)
    changes = config_changes(read_object(a / "config.json"), read_object(b / "config.json"))
    yield "settings: " + ("the same" if not changes else "".join(f"\n  {change}" for change in changes))
    yield _first_difference(a / "metrics.jsonl", b / "metrics.jsonl")
    names = dict.fromkeys([*product_files(a), *product_files(b)])
    for name in names:
        if name.startswith("model/") or name == "annotated.jsonl":
            there = [(run / name).is_file() for run in (a, b)]
            same = all(there) and checksum(a / name) == checksum(b / name)
            yield f"{name}: " + ("the same" if same else "different" if all(there) else f"only in {(a, b)[there[1]]}")
    yield from cost_differences(a, b)
    yield from _results(a, b)


def details(run: Path) -> str:
    """One run in full."""
    _refuse_other(run)
    facts, config = read_object(run / "environment.json"), read_object(run / "config.json")
    lines = [f"{name:9}{value}" for name, value in summary(run, run)._asdict().items()]
    lines += [f"attempts {facts.get('attempt', '?')}", f"resume   {facts.get('resume', '?')}"]
    for name in ("corpus", "checkpoints", "fork", "versions"):
        lines += [f"{name}: {json.dumps(facts[name])}"] if name in facts else []
    lines += ["settings that differ from the defaults", *(f"  {line}" for line in _changed_settings(config))]
    rows = _rows(_object(run / "results.json").get("rows"))
    return "\n".join([*lines, "results", *(f"  {' '.join(key)}: {_shown(row)}" for key, row in rows.items())])


def _refuse_other(*folders: Path) -> None:
    for folder in folders:
        if not (folder / "config.json").is_file():
            raise UserError("this is no run folder: it has no config.json", where=str(folder), fix="`ra3 runs list`")


def _changed_settings(config: dict[str, Any]) -> list[str]:
    defaults = {key: setting.default for key, setting in settings().items()}
    flat = flatten(config)
    return [f"{key} = {value}" for key, value in flat.items() if plain(defaults.get(key)) != value]


def _seal_troubles(run: Path, names: Sequence[str] | None = None) -> Iterator[str]:
    """Files of a finished run, all or those of these names, that are not as it left them."""
    sealed = _object(run / SEAL)
    if not sealed:
        yield f"{SEAL} is no JSON object"
    for name in sealed if names is None else [name for name in names if name in sealed]:
        if not (run / name).is_file():
            yield f"{name} is missing"
        elif checksum(run / name) != sealed[name]:
            yield f"{name} is not as the run left it"


def _checkpoint_troubles(folder: Path) -> Iterator[str]:
    try:
        entries, broken = read_manifest(folder)
    except UserError as error:
        yield f"checkpoints: {error.what}"
        return
    yield from (f"checkpoints/{name} cannot be read" for name in broken)
    for entry in entries:
        if not matches(folder, entry):
            yield f"checkpoints/{entry.file} is missing or damaged"


def _line_troubles(path: Path) -> Iterator[str]:
    if path.exists():
        lines = sum(bool(line.strip()) for line in path.open("rb"))
        if bad := lines - sum(1 for _ in read_lines(path)):
            yield f"{path.name} has {bad} lines that are no JSON objects"


def _gaps(path: Path) -> Iterator[str]:
    steps: dict[tuple, list] = {}
    for line in read_lines(path):
        steps.setdefault((line.get("stage"), line.get("round")), []).append(line.get("step"))
    for (stage, em_round), found in steps.items():
        if found != list(range(len(found))):
            yield f"{path.name}: the steps of {stage}, round {em_round}, are not 0 to {len(found) - 1}"


def _first_difference(a: Path, b: Path) -> str:
    pairs = zip_longest(read_lines(a), read_lines(b), fillvalue={})
    for line, (one, two) in enumerate(pairs, 1):
        if one != two:
            keys = [key for key in one | two if one.get(key) != two.get(key)]
            shown = ", ".join(f"{key} {one.get(key)} and {two.get(key)}" for key in keys[:4])
            place = " ".join(str((one or two).get(key)) for key in ("stage", "round", "step"))
            return f"metrics.jsonl: first different in line {line} ({place}): {shown}"
    return "metrics.jsonl: the same"


def _results(a: Path, b: Path) -> Iterator[str]:
    tables = [_rows(_object(run / "results.json").get("rows")) for run in (a, b)]
    for key in dict.fromkeys([*tables[0], *tables[1]]):
        one, two = (table.get(key) for table in tables)
        yield f"{' '.join(key)}: {_shown(one)} and {_shown(two)}"


def _rows(rows: Any) -> dict[tuple[str, ...], dict]:
    """Result rows by band and metric; by model too where a folder holds several."""
    found = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return {tuple(str(row.get(key, "")) for key in ("model", "band", "metric")): row for row in found}


def _shown(row: dict | None) -> str:
    if row is None:
        return "-"
    mean, low, high = (number(row.get(key)) for key in ("mean", "low", "high"))
    return f"{mean:.4g} [{low:.4g}, {high:.4g}]"


def _object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; {} where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def table(summaries: Iterable[Summary]) -> str:
    """Summaries as aligned columns."""
    lines = [Summary._fields, *summaries]
    widths = [max(len(line[column]) for line in lines) for column in range(len(Summary._fields))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("  ".join(cells).rstrip() for cells in padded)
