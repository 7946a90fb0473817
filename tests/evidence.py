"""The numbers behind the tables of the documentation, docs/evidence/NAME.csv: scores.csv of comparisons."""

import csv
from pathlib import Path
from statistics import mean

DOCS = Path(__file__).parent.parent / "docs"
BANDS, AFTER = ("known", "edge", "hard"), "+rlvr"
Sheet = dict[str, dict[int, dict[str, float]]]
"""system -> seed -> column -> number"""


def sheet(name: str) -> Sheet:
    found: Sheet = {}
    with (DOCS / "evidence" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            numbers = {column: float(value) for column, value in line.items() if column != "system" and value}
            found.setdefault(line["system"], {})[int(line["seed"])] = numbers
    return found


def all_bands(numbers: dict[str, float]) -> float:
    """pass@1 in percent, mean over the bands."""
    return 100 * mean(numbers[f"{band} pass@1"] for band in BANDS)
