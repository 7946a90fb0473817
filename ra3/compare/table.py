"""A table of a comparison as rows of text, and how its numbers are written."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ra3.compare.plan import AFTER


@dataclass(frozen=True)
class Table:
    """A table with what it shows in a sentence."""

    title: str
    intro: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]

    @property
    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [self.head, ("---",) * len(self.head), *self.rows]
        return "\n".join([f"\n{self.title}. {self.intro}\n", *(f"| {' | '.join(line)} |" for line in lines)])


def shown(system: str) -> str:
    """A system's name for people: shown("ra3+rlvr") == "ra3 + RLVR"."""
    return f"{system.removesuffix(AFTER)} + RLVR" if system.endswith(AFTER) else system


def points(mean_: float, low: float, high: float, signed: bool = False) -> str:
    """A share in percent with its interval: points(0.5, 0.4, 0.6) == "50.0 [40.0, 60.0]"; one seed has none."""
    sign = "+" if signed else ""
    text = f"{100 * mean_:{sign}.1f}"
    return text if math.isnan(low) else f"{text} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def numbers(mean_: float, low: float, high: float) -> str:
    """A number with its interval: numbers(12, 10, 14) == "12.0 [10.0, 14.0]"; one seed has none."""
    return f"{mean_:.1f}" if math.isnan(low) else f"{mean_:.1f} [{low:.1f}, {high:.1f}]"


def bounds(interval: dict[str, Any]) -> tuple[float, float, float]:
    """An interval as arguments of `points` and `numbers`."""
    return interval["mean"], interval["low"], interval["high"]


def count(value: float) -> str:
    """Many in thousands: count(217000) == "217k"; few as they are."""
    return f"{value / 1000:.0f}k" if value >= 10_000 else f"{value:.0f}"


def unique(values: Iterable[Any]) -> list[Any]:
    """Each value once, in order of appearance."""
    return list(dict.fromkeys(values))
