"""What the figures of a comparison share: a variant's colour; full and solid before RLVR, hollow and dashed after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ra3.compare.aggregate import average
from ra3.compare.equal_flops import twin_of
from ra3.compare.plan import AFTER
from ra3.compare.table import unique
from ra3.report.plots import PAINT
from ra3.report.view import colour_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ra3.compare.plan import Figure

LARGE = (5.4, 3.5)
"""Inches."""


@dataclass(frozen=True)
class Look:
    """How each variant is painted: Look({"ra3": "#0a0b02"})."""

    colours: Mapping[str, str]

    @classmethod
    def of(cls, variants: Sequence[str], figures: Sequence[Figure] = ()) -> Look:
        """Colours by the order of the variants; a twin has its variant's, and the values of a setting one together."""
        lines = [line for figure in figures if figure.ordered for line in figure.lines]
        line_of = {variant: f"line {number}" for number, line in enumerate(lines) for _, variant in line.points}
        same = {name: line_of.get(name, name) for name in variants}
        colours = colour_names(unique(same.values()))
        plain = {name: PAINT[colours[same[name]]] for name in variants}
        return cls(plain | {twin_of(name): paint for name, paint in plain.items()})

    def paint(self, system: str) -> str:
        """A system's colour."""
        return self.colours[system.removesuffix(AFTER)]

    def marker(self, system: str) -> dict[str, Any]:
        """Full before RLVR, hollow after."""
        own = self.paint(system)
        return {"color": own, "markerfacecolor": "none" if system.endswith(AFTER) else own}

    def line(self, system: str) -> str:
        """Solid before RLVR, dashed after."""
        return "--" if system.endswith(AFTER) else "-"


def spread(
    axes: Axes, name: str, values: Sequence[float], look: Look, at: Callable[[float], tuple[float, float]]
) -> None:
    """Mean, interval and seeds of one system; `at` says where a score lies."""
    found = average(values)
    for value in values:
        axes.plot(*at(value), ".", color=look.paint(name), markersize=4, alpha=0.4)
    x, y = zip(at(found.low), at(found.high), strict=True)
    axes.plot(x, y, color=look.paint(name), linewidth=1.6)
    axes.plot(*at(found.mean), "o", markersize=5.5, **look.marker(name))


def labels_left(axes: Axes, labels: Sequence[str]) -> None:
    """Names from bottom to top instead of the y axis."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.grid(False, axis="y")
    axes.grid(True, axis="x", linewidth=0.8)


def name_points(axes: Axes, places: Mapping[str, tuple[float, float]]) -> None:
    """Names beside their points, moved apart where they would lie on each other."""
    low, high = axes.get_ylim()
    apart, below = 0.052 * (high - low), high + (high - low)
    for name, (x, y) in sorted(places.items(), key=lambda item: -item[1][1]):
        below = min(y, below - apart)
        axes.annotate(name, (x, below), (7, 0), textcoords="offset points", fontsize=7.5, va="center")
