"""The figures that a comparison asks for: score by variant, or by the values of a setting, each with one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

from ra3.comparison.cells import AFTER, Record
from ra3.comparison.look import LARGE, Look, labels_left, spread
from ra3.comparison.measured import average, by_system, shown_metric
from ra3.comparison.plan import Figure
from ra3.comparison.table import points, unique
from ra3.report.plots import Plot, new_axes, svg_text


def figure_plots(figures: Sequence[Figure], cells: Sequence[Record], look: Look) -> list[Plot]:
    """The figures that the comparison asks for, as far as there are scores."""
    return [plot for figure in figures if (plot := setting_plot(figure, cells, look))]


def setting_plot(figure: Figure, cells: Sequence[Record], look: Look) -> Plot | None:
    """Score by variant: by the values of a setting from left to right, or by name from top to bottom."""
    metric, systems = shown_metric(cells), by_system(cells)
    names = {variant: label for line in figure.lines for label, variant in line.points if variant in systems}
    if len(names) < 2:
        return None
    scores = {system: [c["scores"][metric] for c in own] for system, own in systems.items()}
    svg = _by_value(figure, scores, look) if figure.ordered else _by_name(list(names), scores, look)
    sentence = _sentence({names[v]: systems[v] for v in names}, metric)
    return Plot(figure.title, f"{metric}, 95% intervals; small points: seeds. {sentence}", svg)


def _by_value(figure: Figure, scores: Mapping[str, list[float]], look: Look) -> str:
    labels = unique(label for line in figure.lines for label, _ in line.points)
    drawn, axes = new_axes(figure.title, True, LARGE)
    drawn_systems = [v + after for line in figure.lines for _, v in line.points for after in ("", AFTER)]
    for line in figure.lines:
        for after in ("", AFTER):
            there = [(labels.index(label), v + after) for label, v in line.points if v + after in scores]
            for x, name in there:
                spread(axes, name, scores[name], look, lambda value, x=x: (x, value))
            if there:
                own = look.paint(there[0][1])
                y = [mean(scores[name]) for _, name in there]
                axes.plot([x for x, _ in there], y, look.line(there[0][1]), color=own, linewidth=1.2, alpha=0.7)
                name = f"{line.name}{' + RLVR' if after else ''}"
                axes.annotate(name, (there[-1][0], y[-1]), (7, -3), textcoords="offset points", fontsize=7.5)
    axes.set_ylim(*_room(drawn_systems, scores))
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.4, len(labels) - 0.4)
    return svg_text(drawn)


def _by_name(variants: Sequence[str], scores: Mapping[str, list[float]], look: Look) -> str:
    from matplotlib.ticker import PercentFormatter

    figure, axes = new_axes("", False, (LARGE[0], 0.75 + 0.34 * len(variants)))
    for place, variant in enumerate(reversed(variants)):
        for shift, name in ((0.12, variant), (-0.12, variant + AFTER)):
            if name in scores:
                spread(axes, name, scores[name], look, lambda value, y=place + shift: (value, y))
    axes.set_xlim(*_room([v + after for v in variants for after in ("", AFTER)], scores))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    labels_left(axes, list(reversed(variants)))
    return svg_text(figure)


def _room(names: Sequence[str], scores: Mapping[str, list[float]]) -> tuple[float, float]:
    """The part of 0 to 100% in which the seeds lie."""
    values = [value for name in names for value in scores.get(name, ())]
    return max(-0.03, min(values) - 0.08), min(1.03, max(values) + 0.08)


def _sentence(own: Mapping[str, Sequence[Record]], metric: str) -> str:
    """Best and worst in words, with the paired difference between them."""
    scores = {label: {c["seed"]: c["scores"][metric] for c in cells} for label, cells in own.items()}
    means = {label: 100 * mean(by_seed.values()) for label, by_seed in scores.items()}
    best, worst = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    gaps = [scores[best][seed] - scores[worst][seed] for seed in scores[best].keys() & scores[worst].keys()]
    apart = f", {points(*average(gaps), signed=True)} points apart" if gaps else ""
    return f"Best {best} ({means[best]:.1f}), worst {worst} ({means[worst]:.1f}){apart}."
