"""The figures that every comparison has: differences, cost, rewards, what is reachable, when it thinks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import mean

from ra3.compare.aggregate import average, by_system, shown_metric
from ra3.compare.palette import LARGE, Look, labels_left, name_points
from ra3.compare.plan import AFTER
from ra3.compare.results import Record
from ra3.compare.table import shown, unique
from ra3.measure.statistics import Interval
from ra3.report.plots import GRID, Plot, doubled, new_axes, svg_text

CHAINS = {
    "think_rate_by_chain": ("Thinks", "Share of answers that open with an intention."),
    "comment_right_by_chain": ("Right where it thinks", "Share of those intentions that spell out the chain."),
    "latent_gain_by_chain": ("Nats gained", "By an intention, over the function it opens, on held-out text."),
}


def overview_plots(results: Record, look: Look) -> list[Plot]:
    """Differences and quality against cost."""
    return [plot for plot in (difference_plot(results, look), pareto_plot(results, look)) if plot]


def difference_plot(results: Record, look: Look) -> Plot | None:
    """Paired differences on the shown metric, with their intervals."""
    metric = shown_metric(results["cells"])
    found = [row for row in results["differences"] if row["metric"] == metric]
    if not found:
        return None
    names = unique(row["a"].removesuffix(AFTER) for row in found)
    rows = sorted(found, key=lambda row: names.index(row["a"].removesuffix(AFTER)))
    figure, axes = new_axes("points of pass@1", False, (LARGE[0], 0.8 + 0.26 * len(rows)))
    for place, row in enumerate(reversed(rows)):
        mean_, low, high = (100 * row[key] for key in ("mean", "low", "high"))
        axes.plot([low, high], [place, place], color=look.paint(row["a"]), linewidth=1.6)
        axes.plot([mean_], [place], "o", markersize=5, **look.marker(row["a"]))
    axes.axvline(0, color=GRID, linewidth=1.2)
    others = unique(row["b"].removesuffix(AFTER) for row in rows)
    minus = [f" \u2212 {row['b'].removesuffix(AFTER)}" if len(others) > 1 else "" for row in rows]
    labels_left(axes, [shown(row["a"]) + other for row, other in reversed(list(zip(rows, minus, strict=True)))])
    title = f"Differences, {metric}" if len(others) > 1 else f"Difference from {others[0]}, {metric}"
    return Plot(title, "Paired by seed; bars: 95% intervals. Hollow: after RLVR.", svg_text(figure))


def pareto_plot(results: Record, look: Look) -> Plot | None:
    """pass@1 against the FLOPs of mid-training: each seed a faint point, the mean over seeds a full one."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    trained = [cell for cell in results["cells"] if cell["cost"].get("flops") and not cell["system"].endswith(AFTER)]
    if not trained:
        return None
    metric, systems = shown_metric(trained), by_system(trained)
    unit = mean(c["cost"]["flops"] for c in systems.get(results["baseline"], trained))
    figure, axes = new_axes(f"FLOPs of mid-training, multiples of {results['baseline']}", True, LARGE)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    places = {}
    for name, own in systems.items():
        x, y = ([c["cost"]["flops"] / unit for c in own], [c["scores"][metric] for c in own])
        axes.plot(x, y, ".", color=look.paint(name), markersize=4, alpha=0.4)
        axes.plot(mean(x), mean(y), "o", color=look.paint(name), markersize=6)
        places[name] = (mean(x), mean(y))
    name_points(axes, places)
    return Plot("Quality against cost", f"{metric}; small points: seeds. Up and left is better.", svg_text(figure))


def reward_plot(cells: Sequence[Record], look: Look) -> Plot | None:
    """Reward by RLVR step: the mean over seeds as a line, each seed faintly."""
    systems = {name: own for name, own in by_system(cells).items() if any(cell["rewards"] for cell in own)}
    if not systems:
        return None
    figure, axes = new_axes("RLVR step", True, LARGE)
    ends = {}
    for name, own in systems.items():
        courses = [cell["rewards"] for cell in own if cell["rewards"]]
        for course in courses:
            axes.plot(range(1, len(course) + 1), course, color=look.paint(name), linewidth=0.7, alpha=0.25)
        average_ = [mean(values) for values in zip(*courses, strict=False)]
        axes.plot(range(1, len(average_) + 1), average_, color=look.paint(name), linewidth=1.8)
        ends[name.removesuffix(AFTER)] = (len(average_), average_[-1])
    name_points(axes, ends)
    return Plot("Reward in RLVR", "Share of programs that pass; bold: mean over seeds.", svg_text(figure))


def reach_plots(cells: Sequence[Record], look: Look) -> list[Plot]:
    """pass@k by k for each band, the mean over seeds with its interval; nothing where k ends at 1."""
    bands = unique(band for cell in cells for band in cell["reach"])
    return [plot for band in bands if (plot := _reach_plot(band, cells, look))]


def _reach_plot(band: str, cells: Sequence[Record], look: Look) -> Plot | None:
    curves = dict(_curves(band, cells))
    if not curves:
        return None
    figure, axes = new_axes("k", True, LARGE)
    ends = {}
    for name, (ks, spread) in curves.items():
        own = look.paint(name)
        axes.plot(ks, [s.mean for s in spread], look.line(name), color=own, linewidth=1.7)
        if not any(math.isnan(s.low) for s in spread):  # one seed has no interval
            low, high = [max(0.0, s.low) for s in spread], [min(1.0, s.high) for s in spread]
            axes.fill_between(ks, low, high, color=own, alpha=0.1, linewidth=0)
        ends[shown(name)] = (ks[-1], spread[-1].mean)
    doubled(axes, max((ks for ks, _ in curves.values()), key=len))
    name_points(axes, ends)
    caption = "Unbiased, mean over seeds with 95% interval (Student's t). Dashed: after RLVR."
    return Plot(f"pass@k on {band}", caption, svg_text(figure))


def _curves(band: str, cells: Sequence[Record]) -> Iterator[tuple[str, tuple[list[int], list[Interval]]]]:
    for name, own in by_system(cells).items():
        found = [cell["reach"][band] for cell in own if len(cell["reach"].get(band, {})) > 1]
        if found:
            ks = sorted(set.intersection(*map(set, found)))
            yield name, (ks, [average([course[k] for course in found]) for k in ks])


def chain_plots(cells: Sequence[Record], look: Look) -> list[Plot]:
    """Embedded world, by chain length: how often an intention comes first, whether it is right, what it gains."""
    return [plot for name, words in CHAINS.items() if (plot := _chain_plot(name, words, cells, look))]


def _chain_plot(name: str, words: tuple[str, str], cells: Sequence[Record], look: Look) -> Plot | None:
    systems = {s: [c["curves"][name] for c in own if c["curves"].get(name)] for s, own in by_system(cells).items()}
    if not any(systems.values()):
        return None
    figure, axes = new_axes("chain length", not name.startswith("latent_gain"), LARGE)
    ends = {}
    for system, courses in systems.items():
        if courses:
            xs = sorted({x for course in courses for x in course})
            y = [mean(course[x] for course in courses if x in course) for x in xs]
            axes.plot(xs, y, look.line(system), marker="o", markersize=4, linewidth=1.5, **look.marker(system))
            ends[shown(system)] = (xs[-1], y[-1])
    name_points(axes, ends)
    return Plot(words[0], f"{words[1]} Mean over seeds.", svg_text(figure))
