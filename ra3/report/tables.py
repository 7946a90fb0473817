"""The page's tables: results with intervals, what was run, the metrics explained, settings and environment."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping

from ra3.report.folder import System, View, in_order
from ra3.report.text import colour_names, esc, is_after_rlvr, label, score_text, value_text
from ra3.run.alarms import Alarms
from ra3.run.display import duration, is_share
from ra3.run.folder import flatten
from ra3.run.ledger import read_ledger
from ra3.run.metrics import GLOSSARY, number
from ra3.run.profile import HEADS, profile_rows

BANDS = ("known", "edge", "hard")
PLACE = ("stage", "round", "step")


def swatch(name: str, colours: Mapping[str, str]) -> str:
    """A system's name with its colour before it."""
    return f"{dot(name, colours)}{esc(label(name))}"


def dot(name: str, colours: Mapping[str, str]) -> str:
    """A system's colour as a small square, hollow after RLVR."""
    return (
        f'<span class="swatch{" hollow" if is_after_rlvr(name) else ""}" style="color:var(--{colours[name]})"></span>'
    )


def result_tables(view: View) -> str:
    """pass@k: models down and bands across, the smallest k unfolded. Other metrics: metrics down and models across."""
    if not view.rows:
        return '<p class="plain">No results yet: the evaluation has not been run, or has not finished.</p>'
    passes = [row for row in view.rows if row["metric"].startswith("pass@")]
    others = [row for row in view.rows if not row["metric"].startswith("pass@")]
    ks = sorted(dict.fromkeys(row["metric"] for row in passes), key=lambda metric: (len(metric), metric))
    tables = [_result_table(k, [row for row in passes if row["metric"] == k], "model", "band") for k in ks]
    more = f"<details><summary>{esc(', '.join(ks[1:]))}</summary>{''.join(tables[1:])}</details>" if ks[1:] else ""
    bands = dict.fromkeys(row["band"] for row in others)
    rest = [_result_table(band, [row for row in others if row["band"] == band], "metric", "model") for band in bands]
    return "".join([*tables[:1], more, *rest])


def _result_table(title: str, rows: list[dict], down: str, across: str) -> str:
    """`down` and `across` are keys of the rows; each cell: mean, interval, and the interval drawn."""
    cells = {(row[down], row[across]): row for row in rows}
    colours = colour_names(in_order(row["model"] for row in rows))
    columns = _names(rows, across)
    lines = []
    for name in _names(rows, down):
        scale = _scale([row for row in rows if row["metric"] == (name if down == "metric" else row["metric"])])
        drawn = "".join(_cell(cells.get((name, column)), colours, scale) for column in columns)
        lines.append(f'<tr><th scope="row">{_head(name, down, colours)}</th>{drawn}</tr>')
    heads = "".join(f'<th scope="col">{_head(column, across, colours)}</th>' for column in columns)
    unit, noun = (", in percent", "problems") if across == "band" else ("", "items")
    note = f"{esc(title)}{unit}, with 95% interval; {_sizes(rows, noun)}."
    head = f'<tr><th scope="col"></th>{heads}</tr>'
    return f'<div class="wide"><table class="results"><caption>{note}</caption>{head}{"".join(lines)}</table></div>'


def _names(rows: list[dict], key: str) -> list[str]:
    """Models and bands in their usual order, anything else in the order found."""
    names = list(dict.fromkeys(row[key] for row in rows))
    return (
        in_order(names) if key == "model" else sorted(names, key=lambda n: BANDS.index(n) if n in BANDS else len(BANDS))
    )


def _head(name: str, key: str, colours: Mapping[str, str]) -> str:
    if key == "model":
        return swatch(name, colours)
    return esc(name.replace("_", " ")) + (", %" if key == "metric" and is_share(name) else "")


def _scale(rows: list[dict]) -> tuple[float, float]:
    """Ends of the track that intervals are drawn on: 0 to 1 for shares, else from 0 or below to the highest end."""
    if is_share(rows[0]["metric"]):
        return 0.0, 1.0
    ends = [row[key] for row in rows for key in ("mean", "low", "high") if math.isfinite(row[key])]
    return min(0.0, *ends), max(0.0, *ends)


def _cell(row: dict | None, colours: Mapping[str, str], scale: tuple[float, float]) -> str:
    if row is None:
        return '<td class="none">&ndash;</td>'
    metric, mean, low, high = (row[key] for key in ("metric", "mean", "low", "high"))
    text = f'<b class="mean">{score_text(metric, mean)}</b>'
    if not low < high:
        return f"<td>{text}</td>"
    at = {key: 100 * (row[key] - scale[0]) / ((scale[1] - scale[0]) or 1.0) for key in ("mean", "low", "high")}
    bar = (
        f'<span class="bar" style="color:var(--{colours[row["model"]]})"><i style="left:{at["low"]:.1f}%;'
        f'width:{at["high"] - at["low"]:.1f}%"></i><b style="left:{at["mean"]:.1f}%"></b></span>'
    )
    return f'<td>{text} <span class="range">{score_text(metric, low)} to {score_text(metric, high)}</span>{bar}</td>'


def _sizes(rows: list[dict], noun: str) -> str:
    """`100 problems each, 20 samples a problem`, or a range where the rows differ."""
    parts = []
    for key, words in (("problems", f"{noun} each"), ("samples", "samples a problem")):
        counts = [int(row[key]) for row in rows if math.isfinite(row[key])]
        if counts:
            least, most = min(counts), max(counts)
            parts.append(f"{least:,} {words}" if least == most else f"{least:,} to {most:,} {words}")
    return ", ".join(parts) or "sizes not recorded"


