"""The parity world: the threshold 1/3 of next-token prediction, and how few rounds of self-training pass it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ra3.seeds import derive
from ra3.theory.findings import Chart, Check, Finding, Series, Table, slope
from ra3.theory.parity import (
    THRESHOLD,
    LinearPredictor,
    correct_mass,
    every_input,
    mark,
    memorised_answers,
    next_share,
    pretrain,
    rounds_needed,
    self_train,
)

BITS, STEPS, MAX_ROUNDS, RIGHT, FEW = 6, 300, 12, 0.95, 30
SHARES = (0.05, 0.15, 0.25, 0.3, 0.32, 0.33, 0.34, 0.36, 0.4, 0.5, 0.7)
STARTS = (0.25, 0.1, 0.05, 0.02, 0.01)


@dataclass(frozen=True)
class SelfTraining:
    """Rounds of STaR, from before the first: probability of long texts, accuracy and length of the greedy one."""

    long: list[float]
    greedy_right: list[float]
    greedy_length: list[float]

    @property
    def rounds(self) -> int:
        """Rounds until the greedy answer is right on nearly all inputs; MAX_ROUNDS + 1 if never."""
        return next((n for n, right in enumerate(self.greedy_right) if right >= RIGHT), MAX_ROUNDS + 1)


def study_parity(seed: int) -> Finding:
    """Parity of 6 bits, all 64 inputs, a linear predictor; training and self-training in exact expectation."""
    bits = every_input(BITS)
    rng = np.random.default_rng(derive(seed, "parity"))
    models = {share: pretrain(BITS, share, STEPS) for share in SHARES}
    greedy = {share: mark(bits, model.write(bits)) for share, model in models.items()}
    sampled = {share: _long(model) for share, model in models.items()}
    low, high = _bisect(BITS)
    off = max(abs(sampled[share] - share) for share in SHARES)
    runs = {start: _self_training(start, STEPS) for start in STARTS}
    predicted = [rounds_needed(start) for start in STARTS]
    measured = [runs[start].rounds for start in STARTS]
    odds = [math.log2((1 - start) / start) for start in STARTS]
    never, early = _self_training(0.0, STEPS), _self_training(0.25, 2)
    few = _self_training(STARTS[-1], STEPS, FEW, rng)
    growth = slope(odds, [float(rounds) for rounds in measured])
    return Finding(
        name="Parity world",
        title="Why RL after next-token prediction: the parity world of arXiv 2510.11495",
        statement=(
            "A share p of the texts spells a chain out, the others give the answer only. After next-token prediction, "
            "greedy decoding is right if and only if p > 1/3; keeping correct samples doubles the odds of the long "
            "texts each round, so that about log2((1 - p) / p) rounds are enough."
        ),
        assumptions=[
            "the predictor can continue a chain but not see the parity",
            "it is trained to convergence",
            "p > 0",
        ],
        holds=[
            Check(
                "greedy decoding turns from chance to right at p = 1/3",
                f"measured between {low:.4f} and {high:.4f}",
                low <= THRESHOLD + 0.005 and high >= THRESHOLD - 0.005,
            ),
            Check(
                "the model writes long texts with probability p",
                f"largest difference {off:.3f} over {len(SHARES)} values of p",
                off < 0.04,
            ),
            Check(
                "rounds of self-training as predicted",
                f"measured {measured}, predicted {predicted} for p = {', '.join(f'{s:g}' for s in STARTS)}",
                measured == predicted,
            ),
            Check("they grow with log2((1 - p) / p)", f"slope {growth:.2f}, predicted 1", 0.7 < growth < 1.4),
        ],
        breaks=[
            Check(
                "the threshold is there for a predictor that has memorised all parities",
                f"right on {_memorised(0.1):.0%} at p = 0.1",
                _memorised(0.1) < 0.9,
            ),
            Check(
                "the threshold is there for 3 bits, whose parity a linear predictor can see",
                f"right on {_within_reach(0.1):.0%} at p = 0.1",
                _within_reach(0.1) < 0.9,
            ),
            Check(
                "self-training finds the chain without any demonstration (p = 0)",
                f"right on {never.greedy_right[-1]:.0%} after {len(never.greedy_right) - 1} rounds",
                never.greedy_right[-1] >= RIGHT,
            ),
            Check(
                "self-training is as quick with few samples",
                f"{FEW} samples an input: after {rounds_needed(STARTS[-1])} rounds from p = {STARTS[-1]:g} right on "
                f"{few.greedy_right[rounds_needed(STARTS[-1])]:.0%}",
                few.rounds <= rounds_needed(STARTS[-1]),
            ),
            Check(
                "self-training may start before pre-training has learned the chain",
                f"after 2 steps of gradient descent and {len(early.greedy_right) - 1} rounds right on "
                f"{early.greedy_right[-1]:.0%}",
                early.greedy_right[-1] >= RIGHT,
            ),
        ],
        charts=_charts(greedy, sampled, runs, odds, measured, predicted),
        tables=[_table(runs)],
        numbers={"threshold_low": low, "threshold_high": high, "calibration_error": off, "rounds_slope": growth},
    )


def _long(model: LinearPredictor) -> float:
    return float(correct_mass(model, every_input(model.num_bits))[1].mean())


def _bisect(num_bits: int) -> tuple[float, float]:
    """A pair of shares, close together: greedy decoding is not right at the first, and right at the second."""
    bits, low, high = every_input(num_bits), 0.2, 0.5
    while high - low > 0.003:
        middle = (low + high) / 2
        if mark(bits, pretrain(num_bits, middle, STEPS).write(bits)).right >= RIGHT:
            high = middle
        else:
            low = middle
    return low, high


def _self_training(share: float, steps: int, samples: int = 0, rng: np.random.Generator | None = None) -> SelfTraining:
    bits, model = every_input(BITS), pretrain(BITS, share, steps)
    course = SelfTraining([], [], [])
    for number in range((rounds_needed(share) if share else 4) + 3):
        if number:
            self_train(model, STEPS, samples, rng)
        marks = mark(bits, model.write(bits))
        course.greedy_right.append(marks.right)
        course.greedy_length.append(marks.length)
        course.long.append(_long(model))
    return course


def _memorised(share: float) -> float:
    bits = every_input(BITS)
    return float((memorised_answers(bits, share) == bits.prod(axis=1)).mean())


def _within_reach(share: float) -> float:
    bits = every_input(3)
    return mark(bits, pretrain(3, share, 2 * STEPS).write(bits)).right


def _charts(greedy: dict, sampled: dict, runs: dict, odds: list, measured: list, predicted: list) -> list[Chart]:
    x, edge = list(SHARES), [0.0, THRESHOLD, THRESHOLD, 1.0]
    growth = [Series("predicted, p = 0.02", *_numbered(_recursion(0.02, len(runs[0.02].long))), "--", "base")]
    growth += [Series(f"p = {start:g}", *_numbered(runs[start].long)) for start in (0.25, 0.05, 0.02)]
    return [
        Chart(
            "Next-token prediction alone",
            "Share of right answers after training. Dashed: predicted; greedy turns at p = 1/3.",
            "share p of long texts",
            "right",
            [
                Series("predicted", edge[:4], [0.5, 0.5, 1.0, 1.0], "--", "base"),
                Series("greedy", x, [greedy[share].right for share in SHARES]),
            ],
        ),
        Chart(
            "Length is calibrated",
            "Probability of long texts under the model: their share in training, whatever greedy decoding does.",
            "share p of long texts",
            "long",
            [Series("p", [0, 1], [0, 1], "--", "base"), Series("model", x, [sampled[share] for share in SHARES])],
        ),
        Chart(
            "Self-training doubles the odds",
            "Probability of long texts, by rounds of keeping the correct ones. Dashed: p' = 2p / (1 + p).",
            "round",
            "long",
            growth,
        ),
        Chart(
            "Rounds until greedy decoding is right",
            "",
            "log2((1 - p) / p)",
            "rounds",
            [
                Series("predicted", odds, [float(n) for n in predicted], "--", "base"),
                Series("measured", odds, [float(n) for n in measured]),
            ],
        ),
    ]


def _numbered(values: list[float]) -> tuple[list[float], list[float]]:
    return [float(n) for n in range(len(values))], values


def _recursion(share: float, length: int) -> list[float]:
    shares = [share]
    while len(shares) < length:
        shares.append(next_share(shares[-1]))
    return shares


def _table(runs: dict[float, SelfTraining]) -> Table:
    rows = []
    for start, run in runs.items():
        right = " ".join(f"{value:.2f}" for value in run.greedy_right)
        rows.append([f"{start:g}", str(rounds_needed(start)), str(run.rounds), right, f"{run.greedy_length[-1]:.1f}"])
    head = ["p", "rounds predicted", "measured", "greedy accuracy by round", "greedy length at the end"]
    return Table(f"Self-training in exact expectation, {BITS} bits.", head, rows)
