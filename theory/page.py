"""Findings in, one offline HTML page out, in the style of the run report; charts are inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ra3.report.page import render
from ra3.report.plots import PAINT, Plot, new_axes, svg_text
from theory.claims import PAINTS, Chart, Finding, symbols

TEMPLATE = Path(__file__).parent / "templates" / "theory.html"


def theory_page(findings: Sequence[Finding], command: str) -> str:
    """The page as text."""
    plots = [[draw(chart) for chart in finding.charts] for finding in findings]
    return render(TEMPLATE, kind="theory", title="", findings=findings, plots=plots, command=command, symbols=symbols)


def draw(chart: Chart) -> Plot:
    """The chart with a legend below its axes; "." in a style draws small points."""
    from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

    figure, axes = new_axes(symbols(chart.x_label), share=False)
    whole = all(float(x).is_integer() for series in chart.series for x in series.x)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=whole))
    for index, series in enumerate(chart.series):
        paint = PAINT[series.paint or PAINTS[index % len(PAINTS)]]
        if series.style == ".":
            axes.plot(series.x, series.y, ".", color=paint, markersize=4, alpha=0.6, label=symbols(series.name))
        else:
            marker = "" if series.style in ("--", ":") else "o"
            axes.plot(series.x, series.y, series.style, color=paint, linewidth=1.8, marker=marker, markersize=3.5,
                      label=symbols(series.name))  # fmt: skip
    for axis, is_log, values in ((axes.xaxis, chart.log_x, "x"), (axes.yaxis, chart.log_y, "y")):
        if is_log:
            ticks = _ticks([value for series in chart.series for value in getattr(series, values)])
            (axes.set_xscale if values == "x" else axes.set_yscale)("log")
            axis.set_ticks(ticks)
            axis.set_major_formatter(ScalarFormatter())
            axis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="both", length=0)
    axes.set_ylabel(symbols(chart.y_label))
    axes.legend(frameon=False, fontsize=7.5, handlelength=1.6, borderpad=0.2, labelspacing=0.25)
    return Plot(symbols(chart.title), symbols(chart.caption), svg_text(figure))


def _ticks(values: list[float]) -> list[float]:
    """Powers of 2 over the range, thinned to at most 7."""
    low, high = math.floor(math.log2(min(values))), math.ceil(math.log2(max(values)))
    step = max(1, math.ceil((high - low) / 6))
    return [2.0**power for power in range(low, high + 1, step)]
