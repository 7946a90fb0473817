"""When the learning signal dies: conditions on a step's metrics, each said once in words."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

from ra3.run.metrics import number

PATIENCE = 3  # steps in a row


class Alarms:
    """Says once, in words, that the signal of a stage has died. Feed it every step; it returns new warnings only.

    A condition must hold for three steps in a row, except the log-probability gap, where once is enough.
    """

    def __init__(self):
        self._said: set[tuple[str, str]] = set()
        self._streak: dict[tuple[str, str], int] = {}
        self._first: dict[tuple[str, str], float] = {}

    def check(self, stage: str, values: Mapping[str, object]) -> list[str]:
        """Warnings that have become true with this step."""
        numbers = {key: number(value) for key, value in values.items()}
        first = {key: self._first_of(stage, key, numbers.get(key, math.nan)) for key in ("entropy", "comment_tokens")}
        found = _conditions(stage, numbers, first)
        due = [text for key, (sick, patience, text) in found.items() if self._due((stage, key), sick, patience)]
        return [f"{stage}: {text}" for text in due]

    def _first_of(self, stage: str, key: str, value: float) -> float:
        """What the number was when it first was above 0."""
        if value > 0:
            self._first.setdefault((stage, key), value)
        return self._first.get((stage, key), math.nan)

    def _due(self, key: tuple[str, str], sick: bool, patience: int) -> bool:
        self._streak[key] = self._streak.get(key, 0) + 1 if sick else 0
        if key in self._said or self._streak[key] < patience:
            return False
        self._said.add(key)
        return True


def _conditions(stage: str, numbers: dict[str, float], first: dict[str, float]) -> dict[str, tuple[bool, int, str]]:
    """name -> (does it hold now, steps it must hold, what to say). A missing number (nan) never alarms."""
    get = defaultdict(lambda: math.nan, numbers)
    infinite = [key for key in ("loss", "grad_norm", "nll_total") if key in numbers and not math.isfinite(numbers[key])]
    return {
        "dead_groups": (
            get["dead_groups"] > 0.9,
            PATIENCE,
            "in more than 90% of the groups all rollouts score alike, so there is almost nothing to learn from. "
            "The problems are all too easy or all too hard, or samples hardly differ.",
        ),
        "entropy": (
            get["entropy"] < 0.1 * first["entropy"],
            PATIENCE,
            f"entropy has collapsed from {first['entropy']:.3g} to {get['entropy']:.3g}: the policy no longer "
            "explores. Lower the learning rate or raise clip_high.",
        ),
        "truncated": (
            get["truncated"] > 0.5,
            PATIENCE,
            "more than half of the samples are cut by the token limit and cannot pass. Raise max_new_tokens.",
        ),
        "never_thinks": (
            stage == "estep" and get["think_rate"] <= 0.001,
            PATIENCE,
            "the think rate is 0: intentions have died out, and RA3 becomes plain next-token prediction. "
            "Lower switch_penalty, or set think_floor for the first updates.",
        ),
        "always_thinks": (
            stage == "estep" and get["think_rate"] >= 0.999,
            PATIENCE,
            "the think rate is 1: every line gets an intention, none is selective. Raise switch_penalty.",
        ),
        "copies": (
            get["copy_rate"] > 0.5,
            PATIENCE,
            "more than half of the intentions repeat the line they announce: they say what the code says anyway. "
            "Raise switch_penalty, or lengthen horizon so that an intention must last.",
        ),
        "echoes": (
            get["echo_rate"] > 0.5,
            PATIENCE,
            "more than half of the intentions repeat the line before them: they look back, not ahead. "
            "Raise switch_penalty, or lengthen horizon so that an intention must last.",
        ),
        "shrinking": (
            get["think_rate"] > 0.001 and get["comment_tokens"] < 0.25 * first["comment_tokens"],
            PATIENCE,
            f"intentions have shrunk from {first['comment_tokens']:.3g} to {get['comment_tokens']:.3g} tokens: the "
            "reward pays for opening one, not for what it says. Lower learning_rate or raise switch_penalty.",
        ),
        "logp_gap_max": (
            get["logp_gap_max"] > 1e-3,
            1,
            f"log-probabilities at sampling and at scoring differ by {get['logp_gap_max']:.3g} (limit 0.001), so the "
            "gradient is biased. Use dtype float32 or the native sampler.",
        ),
        "not_finite": (bool(infinite), 1, f"{', '.join(infinite)} is not finite. Lower the learning rate."),
    }
