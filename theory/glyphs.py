"""Formulas written in letters, shown with their symbols: "gamma_bar >= eps" -> "γ̄ ≥ ε"."""

from __future__ import annotations

import re

SYMBOLS = {
    "gamma_bar": "γ̄",
    "gamma": "γ",
    "sigma": "σ",
    "delta": "δ",
    "alpha": "α",
    "tau": "τ",
    "eps": "ε",
    "Theta": "Θ",
    "Zbar_eps": "Z̄ε",
    "Zbar": "Z̄",
    "log2": "log₂",
    "sum_t": "Σₜ",
    "pi": "π",
    "V_0": "V₀",
    ">=": "≥",
    "<=": "≤",
    "||": "‖",
}
PATTERN = re.compile(
    "|".join(re.escape(key) if key[0] in "><|" else rf"(?<![A-Za-z_]){key}(?![A-Za-z_0-9])" for key in SYMBOLS)
)


def symbols(text: str) -> str:
    """The text with Greek letters and signs in place of their names."""
    return PATTERN.sub(lambda hit: SYMBOLS[hit[0]], text)
