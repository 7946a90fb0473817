"""Curves as small inline SVG. Colours are written as CSS variables, so that one picture serves light and dark pages."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from ra3.report.view import OTHERS, View, is_after_rlvr
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
    "svg.fonttype": "none", "svg.hashsalt": "ra3", "text.parse_math": False, "font.size": 9,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.edgecolor", "grid.color"), GRID),
}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One learning curve: the first of `keys` that a system logged in `stage`; `dotted` is drawn with it if there."""

    title: str
    stage: str
    keys: tuple[str, ...]
    caption: str
    dotted: str = ""
    share: bool = False


@dataclass(frozen=True)
class Plot:
    """A finished figure; `svg` is markup of our own making."""

    title: str
    caption: str
    svg: Markup


PANELS = (
    Panel("Expert cross-entropy in the M-step", "mstep", ("expert_nll",), dotted="expert_nll_act",
          caption="Nats per expert token, given the intentions written before it; lower is better."),
    Panel("ELBO in the E-step", "estep", ("elbo",),
          "Likelihood of the expert's steps minus the price of the intentions, nats per document; higher is better."),
    Panel("Think rate in the E-step", "estep", ("think_rate",),
          "Share of boundaries at which the policy opens an intention.", share=True),
    Panel("Gain from the intentions", "estep", ("latent_gain",),
          "Nats per expert token that the intentions save; below 0 they mislead."),
    Panel("Pass rate in RLVR", "rlvr", ("pass_rate", "reward"), "Share of sampled programs that pass all tests.",
          share=True),
)  # fmt: skip
TITLES = {"comment_right": "Intention is right", "pass": "Pass rate"}


def learning_curves(view: View) -> list[Plot]:
    """The panels for which at least one system has numbers."""
    return [plot for panel in PANELS if (plot := _panel_plot(panel, view))]


def result_curves(view: View, by_k: bool) -> list[Plot]:
    """One plot per curve in the results, its interval a band: pass@k by k, or others, such as think rate by chain."""
    curves = view.results.curves.items()
    return [_curve_plot(name, own, view.colours) for name, own in curves if name.endswith("_by_k") == by_k]


def _panel_plot(panel: Panel, view: View) -> Plot | None:
    figure, axes = new_axes("update", panel.share)
    caption, rounds = panel.caption, None
    for name, run in view.systems:
        lines = run.stages.get(panel.stage, [])
        courses = {key: np.array([line.values.get(key, math.nan) for line in lines]) for key in panel.keys}
        key = next((key for key, course in courses.items() if np.isfinite(course).any()), "")
        solid, paint = "--" if is_after_rlvr(name) else "-", PAINT[view.colours[name]]
        for shown, style in ((key, solid), (panel.dotted, ":")):
            values = np.array([line.values.get(shown, math.nan) for line in lines])
            if np.isfinite(values).any():
                _draw_course(axes, values, paint, style)
                rounds = [i + 0.5 for i in range(1, len(lines)) if lines[i].em_round != lines[i - 1].em_round]
                caption = f"{panel.caption} Dotted: without the intentions." if style == ":" else caption
    for start in rounds or ():
        axes.axvline(start, color=GRID, linewidth=1, linestyle="--")
    return None if rounds is None else Plot(panel.title, caption, svg_text(figure))


def _curve_plot(name: str, points: Sequence[CurvePoint], colours: Mapping[str, str]) -> Plot:
    what, _, by = name.partition("_by_")
    values = [value for p in points for value in (p.mean, p.low, p.high)]
    is_share = not any(value < -1e-9 or value > 1 + 1e-9 for value in values)
    figure, axes = new_axes({"chain": "chain length"}.get(by, re.sub(r"[^ -~]|_", " ", by)[:40]), is_share)
    for model in in_order(point.model for point in points):
        x, mean, low, high = np.array([(p.x, p.mean, p.low, p.high) for p in points if p.model == model]).T
        style, paint = "--" if is_after_rlvr(model) else "-", PAINT[colours[model]]
        axes.plot(x, mean, style, color=paint, linewidth=1.8, marker="o", markersize=4)
        axes.fill_between(x, low, high, color=paint, alpha=0.13, linewidth=0)
    title = f"{TITLES.get(what, what.replace('_', ' ').capitalize())} by {by}{' length' if by == 'chain' else ''}"
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


def _draw_course(axes: Axes, values: np.ndarray, paint: str, style: str) -> None:
    """The values faintly and their moving average over them, from update 1; long series are thinned to MAX_POINTS by
    averaging neighbours, infinities leave a gap."""
    values = np.where(np.isfinite(values), values, np.nan)
    size = math.ceil(len(values) / MAX_POINTS)
    y = _means(values[start : start + size] for start in range(0, len(values), size))
    x = 1 + size * np.arange(len(y)) + (size - 1) / 2
    width = len(y) // 16
    if width < 2 or style == ":":
        axes.plot(x, y, style, color=paint, linewidth=1.8, marker="o" if len(y) == 1 else "")
        return
    smooth = _means(y[max(0, i - width) : i + width + 1] for i in range(len(y)))
    axes.plot(x, y, color=paint, linewidth=1, alpha=0.3)
    axes.plot(x, smooth, style, color=paint, linewidth=1.8)


def _means(windows: Iterable[np.ndarray]) -> np.ndarray:
    """The mean of each window without its gaps."""
    return np.array([np.nanmean(window) if np.isfinite(window).any() else math.nan for window in windows])


def svg_text(figure: Figure) -> Markup:
    """The figure as an <svg> element: only the ids it refers to, no size of its own, the page's font and colours."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(RC):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    head, body = svg[svg.index("<svg") :].split(">", 1)
    svg = re.sub(r' (width|height)="[^"]*"', "", head) + ">" + body
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    return Markup(re.sub(r"#0[0-9a-f]{5}", lambda hit: CSS.get(hit[0], hit[0]), svg))
