"""The parity world: the threshold 1/3 of next-token prediction, and how few rounds of self-training pass it."""

from __future__ import annotations

from theory.claims import Chart, Check, Finding, Series, Table
from theory.parity import (
    BITS,
    FEW,
    ODDS,
    PREDICTED,
    RIGHT,
    SHARES,
    STARTS,
    STEPS,
    THRESHOLD,
    Measured,
    SelfTraining,
    every_input,
    mark,
    measure,
    memorised_answers,
    next_share,
    pretrain,
    rounds_needed,
)


def study_parity(seed: int) -> Finding:
    """Parity of 6 bits, all 64 inputs, a linear predictor; training and self-training in exact expectation."""
    measured = measure(seed)
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
        holds=_holds(measured),
        breaks=_breaks(measured),
        charts=_charts(measured),
        tables=[_table(measured.runs)],
        numbers={
            "threshold_low": measured.threshold[0], "threshold_high": measured.threshold[1],
            "calibration_error": measured.calibration_error, "rounds_slope": measured.rounds_slope,
        },
    )


def _holds(measured: Measured) -> list[Check]:
    low, high = measured.threshold
    return [
        Check(
            "greedy decoding turns from chance to right at p = 1/3",
            f"measured between {low:.4f} and {high:.4f}",
            low <= THRESHOLD + 0.005 and high >= THRESHOLD - 0.005,
        ),
        Check(
            "the model writes long texts with probability p",
            f"largest difference {measured.calibration_error:.3f} over {len(SHARES)} values of p",
            measured.calibration_error < 0.04,
        ),
        Check(
            "rounds of self-training as predicted",
            f"measured {measured.rounds}, predicted {PREDICTED} for p = {', '.join(f'{s:g}' for s in STARTS)}",
            measured.rounds == PREDICTED,
        ),
        Check(
            "they grow with log2((1 - p) / p)",
            f"slope {measured.rounds_slope:.2f}, predicted 1",
            0.7 < measured.rounds_slope < 1.4,
        ),
    ]


def _breaks(measured: Measured) -> list[Check]:
    never, early, few = measured.never.greedy_right, measured.early.greedy_right, measured.few
    return [
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
            f"right on {never[-1]:.0%} after {len(never) - 1} rounds",
            never[-1] >= RIGHT,
        ),
        Check(
            "self-training is as quick with few samples",
            f"{FEW} samples an input: after {PREDICTED[-1]} rounds from p = {STARTS[-1]:g} right on "
            f"{few.greedy_right[PREDICTED[-1]]:.0%}",
            few.rounds <= PREDICTED[-1],
        ),
        Check(
            "self-training may start before pre-training has learned the chain",
            f"after 2 steps of gradient descent and {len(early) - 1} rounds right on {early[-1]:.0%}",
            early[-1] >= RIGHT,
        ),
    ]


def _memorised(share: float) -> float:
    bits = every_input(BITS)
    return float((memorised_answers(bits, share) == bits.prod(axis=1)).mean())


def _within_reach(share: float) -> float:
    bits = every_input(3)
    return mark(bits, pretrain(3, share, 2 * STEPS).write(bits)).right


def _charts(measured: Measured) -> list[Chart]:
    runs, x, edge = measured.runs, list(SHARES), [0.0, THRESHOLD, THRESHOLD, 1.0]
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
                Series("greedy", x, [measured.greedy[share].right for share in SHARES]),
            ],
        ),
        Chart(
            "Length is calibrated",
            "Probability of long texts under the model: their share in training, whatever greedy decoding does.",
            "share p of long texts",
            "long",
            [
                Series("p", [0, 1], [0, 1], "--", "base"),
                Series("model", x, [measured.sampled[share] for share in SHARES]),
            ],
        ),
        Chart(
            "Self-training doubles the odds",
            "Probability of long texts, by rounds of keeping the correct ones. Dashed: p' = 2p / (1 + p).", "round",
            "long", growth,
        ),
        Chart(
            "Rounds until greedy decoding is right",
            "",
            "log2((1 - p) / p)",
            "rounds",
            [
                Series("predicted", ODDS, PREDICTED, "--", "base"),
                Series("measured", ODDS, measured.rounds),
            ],
        ),
    ]


def _numbered(values: list[float]) -> tuple[list[int], list[float]]:
    return list(range(len(values))), values


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
