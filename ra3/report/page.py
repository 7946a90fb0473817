"""Run folder in, one HTML page out: no script, nothing fetched, every text escaped by the templates.

`render` also makes the pages of others: a template that extends `page.html` and uses the parts in `macros.html`.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ra3.config.settings import flatten
from ra3.report.headline import headline
from ra3.report.plots import chain_curves, learning_curves, reach_curves
from ra3.report.rollouts import stage_view
from ra3.report.view import System, View, read_view, value_text
from ra3.run.files import disk_errors, write_atomic
from ra3.run.ledger import cost_table, duration, total
from ra3.run.metrics import GLOSSARY, Alarms, Meaning
from ra3.run.results import Cell, Table, in_order, label, result_tables

TEMPLATES = Path(__file__).parent / "templates"
# Control characters, direction overrides, invisible joiners, lone surrogates: shown by their number.
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
MAX_ROLLOUT_CHARACTERS = 800_000


def write_report(folder: str | Path) -> Path:
    """Writes `report.html` into a run folder, or into a folder of run folders, which it then compares.

    The folder is only read; parts that are missing or broken become a sentence. UserError if there is no run.
    """
    view = read_view(Path(folder))
    path = view.folder / "report.html"
    with disk_errors(view.folder, "write the report"):
        write_atomic(path, report_page(view).encode("utf-8"))
    return path


def render(template: Path, **values: Any) -> str:
    """A page as text. The template may use those of this package; values are escaped, and hidden characters shown."""
    return _templates(template.parent).get_template(template.name).render({"troubles": [], "colours": {}, **values})


def _templates(folder: Path) -> Environment:
    templates = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_visible,
    )  # fmt: skip
    templates.filters |= {"label": label, "minus": _with_minus_sign, "shell": shlex.join}
    templates.tests["startingwith"] = str.startswith
    return templates


def _visible(value: object) -> object:
    """Markup as it is, everything else as text with its hidden characters shown by their number."""
    if isinstance(value, Markup):
        return value
    return HIDDEN.sub(lambda hit: f"\\u{ord(hit[0]):04x}", str(value))


def _with_minus_sign(text: str) -> str:
    return re.sub(r"(?<![\w.])-(?=\d)", "\u2212", text)


def report_page(view: View) -> str:
    """The report as text."""
    title, verdict = headline(view)
    systems, results = view.systems, view.results
    points = [point for curve in results.curves.values() for point in curve]
    rollouts, left_out = _rollouts(systems)
    return render(
        TEMPLATES / "report.html",
        kind="report", title=view.title, troubles=view.troubles, colours=view.colours, systems=systems,
        headline=title, verdict=verdict,
        tables=result_tables(results.scores),
        measured=in_order(point.model for point in points),
        chain_plots=chain_curves(view), reach_plots=reach_curves(view),
        latents={system.name: own for system in systems if (own := system.run.results.latents)},
        trained=[system.name for system in systems if system.stages], learning_plots=learning_curves(view),
        alarms=[alarm for system in systems for alarm in _alarms(system)],
        rollouts=rollouts, left_out=left_out,
        runs=_runs_table(view),
        costs={system.name: cost_table(own) for system in systems if (own := system.run.costs)},
        glossary=_glossary(systems),
        environments={system.name: _environment_facts(system) for system in systems},
    )  # fmt: skip


def _rollouts(systems: list[System]) -> tuple[list[Markup], int]:
    """(stages with their rollouts as markup, how many were left out because the page would be too large)."""
    draw = _templates(TEMPLATES).get_template("rollouts.html").module.stage  # pyright: ignore[reportAttributeAccessIssue]
    drawn, size, left_out = [], 0, 0
    for system in systems:
        for stage, pair in system.rollouts.items():
            markup = draw(stage_view(f"{label(system.name)}: {stage}", pair), not drawn)
            if size + len(markup) > MAX_ROLLOUT_CHARACTERS:
                left_out += 1
            else:
                drawn.append(markup)
                size += len(markup)
    return drawn, left_out


def _alarms(system: System) -> list[tuple[str, int, str]]:
    """(system, step, sentence) of every alarm that these metrics would have raised."""
    alarms = Alarms(system.run.settings.get("run.dtype"))
    return [
        (system.name, line.step, text)
        for stage, lines in system.stages.items()
        for line in lines
        for text in alarms.check(stage, line.values)
    ]


def _runs_table(view: View) -> Table:
    """One row for each system: what it did and what it cost. A run that has not ended says how to go on."""
    rows = []
    for system in view.systems:
        spent = total(system.run.costs)
        stages = ", ".join(f"{stage} ({len(lines)})" for stage, lines in system.stages.items())
        counts = [f"{count:,.0f}" if count else "\u2013" for count in (spent.generated, spent.trained)]
        took = duration(spent.wall_s) if spent.wall_s else "\u2013"
        rows.append((Cell(model=system.name), stages or "\u2013", took, *counts, _progress(view, system)))
    return Table("Runs", ("run", "stages (updates)", "wall time", "tokens generated", "tokens trained", "state"), rows)


def _progress(view: View, system: System) -> str:
    evaluated = any(score.model == system.name for score in view.results.scores) or system.run.results.scores
    done = [word for word, true in (("model saved", system.run.has_model), ("evaluated", evaluated)) if true]
    go_on = f"; go on with {system.run.facts.resume}" if system.run.facts.resume else ""
    return ", ".join(done) or f"not finished{go_on}"


def _glossary(systems: list[System]) -> list[tuple[str, Meaning, list[tuple[str, str, str]]]]:
    """(metric, its meaning, last value of each system and stage) for every metric of these runs."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for system in systems:
        for stage, lines in system.stages.items():
            last = {key: value for line in lines for key, value in line.values.items()}
            for key, value in last.items():
                found.setdefault(key, []).append((system.name, stage, value_text(value)))
    unknown = Meaning("(not in the glossary)", "", "")
    known = [key for key in GLOSSARY if key in found]
    return [(key, GLOSSARY.get(key, unknown), found[key]) for key in [*known, *sorted(found.keys() - GLOSSARY.keys())]]


def _environment_facts(system: System) -> dict[str, Any]:
    """Lists what the run ran on, by dotted key."""
    facts = {key: value for key, value in system.run.environment.items() if key not in ("earlier", "argv")}
    return {**dict(flatten(facts)), "attempts": len(system.run.facts.attempts)}
