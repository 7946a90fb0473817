"""The figures of a comparison. A variant has its colour; full and solid is before RLVR, hollow and dashed after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import mean
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ra3.compare.definition import AFTER, TWIN, Figure
from ra3.compare.results import Compared, Evaluation, average, by_system, reach_curves, shown_metric, unique
from ra3.compare.tables import shown
from ra3.measure.statistics import Interval
from ra3.report.plots import GRID, PAINT, Plot, doubled, new_axes, svg_text
from ra3.report.view import colour_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LARGE = (5.4, 3.5)
"""Inches."""
MARKED = 10
"""Points of a curve that are marked each."""
CHAINS = {
    "think_rate_by_chain": ("Thinks", "Share of answers that open with an intention."),
    "comment_right_by_chain": ("Right where it thinks", "Share of those intentions that spell out the chain."),
    "latent_gain_by_chain": ("Nats gained", "By an intention, over the function it opens, on held-out text."),
}
"""Embedded world, by chain length: how often an intention comes first, whether it is right, what it gains."""


@dataclass(frozen=True)
class Palette:
    """How each variant is painted: Palette({"ra3": "#0a0b02"})."""

    colours: Mapping[str, str]

    @classmethod
    def of(cls, variants: Sequence[str], figures: Sequence[Figure] = ()) -> Palette:
        """Colours by the order of the variants; a twin has its variant's, and the values of a setting one together."""
        lines = [line for figure in figures if figure.ordered for line in figure.lines]
        line_of = {variant: f"line {number}" for number, line in enumerate(lines) for _, variant in line.points}
        same = {name: line_of.get(name, name) for name in variants}
        colours = colour_names(unique(same.values()))
        plain = {name: PAINT[colours[same[name]]] for name in variants}
        return cls(plain | {name + TWIN: paint for name, paint in plain.items()})

    def paint(self, system: str) -> str:
        """A system's colour."""
        return self.colours[system.removesuffix(AFTER)]

    def marker(self, system: str) -> dict[str, Any]:
        """Full before RLVR, hollow after."""
        own = self.paint(system)
        return {"color": own, "markerfacecolor": "none" if system.endswith(AFTER) else own}

    def line(self, system: str) -> str:
        """Solid before RLVR, dashed after."""
        return "--" if system.endswith(AFTER) else "-"


def difference_plot(results: Compared, palette: Palette) -> list[Plot]:
    """Paired differences on the shown metric, with their intervals."""
    metric = shown_metric(results.cells)
    found = [row for row in results.differences if row.metric == metric]
    if not found:
        return []
    names = unique(row.a.removesuffix(AFTER) for row in found)
    rows = sorted(found, key=lambda row: names.index(row.a.removesuffix(AFTER)))[::-1]  # from bottom to top
    figure, axes = new_axes("points of pass@1", False, (LARGE[0], 0.8 + 0.26 * len(rows)))
    for place, row in enumerate(rows):
        _bar(axes, row.a, row.gap, palette, lambda gap, place=place: (100 * gap, place))
    axes.axvline(0, color=GRID, linewidth=1.2)
    others = unique(row.b.removesuffix(AFTER) for row in rows)
    several = len(others) > 1
    minus = [f" \u2212 {row.b.removesuffix(AFTER)}" if several else "" for row in rows]
    _labels_left(axes, [shown(row.a) + other for row, other in zip(rows, minus, strict=True)])
    title = f"Differences, {metric}" if several else f"Difference from {others[0]}, {metric}"
    return [Plot(title, "Paired by seed; bars: 95% intervals. Hollow: after RLVR.", svg_text(figure))]


