"""Curves as small inline SVG. Colours are written as CSS variables, so that one picture serves light and dark pages."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from ra3.report.view import OTHERS, System, View, is_after_rlvr
from ra3.run.inspect import MetricLine
from ra3.run.results import CurvePoint, in_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE_INCHES = (3.7, 2.35)
MAX_POINTS = 240
# Colours matplotlib draws with, and the CSS each becomes.
INK, GRID = "#010101", "#020202"
PAINT = {name: f"#0a0b{i:02x}" for i, name in enumerate(("base", "ntp", "ra3", *OTHERS))}
CSS = {INK: "currentColor", GRID: "var(--grid)", **{paint: f"var(--{name})" for name, paint in PAINT.items()}}
RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ra3",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
}


@dataclass(frozen=True)
class Panel:
    """One learning curve: the first of `keys` that a system logged in `stage`; `dotted` is drawn with it if there."""

    title: str
    stage: str
    keys: tuple[str, ...]
    caption: str
    dotted: str = ""
    share: bool = False


BY_K = "_by_k"
TITLES = {"comment_right": "Intention is right", "pass": "Pass rate"}
PANELS = (
    Panel(
        "Expert cross-entropy in the M-step",
        "mstep",
        ("expert_nll",),
        "Nats per expert token, given the intentions written before it; lower is better.",
        dotted="expert_nll_act",
    ),
    Panel(
        "ELBO in the E-step",
        "estep",
        ("elbo",),
        "Likelihood of the expert's steps minus the price of the intentions, nats per document; higher is better.",
    ),
    Panel(
        "Think rate in the E-step",
        "estep",
        ("think_rate",),
        "Share of boundaries at which the policy opens an intention.",
        share=True,
    ),
    Panel(
        "Gain from the intentions",
        "estep",
        ("latent_gain",),
        "Nats per expert token that the intentions save; below 0 they mislead.",
    ),
    Panel(
        "Pass rate in RLVR",
        "rlvr",
        ("pass_rate", "reward"),
        "Share of sampled programs that pass all tests.",
        share=True,
    ),
)


@dataclass(frozen=True)
class Plot:
    """A finished figure; `svg` is markup of our own making."""

    title: str
    caption: str
    svg: Markup


def learning_curves(view: View) -> list[Plot]:
    """The panels for which at least one system has numbers."""
    return [plot for panel in PANELS if (plot := _panel(panel, view.systems, view.colours))]


def chain_curves(view: View) -> list[Plot]:
    """One plot per curve in the results, e.g. think rate by chain length, with its interval as a band."""
    return [_curve(n, points, view.colours) for n, points in view.results.curves.items() if not n.endswith(BY_K)]


def reach_curves(view: View) -> list[Plot]:
    """pass@k by k, one plot for each band."""
    return [_curve(n, points, view.colours) for n, points in view.results.curves.items() if n.endswith(BY_K)]


def _panel(panel: Panel, systems: list[System], colours: Mapping[str, str]) -> Plot | None:
    figure, axes = new_axes("update", panel.share)
    caption, drawn, rounds = panel.caption, False, []
    for system in systems:
        lines = system.stages.get(panel.stage, [])
        for key, style in ((next((k for k in panel.keys if _has(lines, k)), ""), "-"), (panel.dotted, ":")):
            if _has(lines, key):
                style = "--" if style == "-" and is_after_rlvr(system.name) else style
                values = np.array([line.values.get(key, math.nan) for line in lines])
                _course(axes, values, PAINT[colours[system.name]], style)
                drawn, rounds = True, _round_starts(lines)
                caption = f"{panel.caption} Dotted: without the intentions." if style == ":" else caption
    for start in rounds:
        axes.axvline(start, color=GRID, linewidth=1, linestyle="--")
    return Plot(panel.title, caption, svg_text(figure)) if drawn else None


def _curve(name: str, points: list[CurvePoint], colours: Mapping[str, str]) -> Plot:
    what, _, by = name.partition("_by_")
    x_label = {"chain": "chain length"}.get(by, re.sub(r"[^ -~]|_", " ", by)[:40])
    figure, axes = new_axes(x_label, _within_unit(points))
    for model in in_order(point.model for point in points):
        own = [(p.x, p.mean, p.low, p.high) for p in points if p.model == model]
        x, mean, low, high = np.array(own).T
        paint = PAINT[colours[model]]
        axes.plot(x, mean, "--" if is_after_rlvr(model) else "-", color=paint, linewidth=1.8, marker="o", markersize=4)
        axes.fill_between(x, low, high, color=paint, alpha=0.13, linewidth=0)
    title = TITLES.get(what, what.replace("_", " ").capitalize()) + (
        f" by {by.replace('_', ' ')} length" if by == "chain" else f" by {by}"
    )
    if by == "k":
        doubled(axes, sorted({point.x for point in points}))
        title = what.replace("_", " ").replace("pass", "pass@k", 1)
    return Plot(title, "Band: 95% interval. Dashed: after RLVR.", svg_text(figure))


def new_axes(x_label: str, share: bool, size: tuple[float, float] = SIZE_INCHES) -> tuple[Figure, Axes]:
    """An empty figure of the page's look, `size` in inches; `share` runs the y axis from 0 to 100%."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    with matplotlib.rc_context(RC):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.grid(True, axis="y", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    if share:
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return figure, axes


