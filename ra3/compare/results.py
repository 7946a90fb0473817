"""The numbers of a comparison: one record for every evaluation that is there, and what they say over the seeds.

The seed is the unit. results.json is `Compared` as JSON, an interval as {"mean", "low", "high"}.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from statistics import mean, median
from typing import Any

from ra3.compare.definition import AFTER, BASE, Comparison, GridCell, system_of
from ra3.compare.equal_flops import Budget, rivals
from ra3.errors import UserError
from ra3.measure import statistics
from ra3.measure.learning_curve import LEAST_REWARDS, fit_sigmoid
from ra3.measure.pass_at_k import grouped
from ra3.measure.statistics import Decision, Interval
from ra3.run.checkpoints import CHECKSUMS
from ra3.run.inspect import InspectedRun, finished_run
from ra3.run.ledger import total
from ra3.seeds import derive

SMOOTH = 3
"""RLVR rewards are averaged over so many steps before they are compared."""
TRAINING = ("estep", "annotate", "mstep", "rlvr")
"""The kinds of stages that are training; held-out measuring is none."""
COURSE = ("final_reward", "asymptote", "midpoint", "steepness")
"""What is compared of the rewards in RLVR; the last three are ScaleRL's sigmoid."""
THINKS = "think_rate_by_chain"
"""The curve that says how many answers open with an intention, by length of chain."""
REACH = "pass_on_{}_by_k"
"""The curves that say what is reachable in a band."""


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation found, and the run that made its model: Evaluation("ra3+rlvr", "ra3", 1, ...)."""

    system: str
    variant: str
    seed: int
    scores: dict[str, float]  # {"edge pass@1": 0.41, ...}
    heldout: dict[str, float] = field(default_factory=dict)  # {"think_rate": 0.16, ...}
    cost: dict[str, float] = field(default_factory=dict)  # of the last stage of training: {"flops": 3.4e12, ...}
    course: dict[str, float] = field(default_factory=dict)  # those of COURSE that the rewards show
    rewards: list[float] = field(default_factory=list)  # of each RLVR step, smoothed
    curves: dict[str, dict[float, float]] = field(default_factory=dict)
    solved: dict[str, bool] = field(default_factory=dict)  # of each problem, whether any of its samples passes
    code: list[str] = field(default_factory=list)  # versions by which its runs were made

    @property
    def numbers(self) -> dict[str, float]:
        """Everything that is one number, as in scores.csv."""
        lengths = self.curves.get(THINKS)
        thinks = {"answers that think": mean(lengths.values())} if lengths else {}
        return {**self.scores, **thinks, **self.heldout, **self.cost, **self.course}


@dataclass(frozen=True)
class Estimate:
    """A number of a system over the seeds: mean with Student's interval; of scores also the interquartile mean."""

    system: str
    metric: str
    seeds: int
    interval: Interval
    iqm: Interval | None = None


@dataclass(frozen=True)
class PairedDifference:
    """A number of system a minus that of b, paired by seed."""

    a: str
    b: str
    metric: str
    seeds: int
    above: int  # seeds on which a has more
    means: tuple[float, float]  # of a and of b on these seeds
    gap: Interval
    decision: Decision  # of the sequential test


@dataclass(frozen=True)
class BeyondReach:
    """Problems that no sample solved before RLVR, and that one solves after it; and the other way round."""

    system: str  # after RLVR
    found: int
    unsolved: int  # before RLVR, over all seeds
    lost: int
    solved: int


@dataclass(frozen=True)
class StepsToReward:
    """RLVR steps until a reaches the final reward of b, as shares of b's steps."""

    a: str
    b: str
    shares: list[float]
    median_share: float


@dataclass(frozen=True)
class Compared:
    """Everything that results.json holds."""

    seeds: list[int]
    baseline: str
    equal_flops: str | None
    budgets: list[Budget]
    code: dict[str, int]  # how many evaluations stand on code of each version
    cells: list[Evaluation]
    summary: list[Estimate]
    differences: list[PairedDifference]  # of each system and those it is compared with
    reach: list[PairedDifference]  # of each variant after RLVR and before, in pass@k at the smallest and the largest k
    beyond: list[BeyondReach]
    steps: list[StepsToReward]


