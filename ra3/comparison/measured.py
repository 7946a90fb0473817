"""The numbers of a comparison: read from its run folders, put together over the seeds. The seed is the unit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean, median
from typing import Any

from ra3.comparison.plan import Cell, Comparison
from ra3.learning_curve import fit_sigmoid
from ra3.ledger import by_phase, read_ledger
from ra3.metrics import read_lines
from ra3.seeds import derive
from ra3.sequential_test import decide
from ra3.statistics import Interval, interquartile_mean, stratified_bootstrap, student_t

Record = dict[str, Any]
SMOOTH = 3
"""RLVR rewards are averaged over so many steps before they are compared."""
CHAIN_CURVES = ("think_rate_by_chain", "comment_right_by_chain", "latent_gain_by_chain")
AFTER = "+rlvr"


def system(variant: str, stage: str) -> str:
    """What a variant is called after a stage: system("ra3", "rlvr-eval") == "ra3+rlvr"."""
    return variant + AFTER if stage.startswith("rlvr") else variant


def read_cells(cells: Sequence[Cell]) -> list[Record]:
    """One record for every evaluation there is: system, seed, scores by band and metric, curves, cost, rewards."""
    return [found for cell in cells for stage in ("eval", "rlvr-eval") if (found := read_cell(cell, stage))]


def read_cell(cell: Cell, stage: str) -> Record | None:
    """The record of one evaluation; None where it is not there yet."""
    folder, made_by = cell.folder(stage), cell.folder("midtrain" if stage == "eval" else "rlvr")
    results = _results(folder)
    if not results:
        return None
    trained = _results(made_by) if stage == "eval" else {}
    raw = rlvr_rewards(made_by) if made_by and stage != "eval" else []
    own = [row for row in trained.get("rows", []) if row["model"] != "base"]
    curves = {**trained.get("curves", {}), **results.get("curves", {})}
    return {
        "system": system(cell.variant, stage),
        "variant": cell.variant,
        "seed": cell.seed,
        "scores": {f"{row['band']} {row['metric']}": row["mean"] for row in results["rows"]},
        "heldout": {row["metric"]: row["mean"] for row in own},
        "curves": {
            name: {point["x"]: point["mean"] for point in points if point["model"] != "base"}
            for name, points in curves.items()
        },
        "rewards": smoothed(raw),
        "raw_rewards": raw,
        "cost": training_cost(made_by) if made_by else {},
    }


def training_cost(folder: Path) -> dict[str, float]:
    """What training took: FLOPs, tokens generated, scored and trained on, CPU seconds; held-out measuring left out."""
    phases = [by_phase(read_ledger(folder), stage) for stage in ("estep", "annotate", "mstep", "rlvr")]
    spent = [asdict(s) for own in phases for s in own.values()]
    return {key: sum(s[key] for s in spent) for key in ("flops", "generated", "scored", "trained", "cpu_s")}


def rlvr_rewards(folder: Path) -> list[float]:
    """Reward of each RLVR step."""
    return [line["reward"] for line in read_lines(folder / "metrics.jsonl") if line.get("stage") == "rlvr"]


def smoothed(rewards: Sequence[float]) -> list[float]:
    """Rewards averaged over the last SMOOTH steps."""
    return [mean(rewards[max(0, i - SMOOTH + 1) : i + 1]) for i in range(len(rewards))]


def steps_share(own: Sequence[float], other: Sequence[float]) -> float:
    """Steps until `own` reaches the last of `other`, as a share of the other's steps; inf if it never does."""
    reached = next((step for step, reward in enumerate(own) if reward >= other[-1]), math.inf)
    return reached / len(other)


def summarised(comparison: Comparison, cells: Sequence[Record]) -> Record:
    """Everything for results.json: `cells`; over the seeds `summary`, `differences`, `steps`."""
    return {
        "seeds": list(comparison.seeds),
        "against": comparison.against,
        "cells": list(cells),
        "summary": [row for name, own in by_system(cells).items() for row in summary_rows(name, own)],
        "differences": difference_rows(comparison, cells),
        "steps": steps_rows(comparison, cells),
        "sigmoids": [row for name, own in by_system(cells).items() if (row := sigmoid_row(name, own))],
    }


