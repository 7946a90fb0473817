"""Findings in, one offline HTML page out, in the style of the run report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ra3.report.page import render
from theory.claims import Finding, symbols
from theory.figures import draw

TEMPLATE = Path(__file__).parent / "templates" / "theory.html"


def theory_page(findings: Sequence[Finding], command: str) -> str:
    """The page as text."""
    plots = [[draw(chart) for chart in finding.charts] for finding in findings]
    return render(TEMPLATE, kind="theory", title="", findings=findings, plots=plots, command=command, symbols=symbols)