def read_evaluations(cells: Sequence[GridCell]) -> tuple[list[Evaluation], list[str]]:
    """Every evaluation there is, and a sentence for each that cannot be used, because a file of it was changed or
    lost."""
    found, problems = [], []
    for cell, stage in product(cells, ("eval", "rlvr-eval")):
        try:
            found += filter(None, [read_evaluation(cell, stage)])
        except UserError as error:
            problems.append(str(error))
    return found, problems


def read_evaluation(cell: GridCell, stage: str) -> Evaluation | None:
    """One evaluation; None where it, or the run that made its model, is not finished. UserError where a file of the two
    is not as they left it."""
    folder, made_by = cell.folder(stage), cell.folder("midtrain" if stage == "eval" else "rlvr")
    if not folder or not all((path / CHECKSUMS).is_file() for path in (made_by, folder) if path):
        return None
    training, run = finished_run(made_by) if made_by else None, finished_run(folder)
    curves = {
        name: {point.x: point.mean for point in points if own is run or point.model != "base"}
        for own in (training, run)
        for name, points in (own.results.curves.items() if own else ())
    }
    reach = {
        f"{band} pass@{k:g}": share
        for band in dict.fromkeys(count.band for count in run.results.problems)
        for k, share in curves.get(REACH.format(band), {}).items()
    }
    heldout = training.results.scores if training else ()
    rewards = [line.values["reward"] for line in training.stages.get("rlvr", ())] if training else []
    return Evaluation(
        system_of(cell.variant, stage), cell.variant, cell.seed,
        scores=reach | {f"{score.band} {score.metric}": score.mean for score in run.results.scores},
        heldout={score.metric: score.mean for score in heldout if score.model != "base"},
        cost=training_cost(training) if training else {},
        course=course(rewards),
        curves=curves,
        solved={f"{count.band} {count.id}": count.passed > 0 for count in run.results.problems if count.judged},
        rewards=smoothed(rewards),
        code=sorted({attempt.made_by for own in (training, run) if own for attempt in own.facts.attempts}),
    )  # fmt: skip


def training_cost(run: InspectedRun) -> dict[str, float]:
    """What training took: FLOPs, tokens generated, scored and trained on, CPU seconds, most memory."""
    return asdict(total(run.costs, *TRAINING))


def smoothed(rewards: Sequence[float]) -> list[float]:
    """Rewards averaged over the last SMOOTH steps, at the start over those there are."""
    return [mean(rewards[max(0, i - SMOOTH + 1) : i + 1]) for i in range(len(rewards))]


def course(rewards: Sequence[float]) -> dict[str, float]:
    """The numbers of COURSE that rewards show: an asymptote once they level off, a midpoint if they rise."""
    if not rewards:
        return {}
    found, fit = {"final_reward": smoothed(rewards)[-1]}, None
    if len(rewards) >= LEAST_REWARDS and (fit := fit_sigmoid(rewards)).levels_off(len(rewards)):
        found["asymptote"] = fit.asymptote
        if fit.asymptote > fit.start:
            found |= {"midpoint": fit.midpoint, "steepness": fit.steepness}
    return found


def scores_csv(cells: Sequence[Evaluation]) -> str:
    """scores.csv, for spreadsheets and data frames, one line for each evaluation.

    Columns: system, seed; scores, "edge pass@1"; of the embedded world the answers that open with an
    intention, as a share; measures on held-out text, "think_rate"; what the last stage of training cost, "flops";
    after RLVR also the numbers of COURSE. Empty: the run has no such number.
    """
    lines = [{"system": cell.system, "seed": cell.seed, **cell.numbers} for cell in cells]
    text = io.StringIO()
    table = csv.DictWriter(text, unique(column for line in lines for column in line), lineterminator="\n")
    table.writeheader()
    table.writerows(lines)
    return text.getvalue()