def runs_table(view: View) -> str:
    """What each system did and what it cost; a run that has not ended says how to go on."""
    colours = colour_names([system.name for system in view.systems])
    heads = ("run", "stages (updates)", "wall time", "tokens generated", "tokens trained", "state")
    lines = []
    for system in view.systems:
        stages = ", ".join(f"{esc(stage)} ({len(lines_)})" for stage, lines_ in system.metrics.items()) or "\u2013"
        spent = duration(sum(system.seconds.values())) if system.seconds else "\u2013"
        counts = [_count(system, key) for key in ("tokens_generated", "tokens_trained")]
        cells = [swatch(system.name, colours), stages, spent, *counts, _state(view, system)]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return _table("runs", heads, lines)


def _count(system: System, key: str) -> str:
    numbers = [number(line.get(key)) for lines in system.metrics.values() for line in lines]
    total = sum(value for value in numbers if math.isfinite(value))
    return f"{total:,.0f}" if total else "\u2013"


def _state(view: View, system: System) -> str:
    evaluated = system.results or any(row["model"] == system.name for row in view.rows)
    done = [word for word, true in (("model saved", system.has_model), ("evaluated", evaluated)) if true]
    resume = system.environment.get("resume")
    go_on = f"; go on with <code>{esc(resume)}</code>" if resume else ""
    return ", ".join(done) or f"not finished{go_on}"


def profile_tables(view: View) -> str:
    """Where the time of every run went; nothing for a run without a ledger."""
    colours = colour_names([system.name for system in view.systems])
    tables = []
    for system in view.systems:
        if costs := read_ledger(system.folder):
            lines = ("<tr>" + "".join(f"<td>{esc(cell)}</td>" for cell in row) + "</tr>" for row in profile_rows(costs))
            tables.append(f"<h3>{swatch(system.name, colours)}</h3>" + _table("runs", HEADS, lines))
    return "".join(tables)


def glossary_table(view: View) -> str:
    """Every metric of these runs: last values, meaning, healthy and sick readings."""
    colours = colour_names([system.name for system in view.systems])
    keys = {key for system in view.systems for lines in system.metrics.values() for line in lines for key in line}
    ordered = [key for key in GLOSSARY if key in keys] + sorted(keys - set(GLOSSARY) - set(PLACE))
    if not ordered:
        return '<p class="plain">No metrics have been written yet.</p>'
    lines = []
    for key in ordered:
        entry = GLOSSARY.get(key)
        texts = entry or ("(not in the glossary)", "", "")
        last = "".join(_last_values(system, key, colours) for system in view.systems)
        lines.append(
            f'<tr><th scope="row"><code>{esc(key)}</code></th><td class="last">{last}</td>'
            + "".join(f"<td>{esc(text)}</td>" for text in texts)
            + "</tr>"
        )
    return _table("glossary", ("metric", "last value", "meaning", "healthy", "sick"), lines)


def _last_values(system: System, key: str, colours: Mapping[str, str]) -> str:
    found = []
    for stage, lines in system.metrics.items():
        values = [line[key] for line in lines if key in line]
        if values:
            title = f"{label(system.name)}, {stage}"
            mark = dot(system.name, colours)
            found.append(
                f'<span title="{esc(title)}">{mark}{value_text(number(values[-1]))} <i>{esc(stage)}</i></span>'
            )
    return "".join(found)


def alarms_list(view: View) -> str:
    """Every alarm that these metrics would have raised, in words."""
    found = []
    for system in view.systems:
        alarms = Alarms()
        for stage, lines in system.metrics.items():
            for line in lines:
                numbers = {key: value for key, value in line.items() if key not in PLACE}
                found += [(system.name, line.get("step"), text) for text in alarms.check(stage, numbers)]
    items = [f"<li><b>{esc(label(name))}</b>, step {esc(step)}: {esc(text)}</li>" for name, step, text in found]
    return f'<ul class="alarms">{"".join(items)}</ul>' if items else '<p class="plain good">No alarms.</p>'


def settings(view: View) -> str:
    """Config, environment and command line of every run, folded."""
    return "".join(_settings_of(system) for system in view.systems)


def _settings_of(system: System) -> str:
    environment = {key: value for key, value in system.environment.items() if key not in ("earlier", "argv")}
    argv = system.environment.get("argv")
    earlier = system.environment.get("earlier")
    attempts = [system.environment, *(earlier if isinstance(earlier, list) else [])]
    command = shlex.join(str(part) for part in argv) if isinstance(argv, list) else "(not recorded)"
    return (
        f"<details><summary>{esc(label(system.name))} <code>{esc(system.folder)}</code></summary>"
        f"<h4>Command</h4><pre>{esc(command)}</pre>"
        f"<h4>Environment</h4>{_facts({**flatten(environment), 'attempts': len(attempts)})}"
        f"<h4>Settings</h4>{_facts(flatten(system.config))}</details>"
    )


def _facts(facts: Mapping[str, object]) -> str:
    if not facts:
        return '<p class="plain">Not recorded.</p>'
    rows = [f"<tr><th>{esc(key)}</th><td>{esc(value)}</td></tr>" for key, value in facts.items()]
    return f'<table class="facts">{"".join(rows)}</table>'


def _table(kind: str, heads: Iterable[str], lines: Iterable[str]) -> str:
    head = "".join(f'<th scope="col">{esc(name)}</th>' for name in heads)
    return f'<div class="wide"><table class="{kind}"><tr>{head}</tr>{"".join(lines)}</table></div>'
