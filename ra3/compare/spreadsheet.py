"""A comparison's numbers for spreadsheets and data frames: scores.csv, one line for each evaluation."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from ra3.compare.results import Record
from ra3.compare.table import unique


def scores_csv(cells: Sequence[Record]) -> str:
    """Columns: system, seed; scores, "edge pass@1"; measures on held-out text, "think_rate"; what the last stage of
    training cost, "flops"; after RLVR also its final reward, and its asymptote where the course shows one. Empty: the
    run has no such number.
    """
    lines = [_line(cell) for cell in cells]
    text = io.StringIO()
    table = csv.DictWriter(text, unique(column for line in lines for column in line), lineterminator="\n")
    table.writeheader()
    table.writerows(lines)
    return text.getvalue()


def _line(cell: Record) -> dict[str, str]:
    reach = {f"{band} pass@{k}": share for band, curve in cell["reach"].items() for k, share in curve.items()}
    numbers = {**reach, **cell["scores"], **cell["heldout"], **cell["cost"]}
    if cell["rewards"]:
        numbers["final_reward"] = cell["rewards"][-1]
    if cell["sigmoid"]:
        numbers["asymptote"] = cell["sigmoid"]["asymptote"]
    return {"system": cell["system"], "seed": str(cell["seed"]), **{k: str(v) for k, v in numbers.items()}}
