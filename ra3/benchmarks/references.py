"""Expected values that a benchmark does not store: its reference solutions are run in the sandbox, never here.

They are kept in a file per benchmark, named by a hash of the solutions, the inputs and the version of Python, so they
are computed once for a version of a data set.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ra3.errors import UserError
from ra3.run.files import write_atomic
from ra3.sandbox import Job, Outcome, Sandbox
from ra3.sandbox.inside import values

CPU_S, WALL_S, MEMORY_MB = 60.0, 300.0, 4096
MAX_OUTPUT = 1 << 28
FORMAT = 2


@dataclass(frozen=True)
class Task:
    """A reference solution and what it is to be run on: ``Task("Mbpp/3", "def f(n): ...", "f", [[1], [2]])``."""

    id: str
    source: str
    entry_point: str
    inputs: list


@dataclass(frozen=True)
class Answers:
    """What a reference gave."""

    values: dict[int, object]
    """By the number of the input; what is too large for the memory of the sandbox is left out."""
    cpu_s: float
    """CPU seconds for all of them."""


def answers(tasks: Sequence[Task], where: str, workers: int = 2) -> list[Answers]:
    """What every reference gives for its inputs, from disk if it was computed before.

    UserError, with ``where``, for a reference that fails or gives what is not plain data.
    """
    jobs = [_job(task, where) for task in tasks]
    path = _cache_file(jobs)
    outcomes = _stored(path, len(jobs))
    if outcomes is None:
        with Sandbox(workers, CPU_S, WALL_S, MEMORY_MB) as sandbox:
            outcomes = [_checked(*pair, where) for pair in zip(tasks, sandbox.run(jobs), strict=True)]
        _store(path, outcomes)
    return [Answers({int(i): values.from_wire(tree) for i, tree in trees.items()}, cpu_s) for trees, cpu_s in outcomes]


def _job(task: Task, where: str) -> Job:
    try:
        return Job.call(task.source, task.entry_point, task.inputs, MAX_OUTPUT)
    except TypeError as error:
        raise UserError(f"task {task.id} has an input that is {error}", where=where) from error


def _checked(task: Task, outcome: Outcome, where: str) -> tuple[dict[str, object], float]:
    """The encoded values and the CPU seconds."""
    raised = next((r.error for r in outcome.results if r.error not in (None, "MemoryError")), None)
    problem = outcome.fault or raised
    if problem is None and len(outcome.results) != len(task.inputs):
        problem = "it gave too few values"
    if problem is not None:
        raise UserError(f"the reference solution of {task.id} fails on its own inputs: {problem}", where=where)
    trees = {str(i): json.loads(result.data) for i, result in enumerate(outcome.results) if not result.error}
    return trees, outcome.cpu_s


def cache_folder() -> Path:
    """Where computed and downloaded things are kept: ``$XDG_CACHE_HOME/ra3``, else ``~/.cache/ra3``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ra3"


def _cache_file(jobs: Sequence[Job]) -> Path:
    digest = hashlib.sha256(f"{FORMAT} {sys.version_info[:3]}".encode())
    for job in jobs:
        for part in (job.source.encode("utf-8", "surrogatepass"), str(job.entry_point).encode(), job.data):
            digest.update(len(part).to_bytes(8, "big") + part)
    return cache_folder() / f"references-{digest.hexdigest()[:32]}.json.gz"


def _stored(path: Path, count: int) -> list[tuple[dict[str, object], float]] | None:
    """What the file holds; None if it is not there or not whole."""
    try:
        found = json.loads(gzip.decompress(path.read_bytes()))
        return [(dict(trees), float(cpu_s)) for trees, cpu_s in found] if len(found) == count else None
    except (OSError, EOFError, ValueError, TypeError):
        return None


def _store(path: Path, outcomes: Sequence[tuple[dict[str, object], float]]) -> None:
    """Keep it; without a place to keep it, the next run computes it again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, gzip.compress(json.dumps(outcomes).encode(), 3))
    except OSError:
        return
