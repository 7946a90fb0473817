"""Run folder in, one HTML page out: no script, nothing fetched, every text escaped."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ra3.report.abstractions import abstraction_tables
from ra3.report.folder import View, in_order, read_view
from ra3.report.headline import headline
from ra3.report.plots import Plot, chain_curves, learning_curves, reach_curves
from ra3.report.rollouts import rollouts_section
from ra3.report.style import style_sheet
from ra3.report.tables import (
    alarms_list,
    glossary_table,
    profile_tables,
    result_tables,
    runs_table,
    settings,
    swatch,
)
from ra3.report.text import colour_names, esc
from ra3.run.files import disk_errors, write_atomic
from ra3.run.profile import READING

# Belt and braces: even if a text slipped through unescaped, nothing may run and nothing may be loaded.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def write_report(folder: str | Path) -> Path:
    """Write `report.html` into a run folder, or into a folder of run folders, which it then compares.

    The folder is only read; parts that are missing or broken become a sentence. Raises UserError if there is no run.
    """
    view = read_view(Path(folder))
    path = view.folder / "report.html"
    with disk_errors(view.folder, "write the report"):
        write_atomic(path, page(view).encode("utf-8"))
    return path


def page(view: View) -> str:
    """The page as text."""
    title, verdict = headline(view)
    names = [system.name for system in view.systems if system.metrics]
    sections = (
        ("Results", _results_intro(view), result_tables(view)),
        (
            "When it thinks",
            CHAINS_INTRO,
            _with_swatches(view, chain_curves(view)),
        ),
        ("What is reachable", REACH_INTRO, _with_swatches(view, reach_curves(view))),
        ("Found abstractions", ABSTRACTIONS_INTRO, abstraction_tables(view)),
        (
            "Learning curves",
            "",
            _swatches(names) + plot_grid(learning_curves(view), "No metrics have been written yet."),
        ),
        ("Alarms", "Signs that a learning signal has died, checked over the whole run.", alarms_list(view)),
        ("Rollouts", ROLLOUTS_INTRO, rollouts_section(view)),
        ("What was run", "", runs_table(view)),
        ("Where the time went", READING, profile_tables(view)),
        ("Metrics explained", "Last value of each run and stage, and how to read it.", glossary_table(view)),
        ("Settings and environment", "", settings(view)),
    )
    header = f"<h1>{esc(title)}</h1>" + f'<p class="verdict">{esc(verdict)}</p>{_troubles(view)}'
    return document(f"ra3 report: {view.title}", f"report &middot; {esc(view.title)}", header, sections)


def document(title: str, eyebrow: str, header: str, sections: Iterable[tuple[str, str, str]]) -> str:
    """A whole offline page; `title` and the sections' titles and intros are plain text, the rest is markup."""
    body = "".join(_section(*section) for section in sections)
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{esc(title)}</title><style>{style_sheet()}</style></head><body><main>"
        f'<header><p class="eyebrow"><b>ra3</b> {eyebrow}</p>{header}</header>{body}</main></body></html>\n'
    )


CHAINS_INTRO = "Selective thinking, read off the evaluation: by how long a chain of references a problem needs."
REACH_INTRO = (
    "pass@k, unbiased, up to as many samples as there are: what is reached at the first try, and what is at all."
)
ABSTRACTIONS_INTRO = (
    "What the intentions written into the training text are about, gathered by their last word: how often, an example, "
    "and the code that follows most often."
)
ROLLOUTS_INTRO = (
    "What the policy wrote, with the credit each token got: green raised its probability, pink lowered it. "
    "Hover over a token for its log-probability and advantage. Shown are the best and the worst sample of one group."
)


def _section(title: str, intro: str, body: str) -> str:
    """A card; a section without a body is left out."""
    if not body:
        return ""
    lead = f'<p class="intro">{esc(intro)}</p>' if intro else ""
    return f"<section><h2>{esc(title)}</h2>{lead}{body}</section>"


def _results_intro(view: View) -> str:
    if any(row["metric"].startswith("pass@") for row in view.rows):
        return (
            "Share of problems solved; pass@k: at least one of k samples passes all tests. Intervals are over problems."
        )
    return "Measured on text that was held out." if view.rows else ""


def _with_swatches(view: View, plots: list[Plot]) -> str:
    names = in_order(p["model"] for points in view.curves.values() for p in points)
    return _swatches(names) + plot_grid(plots, "") if plots else ""


def plot_grid(plots: list[Plot], nothing: str, size: str = "") -> str:
    """Finished plots side by side ("large": two of them), or the sentence that says why there are none."""
    figures = "".join(
        f"<figure><h3>{esc(plot.title)}</h3>{plot.svg}<figcaption>{esc(plot.caption)}</figcaption></figure>"
        for plot in plots
    )
    return (
        f'<div class="{f"plots {size}".strip()}">{figures}</div>'
        if figures
        else (f'<p class="plain">{esc(nothing)}</p>' if nothing else "")
    )


def _swatches(names: list[str]) -> str:
    items = "".join(f"<span>{swatch(name, colour_names(names))}</span>" for name in names)
    return f'<div class="swatches">{items}</div>'


def _troubles(view: View) -> str:
    return "".join(f'<p class="plain troubles">{esc(trouble)}</p>' for trouble in view.troubles)