def doubled(axes: Axes, values: Sequence[float]) -> None:
    """An x axis on which each doubling takes as much room; a tick at each of the values."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(values), [f"{value:g}" for value in values])


def _course(axes: Axes, values: np.ndarray, paint: str, style: str) -> None:
    """The values faintly and their moving average over them; long series are thinned by averaging neighbours."""
    x, y = _thinned(values)
    width = len(y) // 16
    if width < 2 or style == ":":
        axes.plot(x, y, style, color=paint, linewidth=1.8, marker="o" if len(y) == 1 else "")
        return
    axes.plot(x, y, color=paint, linewidth=1, alpha=0.3)
    axes.plot(x, _moving_average(y, width), style, color=paint, linewidth=1.8)


def _thinned(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x counted from 1 and y, at most MAX_POINTS each; infinities leave a gap."""
    values = np.where(np.isfinite(values), values, np.nan)
    size = math.ceil(len(values) / MAX_POINTS)
    chunks = [values[start : start + size] for start in range(0, len(values), size)]
    means = [float(np.nanmean(chunk)) if np.isfinite(chunk).any() else math.nan for chunk in chunks]
    return 1 + size * np.arange(len(chunks)) + (size - 1) / 2, np.array(means)


def _moving_average(values: np.ndarray, width: int) -> np.ndarray:
    """Mean over `width` neighbours on each side, fewer at the ends, gaps left out."""
    windows = [values[max(0, i - width) : i + width + 1] for i in range(len(values))]
    return np.array([np.nanmean(window) if np.isfinite(window).any() else math.nan for window in windows])


def svg_text(figure: Figure) -> Markup:
    """The figure as an <svg> element: only the ids it refers to, no size of its own, the page's font and colours."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(RC):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1), count=1
    )
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    return Markup(re.sub(r"#0[0-9a-f]{5}", lambda hit: CSS.get(hit[0], hit[0]), svg))


def _has(lines: Sequence[MetricLine], key: str) -> bool:
    return any(math.isfinite(line.values.get(key, math.nan)) for line in lines)


def _round_starts(lines: Sequence[MetricLine]) -> list[float]:
    """Where a new EM round begins, on the x axis of updates."""
    return [i + 0.5 for i in range(1, len(lines)) if lines[i].em_round != lines[i - 1].em_round]


def _within_unit(points: Sequence[CurvePoint]) -> bool:
    return not any(value < -1e-9 or value > 1 + 1e-9 for p in points for value in (p.mean, p.low, p.high))
