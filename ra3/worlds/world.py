"""Embedded worlds: pages drawn from seeds, which become documents with their truth or problems with tests.

Splits are disjoint by construction: every item has its own seed, derived from (seed, split, index).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from ra3.data.documents import Document, Truth
from ra3.grading.problem_tests import Test
from ra3.grading.problems import Problem
from ra3.seeds import derive
from ra3.worlds.tokenizer import END

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Chain = tuple[str, ...]
"""The names that a solution goes through, from the one that is asked for."""
Part = tuple[str, bool]
"""Text for pre-training, and whether it carries loss."""


@dataclass(frozen=True)
class Level:
    """Knobs of one kind of page. ``lengths`` and ``kinds`` are drawn uniformly; repeat an entry to weigh it."""

    lengths: tuple[int, ...]
    """Links of a chain, for every chain of the page."""
    kinds: tuple[str, ...]
    """The operations or relations that its solutions use."""
    exercises: tuple[int, int]
    """Fewest and most functions or questions."""
    unused: tuple[int, int] = (1, 2)
    """Fewest and most chains that no exercise uses."""
    branches: tuple[int, int] = (0, 0)
    """Fewest and most facts that build on a quantity of a chain and lead nowhere; word problems only."""
    commented: float = 0.0
    """Share of exercises that carry their intention, whatever the chain's length."""
    useless: float = 0.0
    """Share of other lines that carry a comment saying nothing."""


@dataclass(frozen=True)
class Exercise:
    """A function, or a question with its solution."""

    opening: str
    """The line that says what is to be done: ``"def ba(x):\\n"``."""
    chain: Chain
    intention: str
    """The true intention as a line: ``"# ba ke zu evens\\n"``."""
    steps: tuple[str, ...]
    commented: bool
    """The page's author writes the intention down."""


@dataclass(frozen=True)
class Page:
    """One page before it becomes a document or a problem."""

    context: str
    exercises: tuple[Exercise, ...]
    seed: int
    """Of whatever is drawn after the page itself."""


@dataclass(frozen=True)
class World:
    """An embedded world; its package holds the base model in the folder ``model``."""

    package: str
    first_name: str
    """Part of every seed and id. The world has another name today; with another word here all its text would change."""
    levels: dict[str, Level]
    """Of the splits "pretrain" and "expert", and of each band."""
    bands: tuple[str, ...]
    """From easy to hard."""
    steps: str
    """The `corpus.steps` that fits its documents."""
    stop: str
    """Stop string of its problems."""
    useless: tuple[str, ...]
    """Comments that say nothing."""
    page: Callable[[Level, int], Page]
    """(level, seed) -> page."""
    task: Callable[[Page], tuple[str | None, tuple[Test, ...], dict[str, str]]]
    """A page of one exercise -> (entry point, tests, what else `meta` says) of the problem that it poses."""
    drill: Callable[[int, tuple[int, ...]], list[Part]]
    """(seed, lengths of the chains) -> a page of look-ups for pre-training."""
    tokenizer: Callable[[], PreTrainedTokenizerFast]

    @property
    def model(self) -> Path:
        """The folder of the base model that ships with the package."""
        return Path(str(files(self.package) / "model"))

    def documents(self, split: str, seed: int, count: int) -> list[Document]:
        """Make documents of "pretrain" (some intentions written) or "expert" (none, longer, new kinds of step)."""
        if split not in ("pretrain", "expert"):
            raise ValueError(f"documents come from 'pretrain' or 'expert', not {split!r}")
        return [self._document(split, seed, index) for index in range(count)]

    def _document(self, split: str, seed: int, index: int) -> Document:
        level = self.levels[split]
        page = self.page(level, derive(seed, self.first_name, split, index))
        lines, boundaries = page_lines(page, level.useless, self.useless)
        chains, comments = zip(*((exercise.chain, exercise.intention) for exercise in page.exercises), strict=True)
        truth = Truth(tuple(boundaries), chains, comments)
        return Document(f"{self.first_name}/{split}/{seed}/{index}", "".join(lines), page.context, truth)

    def pretraining_page(self, seed: int) -> list[Part]:
        """Make a page for pre-training: its context, which carries no loss, and its text, which does."""
        page = self.page(self.levels["pretrain"], seed)
        lines, _ = page_lines(page, self.levels["pretrain"].useless, self.useless)
        return [(page.context, False), ("".join(lines) + END, True)]

    def problems(self, split: str, seed: int, count: int, band: str | None = None) -> list[Problem]:
        """Make problems of "rl" or "eval": all of one band, or of the bands from easy to hard in turn ("eval"), of the
        second twice as often as of the first ("rl"). ``meta`` has ``band``, ``chain_length`` and ``intention``."""
        bands = self.bands
        if split not in ("rl", "eval"):
            raise ValueError(f"problems come from 'rl' or 'eval', not {split!r}")
        if band is not None and band not in bands:
            raise ValueError(f"band is one of {', '.join(bands)}, not {band!r}")
        turns = (band,) if band else (bands[0], bands[1], bands[1]) if split == "rl" else bands
        return [self._problem(split, turns[index % len(turns)], seed, index) for index in range(count)]

    def _problem(self, split: str, band: str, seed: int, index: int) -> Problem:
        page = self.page(self.levels[band], derive(seed, self.first_name, split, band, index))
        (exercise,) = page.exercises
        entry_point, tests, more = self.task(page)
        meta = {"band": band, "chain_length": len(exercise.chain) - 1, **more}
        return Problem(
            id=f"{self.first_name}/{split}/{band}/{seed}/{index}",
            prompt=page.context + exercise.opening,
            entry_point=entry_point,
            tests=tests,
            stop=(self.stop,),
            meta={**meta, "intention": exercise.intention.rstrip("\n")},
        )

    def evaluation(self, seed: int, per_band: int) -> list[Problem]:
        """Make ``per_band`` problems of each band."""
        return [problem for band in self.bands for problem in self.problems("eval", seed, per_band, band)]


def page_lines(page: Page, useless: float, useless_lines: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the text of a page line by line, and the index of the line at which each intention belongs.

    Before the share ``useless`` of the steps, never a first one, stands one of ``useless_lines``.
    """
    rng, lines, boundaries = random.Random(page.seed), [], []
    for exercise in page.exercises:
        lines.append(exercise.opening)
        boundaries.append(len(lines))
        lines += [exercise.intention] if exercise.commented else []
        for number, step in enumerate(exercise.steps):
            lines += [rng.choice(useless_lines)] if number and rng.random() < useless else []
            lines.append(step)
    return lines, boundaries
