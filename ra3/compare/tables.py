"""The tables of a comparison: printed as Markdown, and put on the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ra3.compare.aggregate import by_system, shown_metric
from ra3.compare.latent_tables import chain_table, heldout_table
from ra3.compare.plan import AFTER
from ra3.compare.results import Record
from ra3.compare.table import Table, points, shown, unique
from ra3.compare.training_tables import budget_table, cost_table, sigmoids_table, steps_table
from ra3.measure.statistics import BATCH, LOOKS


def tables(results: Record) -> list[Table]:
    """Every table for which there is something to show."""
    cells = results["cells"]
    found = (
        scores_table(results), differences_table(results), reach_table(results), cost_table(results),
        budget_table(results), steps_table(results), sigmoids_table(results), chain_table(cells), heldout_table(cells),
        seeds_table(cells),
    )  # fmt: skip
    return [table for table in found if table.rows]


def scores_table(results: Record) -> Table:
    """pass@1 by variant and band, before RLVR and after it."""
    rows = {(row["system"], row["metric"]): row for row in results["summary"]}
    columns = _columns(results["summary"], "system")
    seeds = {row["system"].removesuffix(AFTER): row["seeds"] for row in reversed(results["summary"])}
    body = []
    for name in unique(row["system"].removesuffix(AFTER) for row in results["summary"]):
        found = [rows.get((name + after, metric)) for metric, after in columns]
        body.append((name, str(seeds[name]), *(_score(row) if row else "" for row in found)))
    intro = (
        "Percent of problems solved at the first try: mean over seeds with 95% interval (Student's t). All bands "
        "together: interquartile mean with stratified bootstrap interval (rliable)."
    )
    return Table("pass@1", intro, ("mid-training", "seeds", *map(_column_name, columns)), body)


def _score(row: Record) -> str:
    own = row["iqm"] if row["bands"] > 1 else row
    return points(own["mean"], own["low"] if row["seeds"] > 1 else math.nan, own["high"])


def differences_table(results: Record) -> Table:
    """Paired differences over the seeds, before RLVR and after it."""
    rows = {(row["a"], row["b"], row["metric"]): row for row in results["differences"]}
    columns, metric = _columns(results["differences"], "a"), shown_metric(results["cells"])
    body = []
    for a, b in unique((row["a"].removesuffix(AFTER), row["b"].removesuffix(AFTER)) for row in results["differences"]):
        own = [rows.get((a + after, b + after, band)) for band, after in columns]
        gaps = [points(row["mean"], row["low"], row["high"], signed=True) if row else "" for row in own]
        judged = [row for after in ("", AFTER) if (row := rows.get((a + after, b + after, metric)))]
        above = "; ".join(unique(f"{row['above']} of {row['seeds']}" for row in judged))
        enough = "; ".join(unique(decision_text(row["decision"]) for row in judged))
        body.append((f"{a} \u2212 {b}", *gaps, above, enough))
    intro = (
        "Paired by seed, with 95% interval (Student's t). Enough seeds: a group sequential permutation test (AdaStop), "
        f"batches of {BATCH}, at most {BATCH * LOOKS}. The last two columns are about {metric}, before RLVR; after it, "
        "where it differs."
    )
    head = ("pair", *map(_column_name, columns), "seeds above 0", "enough seeds?")
    return Table("Differences in points of pass@1", intro, head, body)


def decision_text(decision: Record) -> str:
    """The sequential test's verdict: decision_text({"verdict": "go on", "seeds": 5}) == "no: go on to 10"."""
    verdict, seeds = decision["verdict"], decision["seeds"]
    return f"no: go on to {seeds + BATCH}" if verdict == "go on" else f"{verdict} after {seeds}"


def reach_table(results: Record) -> Table:
    """Whether RLVR widened what is reachable, or only sharpened it."""
    rows = {(row["variant"], row["band"], row["k"]): row for row in results["reach"]}
    ks = sorted({k for _, _, k in rows})
    body = [
        (name, band, *(_moved(rows.get((name, band, k))) for k in ks))
        for name, band in unique((name, band) for name, band, _ in rows)
    ]
    intro = (
        "pass@k, unbiased, in percent, before and after RLVR, at the smallest and the largest k; the difference paired "
        "by seed with 95% interval. More at k = 1 alone: RLVR has sharpened what was there; more at the largest k, "
        "too: it has widened what can be reached."
    )
    return Table("What RLVR reaches", intro, ("mid-training", "band", *(f"k = {k}" for k in ks)), body)


def _moved(row: Record | None) -> str:
    if row is None:
        return ""
    gap = points(row["mean"], row["low"], row["high"], signed=True)
    return f"{gap}; {100 * row['before']:.1f} to {100 * row['after']:.1f}"


def seeds_table(cells: Sequence[Record]) -> Table:
    """Each seed's pass@1 on the middle band, systems down."""
    metric, seeds = shown_metric(cells), sorted({cell["seed"] for cell in cells})
    body = []
    for name, own in by_system(cells).items():
        scores = {cell["seed"]: cell["scores"].get(metric) for cell in own}
        body.append((shown(name), *("" if (s := scores.get(seed)) is None else f"{100 * s:.1f}" for seed in seeds)))
    return Table(f"Seed by seed, {metric}", "Percent.", ("system", *map(str, seeds)), body)


def _columns(rows: Sequence[Record], key: str) -> list[tuple[str, str]]:
    """(metric, "" or "+rlvr") of the columns for which there is a row."""
    there = {(row["metric"], AFTER if row[key].endswith(AFTER) else "") for row in rows}
    metrics = unique(row["metric"] for row in rows)
    return [(metric, after) for metric in metrics for after in ("", AFTER) if (metric, after) in there]


def _column_name(column: tuple[str, str]) -> str:
    return f"{column[0].removesuffix(' pass@1')}{' + RLVR' if column[1] else ''}"
