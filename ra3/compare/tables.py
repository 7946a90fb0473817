"""The tables of a comparison: printed as Markdown, and put on the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from statistics import mean, median

from ra3.compare.definition import AFTER, TWIN
from ra3.compare.results import (
    COURSE,
    SMOOTH,
    THINKS,
    Compared,
    Estimate,
    Evaluation,
    by_system,
    shown_metric,
    unique,
)
from ra3.measure.statistics import BATCH, LOOKS, Decision, Interval
from ra3.run.results import Cell, Table

HELDOUT = {
    "think_rate": "thinks",
    "boundary_f1": "boundary F1",
    "comments_right": "comments right",
    "swap_changes_code": "swapped: code changes",
    "delete_changes_code": "deleted: code changes",
    "latent_information_share": "information on the operation",
    "duration": "steps per intention (tau)",
    "discount_per_intention": "implied discount",
}


def tables(results: Compared) -> dict[str, list[Table]]:
    """The tables of each section of the page for which there is something to show."""
    found = {
        "Results": [scores_table(results), differences_table(results)],
        "What is reachable": [reach_table(results), beyond_table(results)],
        "Cost": [cost_table(results), budget_table(results)],
        "RLVR": [steps_table(results), sigmoids_table(results)],
        "Intentions": [chain_table(results.cells), heldout_table(results.cells)],
        "Seeds": [seeds_table(results.cells)],
    }
    filled = {section: [table for table in own if table.rows] for section, own in found.items()}
    return {section: own for section, own in filled.items() if own}


def shown(system: str) -> str:
    """A system's name for people: shown("ra3+rlvr") == "ra3 + RLVR"."""
    return f"{system.removesuffix(AFTER)} + RLVR" if system.endswith(AFTER) else system


def share_cell(found: Interval, unit: float = 100) -> Cell:
    """A share in percent with its interval: "50.0 [40.0, 60.0]", or in another unit; one seed has no interval."""
    text, low, high = (f"{unit * part:.1f}" for part in found)
    return Cell(text) if math.isnan(found.low) else Cell(text, low, high)


def gap_cell(found: Interval, note: str = "") -> Cell:
    """A difference in points with its interval; coloured where that, as it is written, leaves out 0."""
    text, low, high = (f"{100 * part:+.1f}" for part in found)
    if math.isnan(found.low):
        return Cell(text, note=note)
    return Cell(text, low, high, note, trend="up" if float(low) > 0 else "down" if float(high) < 0 else "")


def scores_table(results: Compared) -> Table:
    """pass@1 by variant and band, before RLVR and after it."""
    rows = {(row.system, row.metric): row for row in results.summary if row.iqm}
    columns = _columns((row.metric, row.system) for row in rows.values())
    seeds = {row.system.removesuffix(AFTER): row.seeds for row in reversed(rows.values())}
    body = []
    for name in unique(row.system.removesuffix(AFTER) for row in rows.values()):
        found = [rows.get((name + after, metric)) for metric, after in columns]
        body.append((name, str(seeds[name]), *(_score(row) if row else "" for row in found)))
    intro = (
        "Percent of problems solved at the first try: mean over seeds with 95% interval (Student's t). All bands "
        "together: interquartile mean with stratified bootstrap interval (rliable)."
    )
    return Table("pass@1", ("mid-training", "seeds", *map(_column_name, columns)), body, intro)


def _score(row: Estimate) -> Cell:
    found = row.iqm if row.iqm and row.metric.startswith("all ") else row.interval
    return share_cell(found if row.seeds > 1 else Interval(found.mean, math.nan, math.nan))


def differences_table(results: Compared) -> Table:
    """Paired differences over the seeds, before RLVR and after it."""
    rows = {
        (row.a, row.b.removesuffix(AFTER), row.metric): row
        for row in results.differences
        if row.metric.endswith("pass@1")
    }
    columns, metric = _columns((row.metric, row.a) for row in rows.values()), shown_metric(results.cells)
    body = []
    for a, b in unique((a.removesuffix(AFTER), b) for a, b, _ in rows):
        own = [rows.get((a + after, b, band)) for band, after in columns]
        judged = [row for after in ("", AFTER) if (row := rows.get((a + after, b, metric)))]
        above = "; ".join(unique(f"{row.above} of {row.seeds}" for row in judged))
        enough = "; ".join(unique(decision_text(row.decision) for row in judged))
        body.append((f"{a} \u2212 {b}", *(gap_cell(row.gap) if row else "" for row in own), above, enough))
    intro = (
        "Paired by seed, with 95% interval (Student's t). Enough seeds: a group sequential permutation test (AdaStop), "
        f"batches of {BATCH}, at most {BATCH * LOOKS}. The last two columns are about {metric}, before RLVR; after it, "
        "where it differs."
    )
    heads = ("pair", *map(_column_name, columns), "seeds above 0", "enough seeds?")
    return Table("Differences in points of pass@1", heads, body, intro)


