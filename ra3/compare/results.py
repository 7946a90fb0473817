"""What the run folders of a comparison say: one record for every evaluation that is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

from ra3.compare.plan import AFTER, Cell
from ra3.errors import UserError
from ra3.measure.learning_curve import LEAST_REWARDS, fit_sigmoid
from ra3.measure.statistics import pass_at_k, powers_of_two
from ra3.run.checkpoints import CHECKSUMS
from ra3.run.files import read_lines, read_object
from ra3.run.inspect import RUN_AGAIN, finished_run
from ra3.run.ledger import by_kind, read_ledger, total

Record = dict[str, Any]
SMOOTH = 3
"""RLVR rewards are averaged over so many steps before they are compared."""
TRAINING = ("estep", "annotate", "mstep", "rlvr")
"""The kinds of stages that are training; held-out measuring is none."""


@contextmanager
def unchanged(run: Path) -> Iterator[None]:
    """Turns what goes wrong with a file's content inside into a UserError."""
    try:
        yield
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"a file of this run holds something else than ra3 wrote ({type(error).__name__}: {error})"
        raise UserError(what, where=str(run), fix=RUN_AGAIN) from error


def system(variant: str, stage: str) -> str:
    """What a variant is called after a stage: system("ra3", "rlvr-eval") == "ra3+rlvr"."""
    return variant + AFTER if stage.startswith("rlvr") else variant


def read_cells(cells: Sequence[Cell]) -> tuple[list[Record], list[str]]:
    """One record for every evaluation there is: system, seed, scores by band and metric, curves, cost, rewards; and a
    sentence for each that cannot be used, because a file of it was changed or lost."""
    found, problems = [], []
    for cell, stage in product(cells, ("eval", "rlvr-eval")):
        try:
            found.append(read_cell(cell, stage))
        except UserError as error:
            problems.append(str(error))
    return [record for record in found if record], problems


def read_cell(cell: Cell, stage: str) -> Record | None:
    """The record of one evaluation; None where it, or the run that made its model, is not finished. UserError where a
    file of the two is not as they left it."""
    folder, made_by = cell.folder(stage), cell.folder("midtrain" if stage == "eval" else "rlvr")
    runs = [run for run in (made_by, folder) if run]
    if not folder or not all((run / CHECKSUMS).is_file() for run in runs):
        return None
    for run in runs:
        finished_run(run)
    with unchanged(folder):
        return _record(cell, stage, folder, made_by)


def _record(cell: Cell, stage: str, folder: Path, made_by: Path | None) -> Record:
    results = read_object(folder / "results.json")
    trained = read_object(made_by / "results.json") if made_by and stage == "eval" else {}
    rewards = rlvr_rewards(made_by) if made_by and stage != "eval" else []
    own = [row for row in trained.get("rows", []) if row["model"] != "base"]
    curves = {**trained.get("curves", {}), **results.get("curves", {})}
    return {
        "system": system(cell.variant, stage),
        "variant": cell.variant,
        "seed": cell.seed,
        "scores": {f"{row['band']} {row['metric']}": row["mean"] for row in results["rows"]},
        "reach": reach(results.get("problems", [])),
        "heldout": {row["metric"]: row["mean"] for row in own},
        "curves": {
            name: {point["x"]: point["mean"] for point in points if point["model"] != "base"}
            for name, points in curves.items()
        },
        **course(rewards),
        "cost": training_cost(made_by) if made_by else {},
        "code": sorted({found for place in (made_by, folder) if place for found in code(place)}),
    }


def reach(counts: Sequence[Record]) -> dict[str, dict[int, float]]:
    """band -> k -> pass@k for k = 1, 2, 4, ... up to the samples that every problem of the band has."""
    bands: dict[str, list[Record]] = {}
    for count in counts:
        bands.setdefault(count["band"], []).append(count)
    return {
        band: {
            k: mean(pass_at_k(c["judged"], c["passed"], k) for c in own)
            for k in powers_of_two(min(c["judged"] for c in own))
        }
        for band, own in bands.items()
    }


def training_cost(folder: Path) -> dict[str, float]:
    """What training took: FLOPs, tokens generated, scored and trained on, CPU seconds, most memory."""
    kinds = by_kind(read_ledger(folder))
    return asdict(total({place: spent for kind in TRAINING for place, spent in kinds.get(kind, {}).items()}))


def code(folder: Path) -> set[str]:
    """Which code a run's attempts were made by: {"ra3 0.1.0 5f2c7a90b1de"}; the digits are of its sources
    (ra3/run/environment.py)."""
    made_on = read_object(folder / "environment.json")
    return {
        " ".join(["ra3", *filter(None, (attempt["versions"].get("ra3"), attempt.get("code")))])
        for attempt in (made_on, *made_on["earlier"])
    }


def rlvr_rewards(folder: Path) -> list[float]:
    """Reward of each RLVR step."""
    return [line["reward"] for line in read_lines(folder / "metrics.jsonl") if line.get("stage") == "rlvr"]


def course(rewards: Sequence[float]) -> Record:
    """What a comparison keeps of an RLVR course: smoothed rewards, and ScaleRL's sigmoid where the course shows it."""
    fit = fit_sigmoid(rewards) if len(rewards) >= LEAST_REWARDS else None
    return {"rewards": smoothed(rewards), "sigmoid": fit._asdict() if fit and fit.levels_off(len(rewards)) else {}}


def smoothed(rewards: Sequence[float]) -> list[float]:
    """Rewards averaged over the last SMOOTH steps, at the start over those there are."""
    return [mean(rewards[max(0, i - SMOOTH + 1) : i + 1]) for i in range(len(rewards))]