def compared(comparison: Comparison, cells: Sequence[Evaluation], budgets: Sequence[Budget] = ()) -> Compared:
    """The evaluations, and what they say over the seeds."""
    both = list(pairs(comparison, cells))
    shares = [
        (a, b, [steps_share(one.rewards, other.rewards) for one, other in own if one.rewards and other.rewards])
        for a, b, own in both
    ]
    return Compared(
        seeds=list(comparison.seeds),
        baseline=baseline(comparison, cells),
        equal_flops=comparison.equal_flops,
        budgets=list(budgets),
        code=dict(Counter(made_by for cell in cells for made_by in cell.code)),
        cells=list(cells),
        summary=[found for name, own in by_system(cells).items() for found in estimates(name, own)],
        differences=[found for pair in both for found in differences(*pair)],
        reach=list(reach_gains(comparison, cells)),
        beyond=list(beyond_reach(comparison, cells)),
        steps=[StepsToReward(a, b, own, median(own)) for a, b, own in shares if own],
    )


def baseline(comparison: Comparison, cells: Sequence[Evaluation]) -> str:
    """What costs are multiples of: the last of `against` that was trained, by mid-training where there is any; the last
    of all if none was."""
    trained = {cell.system if comparison.midtrains else cell.variant for cell in cells if cell.cost}
    return next((name for name in reversed(comparison.against) if name in trained), comparison.against[-1])


def estimates(name: str, own: Sequence[Evaluation]) -> Iterator[Estimate]:
    """For each band's pass@1 and all bands together, and for the course of RLVR."""
    metrics = pass_metrics(own[:1])
    tables = {metric: [[cell.scores[metric]] for cell in own] for metric in metrics}
    if len(metrics) > 1:
        tables["all pass@1"] = [[cell.scores[metric] for metric in metrics] for cell in own]
    for metric, table in tables.items():
        seed = derive(0, "compare", name, metric)
        middle = statistics.stratified_bootstrap(table, seed, statistics.interquartile_mean)
        yield Estimate(name, metric, len(own), average([mean(scores) for scores in table], 0, 1), middle)
    for metric in COURSE:
        if values := [cell.course[metric] for cell in own if metric in cell.course]:
            yield Estimate(name, metric, len(values), average(values))


Pairs = list[tuple[Evaluation, Evaluation]]
"""Evaluations of two systems on the same seeds."""


def pairs(comparison: Comparison, cells: Sequence[Evaluation]) -> Iterator[tuple[str, str, Pairs]]:
    """(system, the one it is compared with, their evaluations on the same seeds), before and after RLVR; the base is as
    RLVR finds it where nothing is mid-trained."""
    systems = by_system(cells)
    for name, own in systems.items():
        after = AFTER if name.endswith(AFTER) else ""
        for plain in rivals(comparison, name.removesuffix(AFTER)):
            rival = plain if plain == BASE and not comparison.midtrains else plain + after
            if both := _on_same_seeds(own, systems.get(rival, [])):
                yield name, rival, both


def _on_same_seeds(a: Sequence[Evaluation], b: Sequence[Evaluation]) -> Pairs:
    second = {cell.seed: cell for cell in b}
    return [(cell, second[cell.seed]) for cell in a if cell.seed in second]


def differences(a: str, b: str, both: Pairs) -> Iterator[PairedDifference]:
    """For each band's pass@1, and of RLVR the final reward and the asymptote, on the seeds where both have them."""
    for metric in (*pass_metrics([both[0][0]]), *COURSE[:2]):
        if there := [pair for pair in both if all(metric in cell.numbers for cell in pair)]:
            yield difference(a, b, metric, there)


def difference(a: str, b: str, metric: str, both: Pairs) -> PairedDifference:
    """The difference of two systems in one number, which all of these evaluations have."""
    first, second = ([cell.numbers[metric] for cell in side] for side in zip(*both, strict=True))
    gaps = [one - other for one, other in zip(first, second, strict=True)]
    decision = statistics.sequential_test(first, second, derive(0, "compare", a, metric))
    means, above = (mean(first), mean(second)), sum(gap > 0 for gap in gaps)
    gap = average(gaps, -1, 1) if "pass@" in metric else average(gaps)
    return PairedDifference(a, b, metric, len(gaps), above, means, gap, decision)


