"""A comparison as one offline HTML page, in the style of the run report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ra3.compare import figures
from ra3.compare.definition import AFTER, Comparison, GridCell
from ra3.compare.results import Compared, shown_metric
from ra3.compare.tables import gap_cell, shown, tables
from ra3.report.page import render
from ra3.report.plots import Plot
from ra3.run.results import Cell, Table

TEMPLATE = Path(__file__).parent / "templates" / "compare.html"


def comparison_page(
    comparison: Comparison, results: Compared, cells: Sequence[GridCell], command: str, problems: Sequence[str]
) -> str:
    """The page as text."""
    wanted = sum(step.name == "eval" for cell in cells for step in cell.commands)
    found = [f"{made_by} (behind {count} evaluations)" for made_by, count in results.code.items()]
    mixed = [f"Runs of several versions are compared here: {', '.join(found)}."] if len(found) > 1 else []
    made_by = "".join(f", {version}" for version in results.code if not mixed)
    seeds = ", ".join(map(str, results.seeds))
    return render(
        TEMPLATE, kind="compare", title=comparison.name, headline=headline(results) or comparison.name,
        there=f"{len(results.cells)} of {wanted} evaluations are there, on seeds {seeds}{made_by}; made by ",
        command=command, troubles=[*problems, *mixed], cells=cells,
        sections=_sections(comparison, results),
    )  # fmt: skip


def _sections(comparison: Comparison, results: Compared) -> list[tuple[str, list[Plot], list[Table]]]:
    """Title, figures and tables of each section."""
    cells, palette = results.cells, figures.Palette.of(list(comparison.variants), comparison.figures)
    found = tables(results)
    plots = {
        "Results": [],
        "Overview": [*figures.difference_plot(results, palette), *figures.pareto_plot(results, palette)],
        "What each part does": [p for f in comparison.figures if (p := figures.setting_plot(f, cells, palette))],
        "What is reachable": figures.reach_plots(cells, palette),
        "RLVR": figures.reward_plots(cells, palette),
        "Cost": [],
        "Intentions": figures.curve_plots(cells, figures.CHAINS, "chain length", palette),
        "Seeds": [],
    }
    return [(title, own, found.get(title, [])) for title, own in plots.items() if own or title in found]


def headline(results: Compared) -> str:
    """The first sentence: who solves most, before RLVR and after it, and whether that is more than the baseline."""
    metric, sentences = shown_metric(results.cells), []
    for after in ("", AFTER):
        own = [row for row in results.summary if row.metric == metric and row.system.endswith(AFTER) == bool(after)]
        if not own or (after and len(own) < 2):
            continue
        best, rival = max(own, key=lambda row: row.interval.mean), results.baseline + after
        gaps = [d.gap for d in results.differences if (d.a, d.b, d.metric) == (best.system, rival, metric)]
        ahead = "".join(_ahead(gap_cell(gap), shown(rival)) for gap in gaps)
        sentences.append(f"{shown(best.system)}: {100 * best.interval.mean:.1f}%{ahead}")
    return f"Highest {metric}. {'; '.join(sentences)}." if sentences else ""


def _ahead(gap: Cell, rival: str) -> str:
    return f", {gap} points over {rival}" if gap.trend else f", not told apart from {rival} ({gap} points)"
