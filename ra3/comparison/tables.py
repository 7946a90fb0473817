"""The tables of a comparison, as rows of text: printed as Markdown, and put on the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from ra3.comparison.measured import AFTER, CHAIN_CURVES, Record, by_system, over_seeds, shown_metric


@dataclass(frozen=True)
class Table:
    """A table with what it shows in a sentence."""

    title: str
    intro: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]

    @property
    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [self.head, ("---",) * len(self.head), *self.rows]
        return "\n".join([f"\n{self.title}. {self.intro}\n", *(f"| {' | '.join(line)} |" for line in lines)])


def tables(results: Record) -> list[Table]:
    """Every table for which there is something to show."""
    cells = results["cells"]
    found = (
        scores_table(results), differences_table(results), seeds_table(cells), cost_table(results), chain_table(cells),
        heldout_table(cells), steps_table(results), sigmoids_table(results),
    )  # fmt: skip
    return [table for table in found if table.rows]


def scores_table(results: Record) -> Table:
    """pass@1 by system and band."""
    rows, metrics = results["summary"], _unique(row["metric"] for row in results["summary"])
    cells = {(row["system"], row["metric"]): row for row in rows}
    body = []
    for name in _unique(row["system"] for row in rows):
        own = [cells.get((name, metric)) for metric in metrics]
        seeds = next(row["seeds"] for row in own if row)
        plain = [points(row["mean"], row["low"], row["high"]) if row else "" for row in own]
        middle = [f"{100 * row['iqm']['mean']:.1f}" if row else "" for row in own]
        body.append((name, str(seeds), *(f"{a}; {b}" for a, b in zip(plain, middle, strict=True))))
    intro = "Percent, mean over seeds with 95% interval (Student's t); after the semicolon the interquartile mean."
    return Table("pass@1", intro, ("system", "seeds", *(m.removesuffix(" pass@1") for m in metrics)), body)


def differences_table(results: Record) -> Table:
    """Paired differences over the seeds."""
    body = [
        (
            f"{row['a']} - {row['b']}", row["metric"].removesuffix(" pass@1"),
            points(row["mean"], row["low"], row["high"], signed=True), f"{row['above']} of {row['seeds']}",
            decision_text(row["decision"]),
        )
        for row in results["differences"]
    ]  # fmt: skip
    intro = (
        "Paired by seed, with 95% interval (Student's t). Enough seeds: a group sequential permutation test (AdaStop), "
        "batches of 5, at most 25."
    )
    head = ("pair", "band", "difference", "seeds above 0", "enough seeds?")
    return Table("Differences in points of pass@1", intro, head, body)


def decision_text(decision: Record) -> str:
    """The sequential test's verdict: decision_text({"verdict": "go on", "seeds": 5}) == "no: go on from 5"."""
    verdict, seeds = decision["verdict"], decision["seeds"]
    return f"no: go on from {seeds}" if verdict == "go on" else f"{verdict} after {seeds}"


def seeds_table(cells: Sequence[Record]) -> Table:
    """Each seed's pass@1 on the middle band, systems across."""
    systems = by_system(cells)
    shown = shown_metric(cells)
    scores = {(cell["system"], cell["seed"]): cell["scores"].get(shown) for cell in cells}
    body = []
    for seed in sorted({cell["seed"] for cell in cells}):
        own = [scores.get((name, seed)) for name in systems]
        body.append((str(seed), *("" if value is None else f"{100 * value:.1f}" for value in own)))
    return Table(f"Seed by seed, {shown}", "Percent.", ("seed", *systems), body)