def decision_text(decision: Decision) -> str:
    """The sequential test's verdict: decision_text(Decision("go on", 5)) == "no: go on to 10"."""
    verdict, seeds = decision
    return f"no: go on to {seeds + BATCH}" if verdict == "go on" else f"{verdict} after {seeds}"


def _columns(places: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """(metric, "" or "+rlvr") of the columns for which there is a (metric, system)."""
    there = [(metric, AFTER if system.endswith(AFTER) else "") for metric, system in places]
    return [column for column in product(unique(metric for metric, _ in there), ("", AFTER)) if column in there]


def _column_name(column: tuple[str, str]) -> str:
    return f"{column[0].removesuffix(' pass@1')}{' + RLVR' if column[1] else ''}"


def reach_table(results: Compared) -> Table:
    """Whether RLVR widened what is reachable, or only sharpened it."""
    cells = {}
    for row in results.reach:
        (band, _, k), (after, before) = row.metric.rpartition(" pass@"), row.means
        note = f"{100 * before:.1f} to {100 * after:.1f}"
        cells[row.a.removesuffix(AFTER), band, int(k)] = gap_cell(row.gap, note=note)
    ks = sorted({k for _, _, k in cells})
    places = unique((name, band) for name, band, _ in cells)
    body = [(name, band, *(cells.get((name, band, k), "") for k in ks)) for name, band in places]
    intro = (
        "pass@k, unbiased, in percent, before and after RLVR, at the smallest and the largest k; the difference paired "
        "by seed with 95% interval. More at k = 1 alone: RLVR has sharpened what was there; more at the largest k, "
        "too: it has widened what can be reached."
    )
    return Table("What RLVR reaches", ("mid-training", "band", *(f"k = {k}" for k in ks)), body, intro)


def beyond_table(results: Compared) -> Table:
    """Problems that RLVR brought within reach, and those that it lost."""
    body = [
        (row.system.removesuffix(AFTER), f"{row.found} of {row.unsolved}", f"{row.lost} of {row.solved}")
        for row in results.beyond
    ]
    intro = "Problems of all bands and seeds, by whether any sample solves them before RLVR and after it."
    return Table("Beyond reach", ("mid-training", "never solved, now solved", "solved, now never"), body, intro)


def cost_table(results: Compared) -> Table:
    """What training cost, mean over seeds, and how many times the FLOPs and CPU time of the baseline."""
    keys, body = ("flops", "generated", "scored", "trained", "cpu_s"), []
    costs = {name: [c.cost for c in own if c.cost] for name, own in by_system(results.cells).items()}
    means = {name: {key: mean(cost[key] for cost in own) for key in keys} for name, own in costs.items() if own}
    for name, own in means.items():
        unit = means.get(results.baseline + (AFTER if name.endswith(AFTER) else ""), {})
        times = [f"{own[key] / unit[key]:.2f}" if unit.get(key) else "" for key in ("flops", "cpu_s")]
        peak = max(cost["peak_mib"] for cost in costs[name])
        counts = [count(own[key]) for key in keys[1:4]]
        line = (f"{own['flops'] / 1e12:.3g}", times[0], *counts, f"{own['cpu_s']:.0f}", times[1], f"{peak:.0f}")
        body.append((shown(name), *line))
    intro = (
        "Mean over seeds of the last stage, mid-training or RLVR, held-out measuring left out. Overhead: multiples of "
        f"{results.baseline}."
    )
    heads = ("system", "TFLOP", "overhead", "generated", "scored", "trained", "CPU s", "overhead", "peak MiB")
    return Table("Cost of training", heads, body, intro)


def count(value: float) -> str:
    """Many in thousands: count(217000) == "217k"; few as they are."""
    return f"{value / 1000:.0f}k" if value >= 10_000 else f"{value:.0f}"


def budget_table(results: Compared) -> Table:
    """What the twins at equal FLOPs got, what it was read from, and what they took."""
    took, body = {(cell.system, cell.seed): cell.cost for cell in results.cells}, []
    for name in unique(budget.variant for budget in results.budgets):
        own = [budget for budget in results.budgets if budget.variant == name]
        share = f"{100 * mean(budget.before / budget.flops for budget in own):.0f}%"
        keys = unique(key for budget in own for key in budget.settings)
        given = {key: [count(b.settings[key]) for b in own if key in b.settings] for key in keys}
        found = [cost["flops"] / b.flops for b in own if (cost := took.get((name + TWIN, b.seed)))]
        words = "; ".join(f"{key.rpartition('.')[2]} = {', '.join(values)}" for key, values in given.items())
        body.append((name, share, words or "none: it costs nothing", f"{mean(found):.2f}" if found else ""))
    intro = (
        f"Budget: what the mid-training of {results.equal_flops} takes on the same seed, by the ledgers. Seed by seed; "
        "tokens are for each EM round. What is cheaper spends the rest on its M-steps; what is dearer is made smaller "
        "in all its parts."
    )
    heads = ("variant", "E-step and annotation, share of the budget", "what the twin got", "taken over budget")
    return Table("Equal FLOPs", heads, body, intro)


def steps_table(results: Compared) -> Table:
    """RLVR steps to the other's final reward."""
    final = {(row.a, row.b): row.gap for row in results.differences if row.metric == "final_reward"}
    body = [
        (f"{shown(row.a)} to {shown(row.b)}", f"{row.median_share:.2f}", ", ".join(f"{s:.2f}" for s in row.shares),
         gap_cell(final[row.a, row.b]))
        for row in results.steps
    ]  # fmt: skip
    intro = (
        "RLVR steps until the other's final reward is reached, as a share of its steps; inf: never. Rewards are "
        f"averaged over {SMOOTH} steps, at the start over those there are."
    )
    return Table("RLVR: how soon", ("pair", "median", "seed by seed", "final reward, points apart"), body, intro)


def sigmoids_table(results: Compared) -> Table:
    """ScaleRL's parameters of the RLVR courses, and how far the asymptotes lie apart."""
    found = {(row.system, row.metric): row for row in results.summary if row.metric in COURSE}
    body = []
    for name, (final, level, *bend) in {n: [found.get((n, m)) for m in COURSE] for n, _ in found}.items():
        if final and level:
            apart = [row for row in results.differences if (row.a, row.metric) == (name, "asymptote")]
            gaps = "; ".join(f"{gap_cell(row.gap)} over {row.b.removesuffix(AFTER)} ({row.seeds})" for row in apart)
            parts = [share_cell(row.interval, unit=1) if row else "" for row in bend]
            of_all = f"{level.seeds} of {final.seeds}"
            body.append((name.removesuffix(AFTER), of_all, share_cell(level.interval), *parts, gaps))
    intro = (
        "R = R_0 + (A - R_0) / (1 + (C_mid / C)^B), fitted to each seed; mean with 95% interval over the seeds whose "
        "course shows its asymptote, because it levels off; in brackets over how many seeds A is paired."
    )
    heads = ("mid-training", "seeds", "A, percent", "C_mid, updates", "B", "A, paired by seed")
    return Table("RLVR: curves as sigmoids", heads, body, intro)


def chain_table(cells: Sequence[Evaluation]) -> Table:
    """Embedded world: selective thinking by chain length."""
    lengths = sorted({x for cell in cells for x in cell.curves.get(THINKS, {})})
    body = [
        (shown(name), *(over_seeds(own, lambda c, x=x: c.curves.get(THINKS, {}).get(x)) for x in lengths))
        for name, own in by_system(cells).items()
        if lengths
    ]
    intro = (
        "Share of answers that open with an intention, by the chain of references that the problem needs; median over "
        "seeds and range."
    )
    return Table("When it thinks", ("system", *(f"length {x:g}" for x in lengths)), body, intro)


def heldout_table(cells: Sequence[Evaluation]) -> Table:
    """Whether the intentions are real: what they are like on held-out text."""
    names = [name for name in HELDOUT if any(name in cell.heldout for cell in cells)]
    body = [
        (name, *(over_seeds(own, lambda c, n=n: c.heldout.get(n)) for n in names))
        for name, own in by_system(cells).items()
        if any(cell.heldout for cell in own)
    ]
    heads = ("mid-training", *(HELDOUT[name] for name in names))
    return Table("Are the intentions real", heads, body, "On held-out text; median over seeds and range.")


def over_seeds(cells: Sequence[Evaluation], pick: Callable[[Evaluation], float | None]) -> str:
    """Median and range over the seeds of what `pick` finds; "" if it finds nothing."""
    there = [value for cell in cells if (value := pick(cell)) is not None and not math.isnan(value)]
    return f"{median(there):.2f} ({min(there):.2f} to {max(there):.2f})" if there else ""


def seeds_table(cells: Sequence[Evaluation]) -> Table:
    """Each seed's pass@1 on the middle band, systems down."""
    metric, seeds = shown_metric(cells), sorted({cell.seed for cell in cells})
    found = {(c.system, c.seed): f"{100 * c.scores[metric]:.1f}" for c in cells if metric in c.scores}
    body = [(shown(name), *(found.get((name, seed), "") for seed in seeds)) for name in by_system(cells)]
    return Table(f"Seed by seed, {metric}", ("system", *map(str, seeds)), body, "Percent.")