def pareto_plot(results: Compared, palette: Palette) -> list[Plot]:
    """pass@1 against the FLOPs of mid-training: each seed a faint point, the mean over seeds a full one; a system
    without mid-training is a level."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    before = [cell for cell in results.cells if not cell.system.endswith(AFTER)]
    if not (trained := [cell for cell in before if cell.cost.get("flops")]):
        return []
    metric, systems = shown_metric(trained), by_system(trained)
    unit = mean(cell.cost["flops"] for cell in systems.get(results.baseline, trained))
    figure, axes = new_axes(f"FLOPs of mid-training, multiples of {results.baseline}", True, LARGE)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    places = {}
    for name, own in systems.items():
        x, y = ([cell.cost["flops"] / unit for cell in own], [cell.scores[metric] for cell in own])
        axes.plot(x, y, ".", color=palette.paint(name), markersize=4, alpha=0.4)
        axes.plot(mean(x), mean(y), "o", color=palette.paint(name), markersize=6)
        places[name] = (mean(x), mean(y))
    for name, own in by_system(cell for cell in before if cell not in trained).items():
        level = mean(cell.scores[metric] for cell in own)
        axes.axhline(level, color=palette.paint(name), linestyle=":", linewidth=1.2)
        places[name] = (min(x for x, _ in places.values()), level)
    _name_points(axes, places)
    caption = f"{metric}; small points: seeds; dotted: without mid-training. Up and left is better."
    return [Plot("Quality against cost", caption, svg_text(figure))]


def reward_plots(cells: Sequence[Evaluation], palette: Palette) -> list[Plot]:
    """Reward by RLVR step."""
    rewards = {
        name.removesuffix(AFTER): [{float(step): reward for step, reward in enumerate(c.rewards, 1)} for c in own]
        for name, own in by_system(cells).items()
        if name.endswith(AFTER)
    }
    return _curve_plot("Reward in RLVR", "Share of programs that pass.", "RLVR step", rewards, palette)


def reach_plots(cells: Sequence[Evaluation], palette: Palette) -> list[Plot]:
    """pass@k by k for each band; nothing where k ends at 1."""
    wanted = {
        curve: (f"pass@k on {band}", "Unbiased.")
        for curve, band in reach_curves(cells)
        if any(len(cell.curves.get(curve, {})) > 1 for cell in cells)
    }
    return curve_plots(cells, wanted, "k", palette)


def curve_plots(
    cells: Sequence[Evaluation], wanted: Mapping[str, tuple[str, str]], x_label: str, palette: Palette
) -> list[Plot]:
    """A figure of each curve that is wanted, {name: (title, caption)}, as far as there are points."""
    plots = []
    for curve, (title, caption) in wanted.items():
        curves = {name: [cell.curves.get(curve, {}) for cell in own] for name, own in by_system(cells).items()}
        plots += _curve_plot(title, caption, x_label, curves, palette)
    return plots


def _curve_plot(
    title: str, caption: str, x_label: str, curves: Mapping[str, Sequence[Mapping[float, float]]], palette: Palette
) -> list[Plot]:
    """A line for each system, the mean over its seeds, with its interval as a band; nothing without points."""
    share = all(-1e-9 <= y <= 1 + 1e-9 for own in curves.values() for course in own for y in course.values())
    figure, axes = new_axes(x_label, share, LARGE)
    ends: dict[str, tuple[float, float]] = {}
    for place, (name, own) in enumerate(curves.items()):
        if not (courses := [course for course in own if course]):
            continue
        xs = sorted({x for course in courses for x in course})
        found = [average([course[x] for course in courses if x in course], *((0, 1) if share else ())) for x in xs]
        style = palette.marker(name) | {"marker": "o", "markersize": 4 if len(xs) <= MARKED else 0}
        style["linewidth"] = 3.2 - 2 * place / len(curves)  # of lines that coincide the one below is seen beside
        axes.plot(xs, [point.mean for point in found], palette.line(name), **style)
        if not any(math.isnan(point.low) for point in found):  # one seed has no interval
            low, high = [point.low for point in found], [point.high for point in found]
            axes.fill_between(xs, low, high, color=palette.paint(name), alpha=0.1, linewidth=0)
        ends[shown(name)] = (xs[-1], found[-1].mean)
    if not ends:
        return []
    if x_label == "k":
        doubled(axes, sorted({x for own in curves.values() for course in own for x in course}))
    _name_points(axes, ends)
    caption += " Mean over seeds with 95% interval (Student's t). Hollow and dashed: after RLVR."
    return [Plot(title, caption, svg_text(figure))]


def setting_plot(figure: Figure, cells: Sequence[Evaluation], palette: Palette) -> Plot | None:
    """Score by variant: by the values of a setting from left to right, or by name from top to bottom; with a sentence
    about best and worst on the seeds that all have, picked after looking and so without an interval."""
    metric, systems = shown_metric(cells), by_system(cells)
    drawn = {variant: label for line in figure.lines for label, variant in line.points if variant in systems}
    if len(drawn) < 2:
        return None
    scores = {system: {cell.seed: cell.scores[metric] for cell in own} for system, own in systems.items()}
    by_seed = {variant if len(figure.lines) > 1 else label: scores[variant] for variant, label in drawn.items()}
    caption = f"{metric}, 95% intervals; small points: seeds."
    if seeds := sorted(set.intersection(*map(set, by_seed.values()))):
        means = {label: 100 * mean(own[seed] for seed in seeds) for label, own in by_seed.items()}
        best, worst = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
        caption += f" Best {best} ({means[best]:.1f}), worst {worst} ({means[worst]:.1f})."
    values = {system: list(own.values()) for system, own in scores.items()}
    svg = _by_value(figure, values) if figure.ordered else _by_name(list(drawn), values, palette)
    return Plot(figure.title, caption, svg)


def _by_value(figure: Figure, scores: Mapping[str, list[float]]) -> Markup:
    labels = unique(label for line in figure.lines for label, _ in line.points)
    variants = [variant for line in figure.lines for _, variant in line.points]
    drawn, axes = new_axes(figure.title, True, LARGE)
    palette = Palette.of(variants, (figure,))  # a colour for each line
    ends: dict[str, tuple[float, float]] = {}
    for line, after in product(figure.lines, ("", AFTER)):
        there = [(labels.index(label), v + after) for label, v in line.points if v + after in scores]
        for x, name in there:
            _spread(axes, name, scores[name], palette, lambda value, x=x: (x, value))
        if there:
            y, style = [mean(scores[name]) for _, name in there], palette.line(there[0][1])
            axes.plot([x for x, _ in there], y, style, color=palette.paint(there[0][1]), linewidth=1.2, alpha=0.7)
            ends[line.name + (" + RLVR" if after else "")] = (there[-1][0], y[-1])
    axes.set_ylim(*_room(variants, scores))
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.4, len(labels) - 0.4)
    _name_points(axes, ends)
    return svg_text(drawn)


def _by_name(variants: Sequence[str], scores: Mapping[str, list[float]], palette: Palette) -> Markup:
    from matplotlib.ticker import PercentFormatter

    figure, axes = new_axes("", False, (LARGE[0], 0.75 + 0.34 * len(variants)))
    for place, variant in enumerate(reversed(variants)):
        for shift, name in ((0.12, variant), (-0.12, variant + AFTER)):
            if name in scores:
                _spread(axes, name, scores[name], palette, lambda value, y=place + shift: (value, y))
    axes.set_xlim(*_room(variants, scores))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _labels_left(axes, list(reversed(variants)))
    return svg_text(figure)


def _room(variants: Sequence[str], scores: Mapping[str, list[float]]) -> tuple[float, float]:
    """The part of 0 to 100% in which the seeds lie."""
    values = [value for name in variants for after in ("", AFTER) for value in scores.get(name + after, ())]
    return max(-0.03, min(values) - 0.08), min(1.03, max(values) + 0.08)


def _spread(
    axes: Axes, name: str, values: Sequence[float], palette: Palette, at: Callable[[float], tuple[float, float]]
) -> None:
    """Mean, interval and seeds of one system; `at` says where a score lies."""
    for value in values:
        axes.plot(*at(value), ".", color=palette.paint(name), markersize=4, alpha=0.4)
    _bar(axes, name, average(values, 0, 1), palette, at)


def _bar(axes: Axes, name: str, found: Interval, palette: Palette, at: Callable[[float], tuple[float, float]]) -> None:
    """Mean and interval of one system."""
    x, y = zip(at(found.low), at(found.high), strict=True)
    axes.plot(x, y, color=palette.paint(name), linewidth=1.6)
    axes.plot(*at(found.mean), "o", markersize=5.5, **palette.marker(name))


def _labels_left(axes: Axes, labels: Sequence[str]) -> None:
    """Names from bottom to top instead of the y axis."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.grid(False, axis="y")
    axes.grid(True, axis="x", linewidth=0.8)


def _name_points(axes: Axes, places: Mapping[str, tuple[float, float]]) -> None:
    """Names beside their points, moved apart where they would lie on each other."""
    low, high = axes.get_ylim()
    apart, below = 0.052 * (high - low), high + (high - low)
    for name, (x, y) in sorted(places.items(), key=lambda item: -item[1][1]):
        below = min(y, below - apart)
        axes.annotate(name, (x, below), (7, 0), textcoords="offset points", fontsize=7.5, va="center")
