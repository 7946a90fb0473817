"""The numbers of a comparison put together over the seeds. The seed is the unit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from statistics import mean, median

from ra3.compare.equal_flops import Budget, rivals
from ra3.compare.plan import AFTER, Comparison
from ra3.compare.results import Record
from ra3.measure.statistics import Interval, interquartile_mean, sequential_test, stratified_bootstrap, student_t
from ra3.seeds import derive


def steps_share(own: Sequence[float], other: Sequence[float]) -> float:
    """Steps until `own` reaches the last of `other`, as a share of the other's steps; inf if it never does."""
    reached = next((step for step, reward in enumerate(own) if reward >= other[-1]), math.inf)
    return reached / len(other)


def summarised(comparison: Comparison, cells: Sequence[Record], budgets: Sequence[Budget] = ()) -> Record:
    """Everything for results.json: `cells`; over the seeds `summary`, `differences`, `steps`, `sigmoids`, `reach`."""
    return {
        "seeds": list(comparison.seeds),
        "baseline": baseline(comparison, cells),
        "equal_flops": comparison.equal_flops,
        "budgets": [asdict(budget) for budget in budgets],
        "code": dict(Counter(made_by for cell in cells for made_by in cell["code"])),
        "cells": list(cells),
        "summary": [row for name, own in by_system(cells).items() for row in summary_rows(name, own)],
        "differences": difference_rows(comparison, cells),
        "steps": steps_rows(comparison, cells),
        "sigmoids": [row for name, own in by_system(cells).items() if (row := sigmoid_row(name, own))],
        "sigmoid_differences": sigmoid_differences(comparison, cells),
        "reach": reach_rows(cells),
    }


def baseline(comparison: Comparison, cells: Sequence[Record]) -> str:
    """What costs are multiples of: the last of `against` that was mid-trained; the last of all if none was."""
    trained = {cell["system"] for cell in cells if cell["cost"]}
    return next((name for name in reversed(comparison.against) if name in trained), comparison.against[-1])


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
        place = {"system": name, "metric": metric, "bands": len(table[0]), "seeds": len(own)}
        rows.append({**place, **average(averages)._asdict(), "iqm": spread._asdict()})
    return rows


def pairs(comparison: Comparison, cells: Sequence[Record]) -> Iterator[tuple[str, str, list[tuple[Record, Record]]]]:
    """(system, the one it is compared with, their records on the same seeds), before and after RLVR."""
    systems = by_system(cells)
    for name, own in systems.items():
        after = AFTER if name.endswith(AFTER) else ""
        for rival in rivals(comparison, name.removesuffix(AFTER)):
            second = {cell["seed"]: cell for cell in systems.get(rival + after, [])}
            if both := [(cell, second[cell["seed"]]) for cell in own if cell["seed"] in second]:
                yield name, rival + after, both


def difference_rows(comparison: Comparison, cells: Sequence[Record]) -> list[Record]:
    """Each system minus the one it is compared with, on the same seeds: mean, Student's interval, seeds above 0."""
    rows = []
    for name, other, both in pairs(comparison, cells):
        records = [cell for pair in both for cell in pair]
        metrics = [metric for metric in both[0][0]["scores"] if metric.endswith("pass@1")]
        for metric in [metric for metric in metrics if all(metric in cell["scores"] for cell in records)]:
            first, second = ([cell["scores"][metric] for cell in side] for side in zip(*both, strict=True))
            gaps = [a - b for a, b in zip(first, second, strict=True)]
            place = {"a": name, "b": other, "metric": metric, "above": sum(gap > 0 for gap in gaps), "seeds": len(gaps)}
            decision = sequential_test(first, second, derive(0, "compare", name, metric))
            rows.append({**place, **average(gaps)._asdict(), "decision": decision._asdict()})
    return rows


def steps_rows(comparison: Comparison, cells: Sequence[Record]) -> list[Record]:
    """RLVR steps until a system reaches the final reward of the one it is compared with, as a share: the median; and
    how far their final rewards lie apart, paired by seed."""
    rows = []
    for name, other, both in pairs(comparison, cells):
        courses = [(a["rewards"], b["rewards"]) for a, b in both if a["rewards"] and b["rewards"]]
        if courses:
            shares = [steps_share(own, against) for own, against in courses]
            apart = average([own[-1] - against[-1] for own, against in courses])._asdict()
            rows.append({"a": name, "b": other, "median_share": median(shares), "shares": shares, "final": apart})
    return rows


def sigmoid_row(name: str, own: Sequence[Record]) -> Record | None:
    """ScaleRL's sigmoid, fitted to each seed's rewards: A, C_mid and B with Student's interval over the `seeds`, of all
    the `courses`, that show their asymptote. None where no seed does."""
    fits = [cell["sigmoid"] for cell in own if cell["sigmoid"]]
    if not fits:
        return None
    rising = [fit for fit in fits if fit["asymptote"] > fit["start"]]  # a level course has no C_mid and no B
    values = {"asymptote": [fit["asymptote"] for fit in fits]}
    values |= {part: [fit[part] for fit in rising] for part in ("midpoint", "steepness") if rising}
    found = {part: average(numbers)._asdict() for part, numbers in values.items()}
    return {"system": name, "seeds": len(fits), "courses": sum(bool(cell["rewards"]) for cell in own), **found}


def sigmoid_differences(comparison: Comparison, cells: Sequence[Record]) -> list[Record]:
    """Asymptote A of a system minus that of the one it is compared with, on the seeds where both courses show it."""
    rows = []
    for name, other, both in pairs(comparison, cells):
        gaps = [a["sigmoid"]["asymptote"] - b["sigmoid"]["asymptote"] for a, b in both if a["sigmoid"] and b["sigmoid"]]
        if gaps:
            rows.append({"a": name, "b": other, "seeds": len(gaps), **average(gaps)._asdict()})
    return rows


def reach_rows(cells: Sequence[Record]) -> list[Record]:
    """What RLVR did to a variant's pass@k, paired by seed, at the smallest k and the largest: does it sharpen only, or
    also widen what is reachable?"""
    before = {(cell["variant"], cell["seed"]): cell["reach"] for cell in cells if not cell["system"].endswith(AFTER)}
    after = [cell for cell in cells if cell["system"].endswith(AFTER)]
    rows = []
    for name in dict.fromkeys(cell["variant"] for cell in after):
        both = [(c["reach"], before.get((name, c["seed"]), {})) for c in after if c["variant"] == name]
        for band in both[0][0]:
            ks = sorted(set.intersection(*(set(own.get(band, {})) for pair in both for own in pair)))
            for k in {ks[0]: 0, ks[-1]: 0} if ks else ():
                gaps = [a[band][k] - b[band][k] for a, b in both]
                sides = (mean(own[side][band][k] for own in both) for side in (1, 0))
                place = dict(zip(("before", "after"), sides, strict=True))
                rows.append({"variant": name, "band": band, "k": k, **place, **average(gaps)._asdict()})
    return rows


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
