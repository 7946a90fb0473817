"""A comparison as one offline HTML page, in the style of the run report."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from ra3.comparison.measured import AFTER, Record, by_system, shown_metric
from ra3.comparison.plan import Cell
from ra3.comparison.tables import Table, tables
from ra3.report.page import document, plot_grid
from ra3.report.plots import PAINT, Plot, new_axes, svg_text
from ra3.report.text import colour_names, esc


def comparison_page(name: str, results: Record, cells: Sequence[Cell], command: str, problems: Sequence[str]) -> str:
    """The page as text."""
    wanted = sum(len([s for s in cell.steps if s.command == "eval"]) for cell in cells)
    troubles = "".join(f'<p class="plain troubles">{esc(problem)}</p>' for problem in problems)
    header = (
        f"<h1>{esc(name)}</h1>"
        f'<p class="verdict">{len(results["cells"])} of {wanted} evaluations are there; '
        f"made by <code>{esc(command)}</code>.</p>{troubles}"
    )
    sections = [(table.title, table.intro, table_html(table)) for table in tables(results)]
    plots = (pareto_plot(results["cells"]), reward_plot(results["cells"]))
    sections += [
        ("Curves", "", plot_grid([plot for plot in plots if plot], "")),
        ("Commands", "Each cell, in order.", commands_html(cells)),
    ]
    return document(f"ra3 compare: {name}", f"compare &middot; {esc(name)}", header, sections)


def table_html(table: Table) -> str:
    """A table as markup."""
    top = "".join(f'<th scope="col">{esc(name)}</th>' for name in table.head)
    lines = "".join("<tr>" + "".join(f"<td>{esc(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f'<div class="wide"><table class="runs"><tr>{top}</tr>{lines}</table></div>'


def reward_plot(cells: Sequence[Record]) -> Plot | None:
    """Reward by RLVR step: the mean over seeds as a line, each seed faintly."""
    systems = {name: own for name, own in by_system(cells).items() if any(cell["rewards"] for cell in own)}
    if not systems:
        return None
    figure, axes = new_axes("RLVR step", share=True)
    colours = colour_names(list(systems))
    for name, own in systems.items():
        courses = [cell["rewards"] for cell in own if cell["rewards"]]
        for course in courses:
            axes.plot(range(1, len(course) + 1), course, color=PAINT[colours[name]], linewidth=0.8, alpha=0.3)
        average = [mean(values) for values in zip(*courses, strict=False)]
        axes.plot(range(1, len(average) + 1), average, color=PAINT[colours[name]], linewidth=1.8, label=name)
    axes.legend(frameon=False, fontsize=7.5)
    return Plot("Reward in RLVR", "Share of programs that pass; bold: mean over seeds.", svg_text(figure))


def pareto_plot(cells: Sequence[Record]) -> Plot | None:
    """pass@1 against the FLOPs of mid-training: each seed a faint point, the mean over seeds a full one."""
    from matplotlib.ticker import MaxNLocator

    trained = [cell for cell in cells if cell["cost"].get("flops") and not cell["system"].endswith(AFTER)]
    metric = shown_metric(trained)
    if not trained:
        return None
    figure, axes = new_axes("FLOPs of mid-training, multiples of the least", share=True)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    systems, least = by_system(trained), min(cell["cost"]["flops"] for cell in trained)
    colours = colour_names(list(systems))
    for name, own in systems.items():
        points = [(cell["cost"]["flops"] / least, cell["scores"][metric]) for cell in own]
        x, y = (list(values) for values in zip(*points, strict=True))
        axes.plot(x, y, ".", color=PAINT[colours[name]], markersize=4, alpha=0.4)
        axes.plot(mean(x), mean(y), "o", color=PAINT[colours[name]], markersize=6)
        axes.annotate(name, (mean(x), mean(y)), (5, 4), textcoords="offset points", fontsize=7.5)
    return Plot("Quality against cost", f"{metric}; small points: seeds. Up and left is better.", svg_text(figure))


def commands_html(cells: Sequence[Cell]) -> str:
    """The exact commands of every cell."""
    blocks = []
    for cell in cells:
        lines = "\n".join(step.text for step in cell.steps)
        title = f"{esc(cell.variant)}, seed {cell.seed}"
        blocks.append(f"<details><summary>{title}</summary><pre>{esc(lines)}</pre></details>")
    return "".join(blocks)
