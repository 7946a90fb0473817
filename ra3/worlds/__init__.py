"""The embedded worlds: each makes expert text that knows its intentions, problems with tests, and ships a base model.

A world goes by its name wherever a model, a corpus or problems are named: ``--model chains --corpus chains``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ra3.data.documents import Document
from ra3.grading.problems import Problem
from ra3.worlds.functions import world as testbed
from ra3.worlds.word_problems import world as chains


@dataclass(frozen=True)
class World:
    """An embedded world; its package holds the base model in the folder ``model``."""

    package: str
    documents: Callable[[str, int, int], list[Document]]
    """(split, seed, count) -> documents of "pretrain" or "expert"; ``truth`` has ``boundaries``, ``chains`` and
    ``comments``, aligned lists: the step at which an intention belongs, what it is about, and its line."""
    problems: Callable[[str, int, int, str | None], list[Problem]]
    """(split, seed, count, band) -> problems of "rl" or "eval"; ``meta`` has ``band``, ``chain_length`` and the true
    ``intention``."""
    bands: tuple[str, ...]
    """From easy to hard."""
    steps: str
    """What one step of its documents is: the `corpus.steps` that fits."""

    @property
    def model(self) -> Path:
        """The folder of the base model that ships with the package."""
        return Path(str(files(self.package) / "model"))

    def evaluation(self, seed: int, per_band: int) -> list[Problem]:
        """``per_band`` problems of each band."""
        return [problem for band in self.bands for problem in self.problems("eval", seed, per_band, band)]


WORLDS = {
    "testbed": World("ra3.worlds.functions", testbed.documents, testbed.problems, testbed.BANDS, "line"),
    "chains": World("ra3.worlds.word_problems", chains.documents, chains.problems, chains.BANDS, "sentence"),
}