def cost_table(results: Record) -> Table:
    """What training cost, mean over seeds, and how many times the FLOPs of the system that is compared with."""
    keys, body = ("flops", "generated", "scored", "trained", "cpu_s"), []
    costs = {name: [c["cost"] for c in own if c["cost"]] for name, own in by_system(results["cells"]).items()}
    means = {name: {key: mean(c[key] for c in own) for key in keys} for name, own in costs.items() if own}
    for name, own in means.items():
        unit = means.get(results["against"] + (AFTER if name.endswith(AFTER) else ""), {}).get("flops", 0.0)
        times = f"{own['flops'] / unit:.2f}" if unit else ""
        body.append((name, *(f"{own[key]:.3g}" for key in keys), times))
    intro = "Mean over seeds of the last stage (mid-training or RLVR): FLOPs, tokens, seconds of CPU."
    head = ("system", "FLOPs", "generated", "scored", "trained", "CPU s", f"FLOPs over {results['against']}")
    return Table("Cost of training", intro, head, body)


def chain_table(cells: Sequence[Record]) -> Table:
    """Embedded worlds: selective thinking by chain length."""
    body = []
    for name, own in by_system(cells).items():
        lengths = sorted({x for cell in own for x in cell["curves"].get(CHAIN_CURVES[0], {})})
        for x in lengths:
            found = [over_seeds(own, lambda c, n=n, x=x: c["curves"].get(n, {}).get(x)) for n in CHAIN_CURVES]
            body.append((name, str(x), *found))
    intro = "By how long a chain of references the problem needs; median over seeds and range."
    head = ("system", "chain length", "thinks", "right where it thinks", "nats gained")
    return Table("When it thinks", intro, head, body)


def heldout_table(cells: Sequence[Record]) -> Table:
    """What the intentions are like on held-out text."""
    names = ("think_rate", "boundary_f1", "comments_right", "swap_changes_code")
    body = [
        (name, *(over_seeds(own, lambda c, n=n: c["heldout"].get(n)) for n in names))
        for name, own in by_system(cells).items()
        if any(cell["heldout"] for cell in own)
    ]
    return Table("Held-out text", "Median over seeds and range.", ("system", *names), body)


def steps_table(results: Record) -> Table:
    """RLVR steps to the other's final reward."""
    body = [
        (f"{row['a']} to {row['b']}", f"{row['median_share']:.2f}", ", ".join(f"{s:.2f}" for s in row["shares"]))
        for row in results["steps"]
    ]
    intro = "Until its final reward is reached, as a share of its steps; inf: never."
    return Table("RLVR steps", intro, ("pair", "median", "seed by seed"), body)


def sigmoids_table(results: Record) -> Table:
    """ScaleRL's parameters of the RLVR courses."""
    body = [
        (
            row["system"], str(row["seeds"]), points(*_bounds(row["asymptote"])),
            *(numbers(*_bounds(row[part])) for part in ("midpoint", "steepness")),
        )
        for row in results["sigmoids"]
    ]  # fmt: skip
    intro = "R = R_0 + (A - R_0) / (1 + (C_mid / C)^B), fitted to each seed; mean with 95% interval over seeds."
    return Table("RLVR curves as sigmoids", intro, ("system", "seeds", "A, percent", "C_mid, updates", "B"), body)


def numbers(mean_: float, low: float, high: float) -> str:
    """A number with its interval: numbers(12, 10, 14) == "12.0 [10.0, 14.0]"; one seed has none."""
    return f"{mean_:.1f}" if math.isnan(low) else f"{mean_:.1f} [{low:.1f}, {high:.1f}]"


def _bounds(interval: Record) -> tuple[float, float, float]:
    return interval["mean"], interval["low"], interval["high"]


def points(mean_: float, low: float, high: float, signed: bool = False) -> str:
    """A share in percent with its interval: points(0.5, 0.4, 0.6) == "50.0 [40.0, 60.0]"; one seed has none."""
    sign = "+" if signed else ""
    text = f"{100 * mean_:{sign}.1f}"
    return text if math.isnan(low) else f"{text} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def _unique(values: object) -> list[str]:
    return list(dict.fromkeys(values))  # pyright: ignore[reportArgumentType, reportCallIssue]
