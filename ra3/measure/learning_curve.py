"""The sigmoid of ScaleRL fitted to a course of rewards, so that "faster" and "higher" are numbers (arXiv 2510.13786):

    R(C) = R_0 + (A - R_0) / (1 + (C_mid / C)^B)

C is compute (here: updates, from 1), R_0 the reward before learning, A the asymptote, C_mid where half of the gain is
made, B how steep. Given B and C_mid the formula is linear in R_0 and A - R_0, so only two parameters are searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

STEEPNESS = (0.3, 8.0)
"""Bounds of B: flatter is a straight line in log C, steeper a jump between two updates."""
STARTS = [(midpoint, steepness) for midpoint in (0.2, 0.35, 0.5, 0.65, 0.8) for steepness in (0.3, 0.85)]
"""Where searches begin, from 0 to 1 between the bounds of log C_mid and of log B."""
TO_COME = 0.25
"""Of the rise that was seen, how much may still be missing where a course counts as level."""
LEAST_REWARDS = 5
"""A sigmoid has four parameters: fewer rewards do not fit it."""


class Sigmoid(NamedTuple):
    """Example: Sigmoid(start=0.2, asymptote=0.9, midpoint=12.0, steepness=1.5, error=0.01)."""

    start: float  # R_0
    asymptote: float  # A, at most 1
    midpoint: float  # C_mid, in updates
    steepness: float  # B
    error: float  # root mean square of what is left over

    def at(self, compute: Sequence[float] | np.ndarray) -> np.ndarray:
        """R(C) of each amount of compute."""
        return self.start + (self.asymptote - self.start) * rise(np.asarray(compute), self.midpoint, self.steepness)

    def levels_off(self, updates: int) -> bool:
        """Whether a course of so many updates shows its asymptote: A - R(N) <= (R(N) - R(1)) / 4.

        Where more of the rise is still to come, A is an extrapolation that noise decides, often to its bound of 1. A
        flat course shows its own level, but has neither C_mid nor B.
        """
        first, last = self.at([1, updates])
        return bool(self.asymptote - last <= TO_COME * (last - first) + 1e-9)


def rise(compute: np.ndarray, midpoint: float, steepness: float) -> np.ndarray:
    """1 / (1 + (C_mid / C)^B): 0 at C = 0, 1/2 at C_mid, towards 1."""
    return 1 / (1 + (midpoint / compute) ** steepness)


def fit_sigmoid(rewards: Sequence[float]) -> Sigmoid:
    """Least squares over updates 1..N in log C_mid and log B, the best of several starts.

    Rewards are shares: the asymptote is kept at 1 or below. It is a curve of learning: a course that falls is fitted by
    its mean. C_mid is sought up to 4 N; a fit at that bound says that the course does not show where it bends. Raises
    ValueError for fewer than five rewards.
    """
    from scipy.optimize import least_squares

    course = np.asarray(rewards, dtype=np.float64)
    if course.ndim != 1 or len(course) < LEAST_REWARDS or not np.isfinite(course).all():
        raise ValueError("a sigmoid has four parameters: it needs five finite rewards or more")
    updates = np.arange(1, len(course) + 1)
    low, high = np.log([[0.5, STEEPNESS[0]], [4.0 * len(course), STEEPNESS[1]]])
    searches = (
        least_squares(
            lambda place: _linear(course, *np.exp(place)).at(updates) - course, low + (high - low) * start,
            bounds=(low, high),
        )
        for start in STARTS
    )  # fmt: skip
    return _linear(course, *np.exp(min(searches, key=lambda found: found.cost).x))


def _linear(course: np.ndarray, midpoint: float, steepness: float) -> Sigmoid:
    """The best R_0 and A >= R_0 for these C_mid and B; where A would pass 1 it is 1, and R_0 alone is fitted."""
    shape = rise(np.arange(1, len(course) + 1), midpoint, steepness)
    centred = shape - shape.mean()
    gain = max(0.0, float(centred @ course) / max(float(centred @ centred), 1e-30))
    start = float(course.mean() - gain * shape.mean())
    if start + gain > 1:
        left = 1 - shape
        start = 1 - float(left @ (1 - course)) / max(float(left @ left), 1e-30)
        gain = 1 - start
    error = float(np.sqrt(np.mean((start + gain * shape - course) ** 2)))
    return Sigmoid(start, start + gain, float(midpoint), float(steepness), error)
