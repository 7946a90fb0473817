"""Theorem 3.5: how many demonstrations prune every bad set of actions, against the formula, and where it breaks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import linear_regression

from ra3.seeds import derive
from theory.claims import Chart, Check, Finding, Series, Table, span
from theory.pruning import ACTIONS, DELTA, SIGMA, Point, hardest, in_options, read_off, survival

ACTION_COUNTS, DELTAS, SIGMAS = (4, 8, 16, 32, 64, 128), (0.3, 0.1, 0.03, 0.01), (0.4, 0.2, 0.1, 0.05)
SIZES, SIZE_ACTIONS, READ_SIZES, READ_ACTIONS = (1, 2, 3), 32, (2, 4, 8, 16, 32), (32, 128, 512, 2048)
REPEATS, SLIPS, WORLDS, RARE_VALUE = (0.0, 0.5, 0.75, 0.9), (0.0, 0.01, 0.03, 0.1), 8, 50.0

ASSUMPTIONS = [
    "finite actions",
    "independent demonstrations",
    "some set of |Zbar_eps| actions is eps-optimal on every task",
    "the expert is eps-optimal, and a demonstration tells which sets are",
]


def log_ratio(point: Point) -> float:
    """log(|Z| / delta)"""
    return math.log(point.actions / point.delta)


@dataclass(frozen=True)
class Measured:
    """Everything the claims are about: families by what was varied in them."""

    sweeps: dict[str, list[Point]]
    worlds: list[tuple[Point, float]]
    """Garnet families with options, each with the largest loss, in eps, of a set that stays."""
    repeated: list[Point]
    """One for each of REPEATS."""
    read_sizes: list[Point]
    read_actions: list[Point]

    @property
    def points(self) -> list[Point]:
        """Families whose demand must not be above the formula."""
        return [point for sweep in self.sweeps.values() for point in sweep] + self.garnets

    @property
    def garnets(self) -> list[Point]:
        """The families with options."""
        return [point for point, _ in self.worlds]

    @property
    def above(self) -> int:
        """Families whose demand is above the formula by more than 3 errors."""
        return sum(point.demand > point.bound + 3 * point.error for point in self.points)

    @property
    def losses(self) -> list[float]:
        """Largest losses, in eps, of sets that stay."""
        return [loss for _, loss in self.worlds]

    def slopes(self) -> dict[str, tuple[float, float]]:
        """factor -> (slope of the demand, slope of the formula), by least squares over the same points."""
        measured = [(name, points, FACTORS[name][1]) for name, points in self.sweeps.items()]
        measured.append((READ_BY_SIZE, self.read_sizes, FACTORS[BY_SIZE][1]))
        measured.append((READ_BY_ACTIONS, self.read_actions, log_ratio))
        found = {}
        for name, points, factor in measured:
            x = [factor(point) for point in points]
            demand = linear_regression(x, [point.demand for point in points]).slope
            found[name] = (demand, linear_regression(x, [point.bound for point in points]).slope)
        return found


def study_pruning(seed: int) -> Finding:
    """The hardest one-step families that the proof allows, and Garnet families with random options."""
    measured = _measure(seed)
    slopes = measured.slopes()
    ratio = {name: demand / formula for name, (demand, formula) in slopes.items()}
    return Finding(
        name="Theorem 3.5",
        title="Demonstrations needed to prune every bad set of actions",
        statement=(
            "|D_E| = Theta(|Zbar_eps| log(|Z| / delta) / sigma) demonstrations prune, with probability 1 - delta, "
            "every (eps, sigma)-suboptimal set of actions: one of |Zbar_eps| actions that loses more than eps on tasks "
            "of probability sigma. The definitions are ours; they give the formula by a union bound, with constant 1."
        ),
        assumptions=ASSUMPTIONS,
        holds=_holds(measured, ratio),
        breaks=_breaks(measured, ratio),
        charts=_charts(measured),
        tables=[_slope_table(slopes), _slip_table(measured.repeated[0].bound)],
        numbers={
            "violations": measured.above, **{f"slope in {name}": demand for name, (demand, _) in slopes.items()},
            **{f"formula's slope in {name}": formula for name, (_, formula) in slopes.items()},
            "largest_loss_left_in_eps": max(measured.losses), "demand_correlated": measured.repeated[-1].demand,
            "demand_independent": measured.repeated[0].demand,
        },
    )


def _measure(seed: int) -> Measured:
    worlds = [in_options(derive(seed, "pruning", index)) for index in range(WORLDS)]
    rare = [in_options(derive(seed, "rare", index), RARE_VALUE) for index in range(WORLDS)]
    return Measured(
        sweeps=_sweeps(seed),
        worlds=worlds + rare,
        repeated=[hardest(seed, repeat=repeat) for repeat in REPEATS],
        read_sizes=[read_off(seed, size, READ_SIZES[-1]) for size in READ_SIZES],
        read_actions=[read_off(seed, READ_SIZES[2], actions) for actions in READ_ACTIONS],
    )


def _holds(measured: Measured, ratio: dict[str, float]) -> list[Check]:
    enough = Check(
        "enough: the demand is never above the formula",
        f"{measured.above} of {len(measured.points)} families above by more than 3 errors",
        measured.above == 0,
    )
    needed = [
        Check(
            f"needed: the demand grows with {name} as the formula does, within 30%",
            f"slope {ratio[name]:.2f} of the formula's",
            0.7 < ratio[name] < 1.3,
        )
        for name in (BY_ACTIONS, BY_DELTA, BY_SIGMA)
    ]
    return [enough, *needed]


def _breaks(measured: Measured, ratio: dict[str, float]) -> list[Check]:
    repeated, losses = measured.repeated, measured.losses
    return [
        Check(
            "the demand grows in proportion to |Zbar|, too",
            f"slope {ratio[BY_SIZE]:.2f} of the formula's: the proof gives |Zbar| log|Z| + log(1 / delta)",
            0.7 < ratio[BY_SIZE] < 1.3,
        ),
        Check(
            "log|Z| is needed if the expert's action can be read off the text",
            f"demand {span([p.demand for p in measured.read_actions])} for |Z| = {READ_ACTIONS[0]} to "
            f"{READ_ACTIONS[-1]}",
            ratio[READ_BY_ACTIONS] > 0.3,
        ),
        Check(
            "sets that stay lose at most eps on average",
            f"up to {max(losses):.2g} eps, above 1 in {sum(x > 1 for x in losses)} of {2 * WORLDS} families: "
            "on tasks rarer than sigma they may lose anything",
            max(losses) <= 1,
        ),
        Check(
            "demonstrations may be correlated",
            f"demand {repeated[0].demand:.0f} to {repeated[-1].demand:.0f} when {REPEATS[-1]:.0%} repeat the task "
            f"before; formula {repeated[0].bound:.0f}",
            max(point.demand for point in repeated) <= repeated[0].bound,
        ),
        Check(
            "the expert may slip (no exact options)",
            f"with {SLIPS[1]:.0%} slips the best set survives the formula's {repeated[0].bound:.0f} demonstrations "
            f"in {survival(SLIPS[1], repeated[0].bound):.0%} of cases",
            survival(SLIPS[1], repeated[0].bound) >= 1 - DELTA,
        ),
    ]


BY_ACTIONS, BY_DELTA, BY_SIGMA = "log(|Z| / delta) over |Z|", "log(|Z| / delta) over delta", "1 / sigma"
BY_SIZE, READ_BY_SIZE, READ_BY_ACTIONS = "|Zbar|", "|Zbar|, action read off", "log|Z|, action read off"
FACTORS: dict[str, tuple[str, Callable[[Point], float]]] = {
    BY_ACTIONS: ("Number of actions", log_ratio), BY_DELTA: ("Confidence", log_ratio),
    BY_SIGMA: ("Rarity", lambda point: 1 / point.sigma), BY_SIZE: ("Size of the best set", lambda point: point.size),
}


def _sweeps(seed: int) -> dict[str, list[Point]]:
    return {
        BY_ACTIONS: [hardest(seed, actions=actions) for actions in ACTION_COUNTS],
        BY_DELTA: [hardest(seed, delta=delta) for delta in DELTAS],
        BY_SIGMA: [hardest(seed, sigma=sigma) for sigma in SIGMAS],
        BY_SIZE: [hardest(seed, size=size, actions=SIZE_ACTIONS) for size in SIZES],
    }


def _charts(measured: Measured) -> list[Chart]:
    worlds, repeated = measured.garnets, measured.repeated
    charts = [_against_formula(FACTORS[name][0], name, points) for name, points in measured.sweeps.items()]
    caption = "An expert whose action can be read off the text: the demand grows with |Zbar|, not with |Z|."
    charts.append(_against_formula("Size, action read off", BY_SIZE, measured.read_sizes, caption))
    edge = [min(point.bound for point in worlds), max(point.bound for point in worlds)]
    dots = Series("one family", [point.bound for point in worlds], [point.demand for point in worlds], ".")
    charts.append(
        Chart(
            "MDPs with options",
            f"{2 * WORLDS} Garnet families of 20 tasks, 7 options; in half a rare task pays {RARE_VALUE:g} times.",
            "formula, demonstrations", "measured", [Series("formula", edge, edge, "--", "base"), dots],
        )
    )
    runs = [1 / (1 - repeat) for repeat in REPEATS]
    formula = Series("formula", runs, [point.bound for point in repeated], "--", "base")
    caption = "Each demonstration repeats the task before with some probability; the formula assumes none does."
    series = [formula, Series("measured", runs, [point.demand for point in repeated])]
    charts.append(Chart("Correlated demonstrations", caption, "mean length of a run", "demonstrations", series))
    return charts


def _against_formula(title: str, name: str, points: list[Point], caption: str = "") -> Chart:
    x = [FACTORS[name][1](point) for point in points]
    formula = Series("formula", x, [point.bound for point in points], "--", "base")
    return Chart(title, caption, name, "demonstrations", [formula, Series("measured", x, [p.demand for p in points])])


def _slope_table(slopes: dict[str, tuple[float, float]]) -> Table:
    rows = [[name, f"{a:.3g}", f"{b:.3g}", f"{a / b:.2f}"] for name, (a, b) in slopes.items()]
    caption = (
        f"Least-squares slopes of the demand. Fixed: |Zbar| = 1, |Z| = {ACTIONS}, delta = {DELTA}, sigma = {SIGMA}."
    )
    return Table(caption, ["factor", "measured", "formula", "ratio"], rows)


def _slip_table(demonstrations: float) -> Table:
    rows = [[f"{slip:.0%}", f"{survival(slip, demonstrations):.1%}"] for slip in SLIPS]
    caption = f"No exact expert: how often the best set survives {demonstrations:.0f} demonstrations, by rate of slips."
    return Table(caption, ["slips", "best set survives"], rows)
