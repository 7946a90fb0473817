"""The dictionary of found abstractions as tables: a word, how often it is used, an example, the code it opens."""

from __future__ import annotations

import math

from ra3.report.folder import View
from ra3.report.text import esc, label, value_text
from ra3.run.metrics import number

SHOWN = 40


def abstraction_tables(view: View) -> str:
    """A table for each system that wrote intentions; the first is open, the others are folded."""
    parts = []
    for system in view.systems:
        records = system.results.get("abstractions")
        rows = [_row(r) for r in (records if isinstance(records, list) else []) if isinstance(r, dict)]
        if rows:
            head = f"<summary>{esc(label(system.name))}: {len(rows)} words</summary>"
            parts.append(f"<details{'' if parts else ' open'}>{head}{_table(rows[:SHOWN])}</details>")
    return "".join(parts)


def _table(rows: list[str]) -> str:
    names = ("word", "intentions", "different", "right", "example", "code that follows most often", "follows")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return f'<div class="wide"><table class="words"><tr>{head}</tr>{"".join(rows)}</table></div>'


def _row(record: dict) -> str:
    cells = [
        f"<code>{esc(record.get('word', '?'))}</code>",
        value_text(number(record.get("count"))),
        value_text(number(record.get("comments"))),
        _percent(record.get("right_share")),
        f"<code>{esc(record.get('example', ''))}</code>",
        f"<pre>{esc(str(record.get('code', '')).rstrip())}</pre>",
        _percent(record.get("code_share")),
    ]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _percent(value: object) -> str:
    share = number(value)
    return f"{share:.0%}" if math.isfinite(share) else "\u2013"
