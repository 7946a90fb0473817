"""The parity world of arXiv 2510.11495: short answers, rare long ones, next-token prediction, then self-training.

Input: d bits x_i = +-1. With probability p = p_cot the text is long: every running product x_1, x_1 x_2, ..., then the
end; else it is short: the product of all bits, then the end. The predictor is one linear softmax a position, on the
bits, the previous token and their products: it can continue a chain, but from d = 4 on it cannot see parity at once.

What it then learns, in closed form. The first token is x_1 with probability (1 + p) / 2. After x_1 it goes on with
p / (p + (1 - p) / 2) = 2p / (1 + p) and ends otherwise. Sampled texts are long with probability p (calibrated), but the
greedy one is long only if 2p / (1 + p) > 1/2: **p > 1/3**. Keeping the correct samples (STaR) keeps all the long and
half of the short, so the share of long ones becomes p' = 2p / (1 + p): its odds double each round.

Shapes: [X] = 2**d inputs, [T] = d + 1 positions, [F] features, 3 tokens: -1, +1, end. The study's runs come last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import linear_regression

import numpy as np

from ra3.seeds import derive
from theory.chain import Array, every_sequence, logsumexp

END = 2
THRESHOLD = 1 / 3


def next_share(share: float) -> float:
    """p' = 2p / (1 + p): the share of long texts after one round of keeping correct samples."""
    return 2 * share / (1 + share)


def rounds_needed(share: float) -> int:
    """Rounds until greedy decoding is long: the least n with 2^n p / (1 - p) > 1/2, i.e. p_n > 1/3."""
    return max(0, math.floor(math.log2((1 - share) / (2 * share)) + 1e-9) + 1)


def every_input(num_bits: int) -> Array:
    """[2**d, d] all inputs, as +-1."""
    return 2 * every_sequence(2, num_bits) - 1


def features(bits: Array, previous: Array) -> Array:
    """[X,F] 1, the bits, the previous token as +-1 (0 at the start), and its products with the bits."""
    before = previous[:, None]
    return np.concatenate([np.ones_like(before), bits, before, before * bits], axis=1).astype(np.float64)


def token(value: Array) -> Array:
    """-1 -> 0, +1 -> 1."""
    return (value + 1) // 2


@dataclass
class LinearPredictor:
    """One softmax regression for each position, trained on weighted texts by gradient descent with momentum."""

    num_bits: int
    weights: list[Array] = field(default_factory=list)

    def __post_init__(self):
        self.weights = [np.zeros((2 * self.num_bits + 2, 3)) for _ in range(self.num_bits + 1)]

    def log_probs(self, position: int, bits: Array, previous: Array) -> Array:
        """[X,3] log-probabilities of the next token."""
        logits = features(bits, previous) @ self.weights[position]
        return logits - logsumexp(logits)[:, None]

    def fit(self, bits: Array, short: Array, long: Array, steps: int, rate: float = 0.3) -> None:
        """Next-token prediction on each input's short text (weights short [X]) and long text (weights long [X])."""
        chain = np.cumprod(bits, axis=1)
        for position in range(self.num_bits + 1):
            rows = [_rows(bits, chain, position, long)]
            if position == 0:
                rows.append((np.zeros(len(bits)), token(chain[:, -1]), short))
            elif position == 1:
                rows.append((chain[:, -1], np.full(len(bits), END), short))
            previous, target, weight = (np.concatenate(parts) for parts in zip(*rows, strict=True))
            inputs = features(np.tile(bits, (len(rows), 1)), previous)
            self.weights[position] = _descend(self.weights[position], inputs, target, weight, steps, rate)

    def write(self, bits: Array, rng: np.random.Generator | None = None) -> Array:
        """[X,d] the tokens written before the end, as +-1, then 0; greedy without `rng`, else sampled."""
        texts, running = np.zeros(bits.shape, dtype=np.int64), np.ones(len(bits), dtype=bool)
        for position in range(self.num_bits):
            log_probs = self.log_probs(position, bits, texts[:, position - 1] if position else np.zeros(len(bits)))
            noise = 0.0 if rng is None else rng.gumbel(size=log_probs.shape)
            chosen = (log_probs + noise).argmax(axis=1)
            running &= chosen != END
            texts[running, position] = 2 * chosen[running] - 1
        return texts