def reach_gains(comparison: Comparison, cells: Sequence[Evaluation]) -> Iterator[PairedDifference]:
    """What RLVR did to pass@k at the smallest k and the largest: did it sharpen only, or also widen what is there?"""
    for name, before, both in after_and_before(comparison, cells):
        for curve, band in reach_curves(cell for cell, _ in both):
            shared = set.intersection(*(set(cell.curves.get(curve, {})) for pair in both for cell in pair))
            for k in unique([min(shared), max(shared)]) if shared else ():
                yield difference(name, before, f"{band} pass@{k:g}", both)


def beyond_reach(comparison: Comparison, cells: Sequence[Evaluation]) -> Iterator[BeyondReach]:
    """What RLVR did to the problems beyond reach (MATH-Beyond, arXiv 2510.11653), where there are any."""
    for name, _, both in after_and_before(comparison, cells):
        pairs = [(cell.solved[key], was) for cell, old in both for key, was in old.solved.items() if key in cell.solved]
        now = {was: [is_solved for is_solved, own in pairs if own == was] for was in (False, True)}
        if now[False]:
            yield BeyondReach(name, sum(now[False]), len(now[False]), now[True].count(False), len(now[True]))


def after_and_before(comparison: Comparison, cells: Sequence[Evaluation]) -> Iterator[tuple[str, str, Pairs]]:
    """(system after RLVR, what it was before, their evaluations on the same seeds); where nothing is mid-trained it
    was the base."""
    systems = by_system(cells)
    for name, own in systems.items():
        before = name.removesuffix(AFTER) if comparison.midtrains else BASE
        if name.endswith(AFTER) and (both := _on_same_seeds(own, systems.get(before, []))):
            yield name, before, both


def reach_curves(cells: Iterable[Evaluation]) -> list[tuple[str, str]]:
    """(curve, band) of pass@k by k: [("pass_on_edge_by_k", "edge")]."""
    before, after = REACH.split("{}")
    names = unique(name for cell in cells for name in cell.curves if name.startswith(before) and name.endswith(after))
    return [(name, name.removeprefix(before).removesuffix(after)) for name in names]


def steps_share(own: Sequence[float], other: Sequence[float]) -> float:
    """Steps until `own` reaches the last of `other`, as a share of the other's steps; inf if it never does."""
    return next((step for step, reward in enumerate(own) if reward >= other[-1]), math.inf) / len(other)


def average(values: Sequence[float], least: float = -math.inf, most: float = math.inf) -> Interval:
    """Mean over seeds with Student's interval, as far as that is possible; one seed has none (NaN)."""
    if len(values) == 1:
        return Interval(values[0], math.nan, math.nan)
    middle, low, high = statistics.student_t(values)
    return Interval(middle, max(low, least), min(high, most))


def by_system(cells: Iterable[Evaluation]) -> dict[str, list[Evaluation]]:
    """The evaluations by system, in order of appearance; those after RLVR last."""
    return grouped(sorted(cells, key=lambda cell: cell.system.endswith(AFTER)), lambda cell: cell.system)


def pass_metrics(cells: Iterable[Evaluation]) -> list[str]:
    """The scores that are a pass@1: ["known pass@1", "edge pass@1"]."""
    return unique(metric for cell in cells for metric in cell.scores if metric.endswith("pass@1"))


def shown_metric(cells: Iterable[Evaluation]) -> str:
    """The pass@1 that single numbers are about: of the edge band, else of the first band there is."""
    metrics = pass_metrics(cells)
    return next((metric for metric in metrics if metric.startswith("edge")), metrics[0] if metrics else "")


def unique(values: Iterable[Any]) -> list[Any]:
    """Each value once, in order of appearance."""
    return list(dict.fromkeys(values))
