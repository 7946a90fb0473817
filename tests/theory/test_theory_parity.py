"""The parity world: closed forms against a trained predictor."""

import numpy as np
import pytest

from theory.parity import (
    correct_mass,
    correct_texts,
    every_input,
    mark,
    memorised_answers,
    next_share,
    pretrain,
    rounds_needed,
    self_train,
)


def test_the_recursion_by_hand():
    """p = 1/3 becomes 1/2 becomes 2/3: the odds 1:2, 1:1, 2:1."""
    assert next_share(1 / 3) == pytest.approx(1 / 2)
    assert next_share(1 / 2) == pytest.approx(2 / 3)
    assert [rounds_needed(p) for p in (0.5, 0.34, 1 / 3, 0.25, 0.2, 0.1, 0.01)] == [0, 0, 1, 1, 2, 3, 6]


def test_marks_by_hand():
    bits = np.array([[1, -1, -1], [1, 1, -1]])
    texts = np.array([[1, -1, 1], [-1, 0, 0]])
    short, long = correct_texts(bits, texts)
    assert (short.tolist(), long.tolist()) == ([False, True], [True, False])
    marks = mark(bits, texts)
    assert (marks.right, marks.long, marks.length) == (1.0, 0.5, 2.0)


@pytest.mark.parametrize(("share", "right", "length"), [(0.3, 0.5, 1.0), (0.37, 1.0, 5.0)])
def test_the_threshold(share, right, length):
    """5 bits: below 1/3 greedy decoding answers at once and by chance, above it writes the chain."""
    bits, model = every_input(5), pretrain(5, share, 200)
    marks = mark(bits, model.write(bits))
    assert (marks.right, marks.length) == (right, length)
    assert correct_mass(model, bits)[1].mean() == pytest.approx(share, abs=0.01)


def test_sampled_texts_have_the_exact_probabilities():
    bits, model, rng = every_input(4), pretrain(4, 0.4, 100), np.random.default_rng(0)
    drawn = [correct_texts(bits, model.write(bits, rng)) for _ in range(400)]
    short, long = (np.mean(part) for part in zip(*drawn, strict=True))
    exact = [part.mean() for part in correct_mass(model, bits)]
    assert (short, long) == pytest.approx(exact, abs=4 * 0.5 / np.sqrt(400 * 16))


def test_self_training_follows_the_recursion():
    bits, model, share = every_input(5), pretrain(5, 0.2, 200), 0.2
    for _ in range(2):
        self_train(model, 200)
        share = next_share(share)
        assert correct_mass(model, bits)[1].mean() == pytest.approx(share, abs=0.02)
    assert mark(bits, model.write(bits)).right == 1.0


def test_what_is_never_shown_is_never_found():
    bits, model = every_input(5), pretrain(5, 0.0, 100)
    self_train(model, 100)
    assert mark(bits, model.write(bits)).length < 2


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6])
def test_whoever_sees_the_parity_needs_no_chain(share):
    bits = every_input(4)
    assert (memorised_answers(bits, share) == bits.prod(axis=1)).all()
