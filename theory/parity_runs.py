"""What the parity study runs: training at many shares of long texts, and self-training from many starts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ra3.seeds import derive
from theory.findings import slope
from theory.parity import (
    LinearPredictor,
    Marks,
    correct_mass,
    every_input,
    mark,
    pretrain,
    rounds_needed,
    self_train,
)

BITS, STEPS, MAX_ROUNDS, RIGHT, FEW = 6, 300, 12, 0.95, 30
SHARES = (0.05, 0.15, 0.25, 0.3, 0.32, 0.33, 0.34, 0.36, 0.4, 0.5, 0.7)
STARTS = (0.25, 0.1, 0.05, 0.02, 0.01)
ODDS = [math.log2((1 - start) / start) for start in STARTS]
PREDICTED = [rounds_needed(start) for start in STARTS]
"""Rounds of self-training, for each of STARTS."""


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


@dataclass(frozen=True)
class Measured:
    """Everything the claims are about."""

    greedy: dict[float, Marks]
    """By the share of long texts: what greedy decoding writes after training."""
    sampled: dict[float, float]
    """By the share of long texts: their probability under the model."""
    threshold: tuple[float, float]
    """Greedy decoding is not right at the first share, and right at the second."""
    runs: dict[float, SelfTraining]
    """By the share that self-training starts from."""
    never: SelfTraining
    """From no long texts at all."""
    early: SelfTraining
    """After 2 steps of training."""
    few: SelfTraining
    """With few samples an input, from the least share."""

    @property
    def calibration_error(self) -> float:
        """Largest distance of the model's long texts from their share in training."""
        return max(abs(self.sampled[share] - share) for share in SHARES)

    @property
    def rounds(self) -> list[int]:
        """Rounds until greedy decoding is right, for each of STARTS."""
        return [self.runs[start].rounds for start in STARTS]

    @property
    def rounds_slope(self) -> float:
        """Slope of the rounds over the odds."""
        return slope(ODDS, [float(rounds) for rounds in self.rounds])


def measure(seed: int) -> Measured:
    """All runs of the study."""
    bits = every_input(BITS)
    models = {share: pretrain(BITS, share, STEPS) for share in SHARES}
    return Measured(
        greedy={share: mark(bits, model.write(bits)) for share, model in models.items()},
        sampled={share: _long(model) for share, model in models.items()},
        threshold=_bisect(BITS),
        runs={start: _self_training(start, STEPS) for start in STARTS},
        never=_self_training(0.0, STEPS),
        early=_self_training(0.25, 2),
        few=_self_training(STARTS[-1], STEPS, FEW, np.random.default_rng(derive(seed, "parity"))),
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
