"""The results of a study: claims with what was measured, charts and tables. Plain data, so that JSON can hold it.

Formulas are written in letters, "gamma_bar >= eps", and shown with their symbols, "γ̄ ≥ ε".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

PAINTS = ("s1", "s2", "s3", "s4", "ra3", "ntp", "base")


@dataclass(frozen=True)
class Check:
    """One claim, and whether it held. A claim can be a theorem's or an assumption that a study takes away.

    Example: Check("regret = pruning + learning, to 1e-10", "largest residual 3e-15 in 60 families", True)
    """

    claim: str
    measured: str
    holds: bool


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: str = "-"
    """Of matplotlib; "." draws points only."""
    paint: str = ""
    """A colour of the report's style sheet; empty: by its place among the series."""


@dataclass(frozen=True)
class Chart:
    """A picture with its data."""

    title: str
    caption: str
    x_label: str
    y_label: str
    series: list[Series]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Table:
    """Cells are texts, ready to be shown."""

    caption: str
    head: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Finding:
    """One theorem or family of identities, checked."""

    name: str
    """Short, for the summary: "Theorem 3.5"."""
    title: str
    statement: str
    """What it says, with the reading taken here."""
    assumptions: list[str]
    holds: list[Check]
    """Claims under the assumptions."""
    breaks: list[Check]
    """The same claims with an assumption taken away, or read more widely: where they need not hold."""
    charts: list[Chart] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)
    """Every measured figure, by name."""

    @property
    def verdict(self) -> str:
        """One line: does it hold here, and where not."""
        failed = [check for check in self.holds if not check.holds]
        if failed:
            return f"does not hold: {failed[0].claim}"
        lost = [check.claim for check in self.breaks if not check.holds]
        return f"holds; not where: {'; '.join(lost)}" if lost else "holds"


def span(values: Sequence[float]) -> str:
    """The range of some numbers: "0.12 to 3.4"."""
    return f"{min(values):.3g} to {max(values):.3g}"


SYMBOLS = {
    "gamma_bar": "γ̄", "gamma": "γ", "sigma": "σ", "delta": "δ", "alpha": "α", "tau": "τ", "eps": "ε", "Theta": "Θ",
    "Zbar_eps": "Z̄ε", "Zbar": "Z̄", "log2": "log₂", "sum_t": "Σₜ", "pi": "π", "V_0": "V₀", ">=": "≥", "<=": "≤",
    "||": "‖",
}
PATTERN = re.compile(
    "|".join(re.escape(key) if key[0] in "><|" else rf"(?<![A-Za-z_]){key}(?![A-Za-z_0-9])" for key in SYMBOLS)
)


def symbols(text: str) -> str:
    """The text with Greek letters and signs in place of their names."""
    return PATTERN.sub(lambda hit: SYMBOLS[hit[0]], text)
