"""A comparison as one offline HTML page, in the style of the run report."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup
from markupsafe import escape as esc

from ra3.compare.aggregate import shown_metric
from ra3.compare.curves import figure_plots
from ra3.compare.figures import chain_plots, overview_plots, reach_plots, reward_plot
from ra3.compare.latent_tables import heldout_table
from ra3.compare.palette import Look
from ra3.compare.plan import AFTER, Cell, Comparison
from ra3.compare.results import Record
from ra3.compare.table import Table, points, shown
from ra3.compare.tables import differences_table, reach_table, scores_table, seeds_table
from ra3.compare.training_tables import budget_table, cost_table, sigmoids_table, steps_table
from ra3.report.page import render
from ra3.report.plots import Plot

VALUE = re.compile(r"([+-]?\d[\d.]*) \[([+-]?[\d.]+), ([+-]?[\d.]+)\](.*)")
"""A number with its interval, as `points` and `numbers` write it, and what comes after."""


def comparison_page(
    comparison: Comparison, results: Record, cells: Sequence[Cell], command: str, problems: Sequence[str]
) -> str:
    """The page as text."""
    wanted = sum(len([s for s in cell.steps if s.command == "eval"]) for cell in cells)
    problems = [*problems, *_mixed_code(results["code"])]
    troubles = "".join(f'<p class="plain troubles">{esc(problem)}</p>' for problem in problems)
    made_by = f", {next(iter(results['code']))}" if len(results["code"]) == 1 else ""
    there = f"{len(results['cells'])} of {wanted} evaluations are there, on seeds {_seeds(results)}{made_by}; made by "
    header = (
        f"<h1>{esc(headline(results) or comparison.name)}</h1>"
        f'<p class="verdict">{esc(there)}<code>{esc(command)}</code>.</p>{troubles}'
    )
    sections = [*_sections(comparison, results), ("Commands", "Each cell, in order.", commands_html(cells))]
    return render(
        Path(__file__).parent / "templates" / "compare.html", kind="compare", title=comparison.name,
        header=Markup(header), sections=[(title, intro, Markup(body)) for title, intro, body in sections],
    )  # fmt: skip


def _sections(comparison: Comparison, results: Record) -> list[tuple[str, str, str]]:
    """(title, introduction, markup); one without markup is left out by `document`."""
    cells, look = results["cells"], Look.of(list(comparison.variants), comparison.figures)
    rewards = reward_plot(cells, look)

    def tables(*found: Table) -> str:
        own = [table for table in found if table.rows]
        return "".join(f'<h3>{esc(t.title)}</h3><p class="intro">{esc(t.intro)}</p>{table_html(t)}' for t in own)

    return [
        ("Results", "", tables(scores_table(results), differences_table(results))),
        ("Overview", "", _large(overview_plots(results, look))),
        ("What each part does", "", _large(figure_plots(comparison.figures, cells, look))),
        ("What is reachable", "", _large(reach_plots(cells, look)) + tables(reach_table(results))),
        ("RLVR", "", _large([rewards] if rewards else []) + tables(steps_table(results), sigmoids_table(results))),
        ("Cost", "", tables(cost_table(results), budget_table(results))),
        ("Intentions", "", tables(heldout_table(cells)) + _large(chain_plots(cells, look))),
        ("Seeds", "", tables(seeds_table(cells))),
    ]


def headline(results: Record) -> str:
    """The first sentence: who solves most, before RLVR and after it, and how far ahead of the baseline."""
    metric = shown_metric(results["cells"])
    rows = [row for row in results["summary"] if row["metric"] == metric]
    sentences = []
    for after in ("", AFTER):
        own = sorted((r for r in rows if r["system"].endswith(AFTER) == bool(after)), key=lambda r: -r["mean"])
        if not own or (after and len(own) < 2):
            continue
        best, rival = own[0]["system"], results["baseline"] + after
        gaps = {(r["a"], r["b"]): r for r in results["differences"] if r["metric"] == metric}
        ahead = ""
        if gap := gaps.get((best, rival)):
            ahead = f", {points(gap['mean'], gap['low'], gap['high'], signed=True)} points over {shown(rival)}"
        sentences.append(f"{shown(best)}: {100 * own[0]['mean']:.1f}%{ahead}")
    return f"Highest {metric}. {'; '.join(sentences)}." if sentences else ""


def table_html(table: Table) -> str:
    """A table as markup; intervals stand under their numbers, and differences without 0 in theirs are coloured."""
    top = "".join(f'<th scope="col">{esc(name)}</th>' for name in table.head)
    lines = "".join("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f'<div class="wide"><table class="runs"><tr>{top}</tr>{lines}</table></div>'


def _cell(text: str) -> str:
    found = VALUE.fullmatch(text)
    if not found:
        return esc(text)
    value, low, high, rest = found.groups()
    apart = value[0] in "+-" and low[0] == high[0] and 0.0 not in (float(low), float(high))
    colour = (" up" if value[0] == "+" else " down") if apart else ""
    more = f'<br><span class="range">{esc(rest.lstrip("; "))}</span>' if rest else ""
    return f'<b class="mean{colour}">{esc(value)}</b><span class="range">{esc(low)} to {esc(high)}</span>{more}'


def commands_html(cells: Sequence[Cell]) -> str:
    """The exact commands of every cell."""
    blocks = []
    for cell in cells:
        lines = "\n".join(step.text for step in cell.steps)
        title = f"{esc(cell.variant)}, seed {cell.seed}"
        blocks.append(f"<details><summary>{title}</summary><pre>{esc(lines)}</pre></details>")
    return "".join(blocks)


def _mixed_code(code: Mapping[str, int]) -> list[str]:
    """A sentence if not all numbers are of the same code."""
    if len(code) < 2:
        return []
    shares = ", ".join(f"{made_by} (behind {count} evaluations)" for made_by, count in code.items())
    return [f"Runs of several versions are compared here: {shares}."]


def _large(plots: list[Plot]) -> str:
    figures = "".join(
        f"<figure><h3>{esc(p.title)}</h3>{p.svg}<figcaption>{esc(p.caption)}</figcaption></figure>" for p in plots
    )
    return f'<div class="plots large">{figures}</div>' if plots else ""


def _seeds(results: Record) -> str:
    return ", ".join(map(str, results["seeds"]))
