"""What a comparison consists of: variants, seeds, and for each cell of the grid the commands that fill it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ra3.config.help import show
from ra3.config.load import COMMAND_LINE, load
from ra3.config.settings import Config
from ra3.errors import UserError

BASE = "base"
"""The variant of this name is the model as it comes: it is evaluated, not mid-trained."""
AFTER, TWIN = "+rlvr", ", equal FLOPs"
"""How a variant after RLVR is called, and its twin (ra3/compare/equal_flops.py)."""
PLACE = {"run.seed": "seeds", "run.out": "out", "run.name": "out"}
"""Settings that say which cell a run is, and what is given in their place."""


@dataclass(frozen=True)
class Step:
    """One command of a cell: Step("eval", "runs/c/ntp-1-eval", {"run.seed": 1, ...}, ("demo",))."""

    command: str
    folder: Path
    settings: Mapping[str, Any]
    recipes: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """The command line after `ra3`."""
        flags = [word for key, value in self.settings.items() for word in (f"--{key.replace('_', '-')}", show(value))]
        return [self.command, *self.recipes, *flags, "--resume"]

    @property
    def text(self) -> str:
        """The command as one would type it."""
        return f"ra3 {shlex.join(self.words)}"

    def config(self) -> Config:
        """Its settings. UserError if some of them are wrong."""
        return load(self.recipes, self.settings)


@dataclass(frozen=True)
class Cell:
    """A variant on a seed: its commands in order, and where its scores will be."""

    variant: str
    seed: int
    steps: tuple[Step, ...]

    def folder(self, stage: str) -> Path | None:
        """The run folder of a stage: "midtrain", "eval", "rlvr" or "rlvr-eval"."""
        ending = {"midtrain": "", "eval": "-eval", "rlvr": "-rlvr", "rlvr-eval": "-rlvr-eval"}[stage]
        wanted = cell_name(self.variant, self.seed) + ending
        return next((step.folder for step in self.steps if step.folder.name == wanted), None)


@dataclass(frozen=True)
class Line:
    """Variants that a figure joins: Line("c", (("0", "c = 0"), ("0.1", "c = 0.1"))), each as it is called there."""

    name: str
    points: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Figure:
    """A figure of the page: score by variant. `ordered`: the variants are values of one setting."""

    title: str
    lines: tuple[Line, ...]
    ordered: bool = False


@dataclass(frozen=True)
class Comparison:
    """A comparison as its file, or a sweep's words, describe it."""

    name: str
    recipes: tuple[str, ...]
    seeds: tuple[int, ...]
    variants: Mapping[str, Mapping[str, Any]]
    """Settings of each variant by dotted key."""
    rlvr: tuple[str, ...]
    """The variants from which RLVR starts."""
    against: tuple[str, ...]
    """The variants that the others are compared with, and each of them with those after it."""
    equal_flops: str | None = None
    """The variant whose FLOPs every other mid-trained one also gets, in a twin (ra3/compare/equal_flops.py)."""
    figures: tuple[Figure, ...] = ()

    def cells(self, out: Path) -> list[Cell]:
        """Every cell, seeds outermost: what is there after half of the time is whole seeds."""
        return [self.cell(v, seed, own, v in self.rlvr, out) for seed in self.seeds for v, own in self.variants.items()]

    def cell(self, variant: str, seed: int, own: Mapping[str, Any], rlvr: bool, out: Path) -> Cell:
        """The cell of a variant with the settings `own`; `rlvr`: RLVR starts from it."""
        return Cell(variant, seed, tuple(self._steps(variant, seed, own, rlvr, out)))

    def _steps(self, variant: str, seed: int, own: Mapping[str, Any], rlvr: bool, out: Path) -> Iterator[Step]:
        name = cell_name(variant, seed)

        def step(command: str, ending: str, model: Path | None) -> Step:
            place = {"run.seed": seed, "run.out": str(out), "run.name": name + ending}
            start = {"model.path": str(model)} if model else {}
            return Step(command, out / (name + ending), {**own, **place, **start}, self.recipes)

        trained = None if variant == BASE else out / name / "model"
        if trained:
            yield step("midtrain", "", None)
        yield step("eval", "-eval", trained)
        if rlvr:
            yield step("rlvr", "-rlvr", trained)
            yield step("eval", "-rlvr-eval", out / f"{name}-rlvr" / "model")

    def checked(self, where: str) -> Comparison:
        """Itself. UserError where names do not fit, or a variant's settings are wrong."""
        names = list(self.variants)
        if not self.against:
            raise UserError("against names nobody", where, fix="name one of the variants, or leave against out")
        for listed in (self.rlvr, self.against):
            if len(set(listed)) < len(listed):
                raise UserError(f"a variant is there twice: {', '.join(listed)}", where, fix="name each once")
        if taken := [name for name in names if name.endswith((AFTER, TWIN))]:
            raise UserError(
                f"a variant cannot be called {taken[0]!r}", where, fix="ra3 itself calls results so: rename it"
            )
        if unknown := [name for name in (*self.rlvr, *self.against, *self._drawn()) if name not in names]:
            raise UserError(f"there is no variant {unknown[0]}", where, ", ".join(names))
        if self.equal_flops is not None and self.equal_flops not in (trained := [n for n in names if n != BASE]):
            raise UserError(
                f"equal_flops cannot be {self.equal_flops!r}", where, f"a mid-trained variant: {', '.join(trained)}"
            )
        slugs = [cell_name(name, 0) for name in names]
        if twice := [name for name, slug in zip(names, slugs, strict=True) if slugs.count(slug) > 1]:
            raise UserError(f"these variants have the same run folders: {', '.join(twice)}", where, fix="rename one")
        if len(set(self.seeds)) < len(self.seeds):
            raise UserError("a seed is there twice", where, fix="each seed once: it would not be another sample")
        for cell in self.cells(Path("runs"))[: len(names)]:
            _refuse_settings(cell, self.variants[cell.variant], f"{where}, variant {cell.variant}")
        return self

    def _drawn(self) -> list[str]:
        return [variant for figure in self.figures for line in figure.lines for _, variant in line.points]


def _refuse_settings(cell: Cell, own: Mapping[str, Any], where: str) -> None:
    """UserError where a variant's settings are wrong."""
    if given := [key for key in PLACE if key in own]:
        raise UserError(f"{given[0]} is the comparison's to set", where, fix="leave it out; seeds has the seeds")
    try:
        configs = [step.config() for step in cell.steps]
    except UserError as error:
        what = error.what if error.where == COMMAND_LINE else f"{error.where}: {error.what}"
        raise UserError(what, where, error.allowed, error.fix) from error
    if any(1 not in config.eval.k for config in configs):
        raise UserError("eval.k has no 1, and variants are compared by pass@1", where, fix="add 1 to eval.k")


def cell_name(variant: str, seed: int) -> str:
    """Name of a cell's first run folder: cell_name("RA3, c = 0", 3) == "ra3-c-0-3"."""
    return f"{re.sub('[^a-z0-9.]+', '-', variant.lower()).strip('-.') or 'variant'}-{seed}"