def summary_rows(name: str, own: Sequence[Record]) -> list[Record]:
    """Over the seeds, for each band's pass@1 and all bands together: mean with Student's interval, and the
    interquartile mean with its stratified bootstrap interval."""
    metrics = [metric for metric in own[0]["scores"] if metric.endswith("pass@1")]
    tables = {metric: [[cell["scores"][metric]] for cell in own] for metric in metrics}
    if len(metrics) > 1:
        tables["all pass@1"] = [[cell["scores"][metric] for metric in metrics] for cell in own]
    rows = []
    for metric, table in tables.items():
        spread = stratified_bootstrap(table, derive(0, "compare", name, metric), interquartile_mean)
        averages = [mean(scores) for scores in table]
        rows.append(
            {
                "system": name,
                "metric": metric,
                "seeds": len(own),
                **average(averages)._asdict(),
                "iqm": spread._asdict(),
            }
        )
    return rows


def difference_rows(comparison: Comparison, cells: Sequence[Record]) -> list[Record]:
    """Each system minus the one it is compared with, on the same seeds: mean, Student's interval, seeds above 0."""
    systems, rows = by_system(cells), []
    for name in systems:
        other = comparison.against + (AFTER if name.endswith(AFTER) else "")
        if name == other or other not in systems:
            continue
        second = {cell["seed"]: cell for cell in systems[other]}
        pairs = [(cell, second[cell["seed"]]) for cell in systems[name] if cell["seed"] in second]
        for metric in [m for m in systems[name][0]["scores"] if m.endswith("pass@1")] if pairs else []:
            gaps = [a["scores"][metric] - b["scores"][metric] for a, b in pairs]
            place = {"a": name, "b": other, "metric": metric, "above": sum(gap > 0 for gap in gaps), "seeds": len(gaps)}
            first, others = ([cell["scores"][metric] for cell in side] for side in zip(*pairs, strict=True))
            decision = decide(first, others, derive(0, "compare", name, metric))
            rows.append({**place, **average(gaps)._asdict(), "decision": decision._asdict()})
    return rows


def steps_rows(comparison: Comparison, cells: Sequence[Record]) -> list[Record]:
    """RLVR steps until a system reaches the final reward of the one it is compared with, as a share: the median."""
    systems, rows = by_system(cells), []
    second = {cell["seed"]: cell["rewards"] for cell in systems.get(comparison.against + AFTER, [])}
    for name, own in systems.items():
        shares = [
            steps_share(cell["rewards"], second[cell["seed"]])
            for cell in own
            if cell["rewards"] and second.get(cell["seed"]) and cell["variant"] != comparison.against
        ]
        if shares:
            rows.append({"a": name, "b": comparison.against + AFTER, "median_share": median(shares), "shares": shares})
    return rows


def sigmoid_row(name: str, own: Sequence[Record]) -> Record | None:
    """ScaleRL's sigmoid, fitted to each seed's rewards: A, C_mid and B with Student's interval over the seeds."""
    fits = [fit_sigmoid(cell["raw_rewards"]) for cell in own if len(cell["raw_rewards"]) >= 5]
    if not fits:
        return None
    values = {part: [getattr(fit, part) for fit in fits] for part in ("asymptote", "midpoint", "steepness")}
    found = {part: average(numbers)._asdict() for part, numbers in values.items()}
    return {"system": name, "seeds": len(fits), **found}


def average(values: Sequence[float]) -> Interval:
    """Mean over seeds with Student's interval; one seed has none (NaN)."""
    return student_t(values) if len(values) > 1 else Interval(values[0], math.nan, math.nan)


def by_system(cells: Iterable[Record]) -> dict[str, list[Record]]:
    """The records by system, in order of appearance; those after RLVR last."""
    found: dict[str, list[Record]] = {}
    for cell in sorted(cells, key=lambda c: c["system"].endswith(AFTER)):
        found.setdefault(cell["system"], []).append(cell)
    return found


def shown_metric(cells: Sequence[Record]) -> str:
    """The pass@1 that single numbers are about: of the edge band, else of the first band there is."""
    metrics = [metric for cell in cells for metric in cell["scores"] if metric.endswith("pass@1")]
    return next((m for m in metrics if m.startswith("edge")), metrics[0] if metrics else "")


def over_seeds(cells: Sequence[Record], pick: Callable[[Record], float | None]) -> str:
    """Median and range over the seeds of what `pick` finds; "" if it finds nothing."""
    there = [value for cell in cells if (value := pick(cell)) is not None and not math.isnan(value)]
    return f"{median(there):.2f} ({min(there):.2f} to {max(there):.2f})" if there else ""


def _results(folder: Path | None) -> Record:
    path = folder / "results.json" if folder else None
    return json.loads(path.read_text()) if path and path.is_file() else {}
