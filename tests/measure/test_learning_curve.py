"""The sigmoid fit finds what it was drawn from, keeps its bounds, and says when it cannot."""

import numpy as np
import pytest

from ra3.measure.learning_curve import Sigmoid, fit_sigmoid, rise


def test_the_rise_by_hand():
    assert rise(np.array([1.0, 10.0, 30.0]), 10.0, 2.0).tolist() == pytest.approx([1 / 101, 0.5, 0.9])
    assert Sigmoid(0.2, 0.8, 10.0, 2.0, 0.0).at([10.0])[0] == pytest.approx(0.5)


@pytest.mark.parametrize("true", [(0.2, 0.9, 12.0, 1.5), (0.5, 0.6, 5.0, 3.0), (0.1, 1.0, 20.0, 1.0)])
def test_a_fit_finds_the_curve_that_was_drawn(true):
    found = fit_sigmoid(Sigmoid._make((*true, 0.0)).at(np.arange(1, 61)).tolist())
    assert found[:4] == pytest.approx(true, rel=0.02) and found.error < 1e-3


def test_noise_moves_the_asymptote_little():
    noise = np.random.default_rng(0).normal(0, 0.02, 80)
    found = fit_sigmoid((Sigmoid(0.3, 0.8, 15.0, 2.0, 0.0).at(np.arange(1, 81)) + noise).tolist())
    assert found.asymptote == pytest.approx(0.8, abs=0.03) and found.error == pytest.approx(0.02, abs=0.005)


def test_the_asymptote_of_shares_is_at_most_one():
    found = fit_sigmoid(np.linspace(0.1, 0.9, 30).tolist())
    assert found.asymptote <= 1 and found.midpoint <= 120


@pytest.mark.parametrize(
    ("course", "shown"),
    [
        (Sigmoid(0.2, 0.9, 12.0, 3.0, 0.0).at(np.arange(1, 61)), True),  # R(60) = 0.894
        (Sigmoid(0.2, 0.9, 40.0, 3.0, 0.0).at(np.arange(1, 41)), False),  # half of the rise is to come
        (np.linspace(0.45, 0.57, 40), False),
        (np.full(40, 0.4), True),
    ],
)
def test_an_asymptote_is_shown_by_a_course_that_levels_off(course, shown):
    assert fit_sigmoid(course.tolist()).levels_off(len(course)) is shown


def test_a_flat_course_is_its_level():
    assert fit_sigmoid([0.4] * 10).at([1, 10]).tolist() == pytest.approx([0.4, 0.4])


def test_a_course_that_falls_has_no_asymptote_below_its_mean():
    found = fit_sigmoid([0.99, 0.98, 0.99, 0.97, 0.98, 0.95])
    assert found.start == found.asymptote == pytest.approx(5.86 / 6)


@pytest.mark.parametrize("rewards", [[0.1] * 4, [0.1, 0.2, float("nan"), 0.3, 0.4]])
def test_too_little_is_refused(rewards):
    with pytest.raises(ValueError, match="five finite rewards"):
        fit_sigmoid(rewards)
