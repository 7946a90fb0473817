"""The figures that a comparison asks for: score by variant, or by the values of a setting, each with one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

from markupsafe import Markup

from ra3.compare.aggregate import by_system, shown_metric
from ra3.compare.palette import LARGE, Look, labels_left, name_points, spread
from ra3.compare.plan import AFTER, Figure
from ra3.compare.results import Record
from ra3.compare.table import unique
from ra3.report.plots import Plot, new_axes, svg_text


def figure_plots(figures: Sequence[Figure], cells: Sequence[Record], look: Look) -> list[Plot]:
    """The figures that the comparison asks for, as far as there are scores."""
    return [plot for figure in figures if (plot := setting_plot(figure, cells, look))]


def setting_plot(figure: Figure, cells: Sequence[Record], look: Look) -> Plot | None:
    """Score by variant: by the values of a setting from left to right, or by name from top to bottom."""
    metric, systems = shown_metric(cells), by_system(cells)
    drawn = {variant: label for line in figure.lines for label, variant in line.points if variant in systems}
    if len(drawn) < 2:
        return None
    names = drawn if len(figure.lines) == 1 else {variant: variant for variant in drawn}
    scores = {system: [c["scores"][metric] for c in own] for system, own in systems.items()}
    svg = _by_value(figure, scores) if figure.ordered else _by_name(list(drawn), scores, look)
    sentence = _sentence({names[v]: systems[v] for v in names}, metric)
    return Plot(figure.title, f"{metric}, 95% intervals; small points: seeds. {sentence}", svg)


def _by_value(figure: Figure, scores: Mapping[str, list[float]]) -> Markup:
    labels = unique(label for line in figure.lines for label, _ in line.points)
    drawn, axes = new_axes(figure.title, True, LARGE)
    look = Look.of([v for line in figure.lines for _, v in line.points], (figure,))  # a colour for each line
    drawn_systems = [v + after for line in figure.lines for _, v in line.points for after in ("", AFTER)]
    ends: dict[str, tuple[float, float]] = {}
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
                ends[name] = (there[-1][0], y[-1])
    axes.set_ylim(*_room(drawn_systems, scores))
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.4, len(labels) - 0.4)
    name_points(axes, ends)
    return svg_text(drawn)


def _by_name(variants: Sequence[str], scores: Mapping[str, list[float]], look: Look) -> Markup:
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
    """Best and worst in words, on the seeds that all of them have; picked after looking, so without an interval."""
    scores = {label: {c["seed"]: c["scores"][metric] for c in cells} for label, cells in own.items()}
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in scores.values())))
    if not seeds:
        return ""
    means = {label: 100 * mean(by_seed[seed] for seed in seeds) for label, by_seed in scores.items()}
    best, worst = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    return f"Best {best} ({means[best]:.1f}), worst {worst} ({means[worst]:.1f})."
