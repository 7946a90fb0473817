"""Findings in, one offline HTML page out, in the style of the run report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ra3.report.page import document, plot_grid
from ra3.report.text import esc as escaped
from theory.claims import Check, Finding, Table, symbols
from theory.figures import draw

INTRO = (
    "Every number on this page was computed by this command on small worlds where the exact answer is known. "
    "On the right: what fails once an assumption is taken away, or a claim is read more widely."
)


def theory_page(findings: Sequence[Finding], command: str) -> str:
    """The page as text."""
    claims = [check for finding in findings for check in finding.holds]
    held = sum(check.holds for check in claims)
    header = (
        "<h1>Do the theorems hold here, and where not?</h1>"
        f'<p class="verdict">{held} of {len(claims)} claims hold under their assumptions. Made by '
        f"<code>{escaped(command)}</code>.</p>"
    )
    sections = [("In short", INTRO, _summary(findings)), *((f.title, symbols(f.statement), _body(f)) for f in findings)]
    return document("ra3 theory", "theory", header, sections)


def esc(text: str) -> str:
    """Text with its symbols, as harmless HTML."""
    return escaped(symbols(text))


def _summary(findings: Sequence[Finding]) -> str:
    rows = []
    for finding in findings:
        held = sum(check.holds for check in finding.holds)
        lost = [check.claim for check in finding.breaks if not check.holds]
        failed = [check.claim for check in finding.holds if not check.holds]
        whole = _badge(not failed, f"{held} of {len(finding.holds)}") + _bullets(failed)
        rows.append((f"<b>{esc(finding.name)}</b>", whole, _bullets(lost) or "&ndash;"))
    return _table(("", "claims that hold", "what does not hold"), rows)


def _body(finding: Finding) -> str:
    assumed = f'<p class="plain">Assumes: {esc("; ".join(finding.assumptions))}.</p>'
    checks = _table(("claim", "measured", "holds"), [_row(check) for check in finding.holds])
    lost = _table(("taken further", "measured", "holds"), [_row(check) for check in finding.breaks])
    tables = "".join(_numbers(table) for table in finding.tables)
    pictures = plot_grid([draw(chart) for chart in finding.charts], "")
    return f"{assumed}{checks}<h4>Where it need not hold</h4>{lost}<p></p>{pictures}{tables}"


def _row(check: Check) -> tuple[str, str, str]:
    return esc(check.claim), esc(check.measured), _badge(check.holds, "yes" if check.holds else "no")


def _badge(good: bool, text: str) -> str:
    return f'<span class="badge {"good" if good else "bad"}">{esc(text)}</span>'


def _bullets(claims: Sequence[str]) -> str:
    return "<br>".join(esc(claim) for claim in claims)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Cells are markup."""
    top = "".join(f'<th scope="col">{esc(name)}</th>' for name in head)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table class="runs"><tr>{top}</tr>{lines}</table></div>'


def _numbers(table: Table) -> str:
    cells = _table(table.head, [[esc(cell) for cell in row] for row in table.rows])
    return f"<details><summary>{esc(table.caption)}</summary>{cells}</details>"
