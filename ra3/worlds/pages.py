"""What the embedded worlds share: pages as lines with the places of their intentions, and items by split and band."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Part = tuple[str, str, Sequence[str]]
"""An opening line, the intention that the page's author writes behind it ("" for none), and the steps."""


def page_lines(
    seed: int, parts: Iterable[Part], useless: float, useless_lines: Sequence[str]
) -> tuple[list[str], list[int]]:
    """The page line by line, and the index of the line at which each intention begins.

    Before the share ``useless`` of the steps, never a first one, stands one of ``useless_lines``.
    """
    rng, lines, boundaries = random.Random(seed), [], []
    for opening, intention, steps in parts:
        lines.append(opening)
        boundaries.append(len(lines))
        lines += [intention] if intention else []
        for number, step in enumerate(steps):
            lines += [rng.choice(useless_lines)] if number and rng.random() < useless else []
            lines.append(step)
    return lines, boundaries


def documents_of(make: Callable[[str, int, int], Item], split: str, seed: int, count: int) -> list[Item]:
    """``make(split, seed, index)`` for each index; ``split`` is "pretrain" or "expert"."""
    if split not in ("pretrain", "expert"):
        raise ValueError(f"documents come from 'pretrain' or 'expert', not {split!r}")
    return [make(split, seed, index) for index in range(count)]


def problems_of(
    make: Callable[[str, str, int, int], Item],
    bands: Sequence[str],
    split: str,
    seed: int,
    count: int,
    band: str | None,
) -> list[Item]:
    """``make(split, band, seed, index)`` for each index: all of one ``band``, or of ``bands``, from easy to hard, in
    turn ("eval"), the second twice as often as the first ("rl")."""
    if split not in ("rl", "eval"):
        raise ValueError(f"problems come from 'rl' or 'eval', not {split!r}")
    if band is not None and band not in bands:
        raise ValueError(f"band is one of {', '.join(bands)}, not {band!r}")
    turns = (band,) if band else (bands[0], bands[1], bands[1]) if split == "rl" else bands
    return [make(split, turns[index % len(turns)], seed, index) for index in range(count)]