@dataclass(frozen=True)
class Marks:
    """Scores of texts [X,d]: shares of right answers and of complete chains, and their mean length."""

    right: float
    long: float
    length: float


def mark(bits: Array, texts: Array) -> Marks:
    """A text's answer is its last token; it is long if all d tokens are there."""
    length = (texts != 0).sum(axis=1)
    answers = texts[np.arange(len(texts)), np.maximum(length - 1, 0)]
    right = float((answers == bits.prod(axis=1)).mean())
    return Marks(right, float((length == bits.shape[1]).mean()), float(length.mean()))


def correct_texts(bits: Array, texts: Array) -> tuple[Array, Array]:
    """(short [X], long [X]) whether each text is a right short answer, or a chain right in every token."""
    short = (texts[:, 0] == bits.prod(axis=1)) & (texts[:, 1:] == 0).all(axis=1)
    return short, (texts == np.cumprod(bits, axis=1)).all(axis=1)


def pretrain(num_bits: int, share: float, steps: int) -> LinearPredictor:
    """Next-token prediction on the whole distribution: every input, long with weight `share`."""
    bits, model = every_input(num_bits), LinearPredictor(num_bits)
    model.fit(bits, np.full(len(bits), 1 - share), np.full(len(bits), share), steps)
    return model


def correct_mass(model: LinearPredictor, bits: Array) -> tuple[Array, Array]:
    """(short [X], long [X]): exact probability that the model writes the right short answer; the whole right chain."""
    num_bits, chain, start = model.num_bits, np.cumprod(bits, axis=1), np.zeros(len(bits))
    rows = np.arange(len(bits))
    answer = chain[:, -1]
    short = model.log_probs(0, bits, start)[rows, token(answer)] + model.log_probs(1, bits, answer)[:, END]
    long = model.log_probs(num_bits, bits, answer)[:, END]
    for position in range(num_bits):
        previous = chain[:, position - 1] if position else start
        long = long + model.log_probs(position, bits, previous)[rows, token(chain[:, position])]
    return np.exp(short), np.exp(long)


def self_train(model: LinearPredictor, steps: int, samples: int = 0, rng: np.random.Generator | None = None) -> None:
    """One round of STaR: write, keep the correct texts, predict them; exactly in expectation, or with `samples`."""
    bits = every_input(model.num_bits)
    short, long = correct_mass(model, bits)
    if samples:
        kept = [correct_texts(bits, model.write(bits, rng)) for _ in range(samples)]
        short = np.stack([s for s, _ in kept]).sum(axis=0).astype(np.float64)
        long = np.stack([chain for _, chain in kept]).sum(axis=0).astype(np.float64)
    model.fit(bits, short, long, steps)


def memorised_answers(bits: Array, share: float) -> Array:
    """[X] greedy answers of a predictor that knows every conditional probability, the parity included: a 2**d table."""
    parity, first = bits.prod(axis=1), bits[:, 0]
    begins = np.where(share + (1 - share) * (parity == first) > (1 - share) * (parity != first), first, parity)
    goes_on = (begins == first) & ((parity != first) | (share > 0.5))
    return np.where(goes_on, parity, begins)


def _rows(bits: Array, chain: Array, position: int, weight: Array) -> tuple[Array, Array, Array]:
    """(previous token, target, weight) of the long texts at one position."""
    previous = chain[:, position - 1] if position else np.zeros(len(bits))
    target = token(chain[:, position]) if position < bits.shape[1] else np.full(len(bits), END)
    return previous, target, weight


def _descend(start: Array, inputs: Array, target: Array, weight: Array, steps: int, rate: float) -> Array:
    """Weighted cross-entropy of a softmax regression, `steps` of gradient descent with momentum 0.9."""
    if weight.sum() == 0:
        return start
    share = (weight / weight.sum())[:, None]
    goal, matrix, speed = np.eye(3)[target], start.copy(), np.zeros_like(start)
    for _ in range(steps):
        logits = inputs @ matrix
        speed = 0.9 * speed - rate * inputs.T @ (share * (np.exp(logits - logsumexp(logits)[:, None]) - goal))
        matrix = matrix + speed
    return matrix


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
        return linear_regression(ODDS, self.rounds).slope


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
