"""What a comparison consists of: variants, seeds, and for each cell of the grid the commands that fill it."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ra3.config import Config, flatten
from ra3.describe import show
from ra3.errors import UserError
from ra3.recipes import load

BASE = "base"
"""The variant of this name is the model as it comes: it is evaluated, not mid-trained."""
KEYS = {"recipe": str, "seeds": list, "rlvr": list, "against": str, "settings": dict, "variants": dict}
REQUIRED = ("seeds", "variants")


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
class Comparison:
    """A comparison as its file describes it."""

    name: str
    recipes: tuple[str, ...]
    seeds: tuple[int, ...]
    variants: Mapping[str, Mapping[str, Any]]
    """Settings of each variant by dotted key."""
    rlvr: tuple[str, ...]
    """The variants from which RLVR starts."""
    against: str
    """The variant that the others are compared with."""

    def cells(self, out: Path) -> list[Cell]:
        """Every cell, seeds outermost: what is there after half of the time is whole seeds."""
        return [Cell(v, seed, tuple(self._steps(v, seed, out))) for seed in self.seeds for v in self.variants]

    def _steps(self, variant: str, seed: int, out: Path) -> Iterator[Step]:
        name, own = cell_name(variant, seed), self.variants[variant]

        def step(command: str, ending: str, model: Path | None) -> Step:
            place = {"run.seed": seed, "run.out": str(out), "run.name": name + ending}
            start = {"model.path": str(model)} if model else {}
            return Step(command, out / (name + ending), {**own, **place, **start}, self.recipes)

        trained = None if variant == BASE else out / name / "model"
        if trained:
            yield step("midtrain", "", None)
        yield step("eval", "-eval", trained)
        if variant in self.rlvr:
            yield step("rlvr", "-rlvr", trained)
            yield step("eval", "-rlvr-eval", out / f"{name}-rlvr" / "model")


def cell_name(variant: str, seed: int) -> str:
    """Name of a cell's first run folder: cell_name("RA3, c = 0", 3) == "ra3-c-0-3"."""
    return f"{re.sub('[^a-z0-9.]+', '-', variant.lower()).strip('-.') or 'variant'}-{seed}"


def read_comparison(path: Path) -> Comparison:
    """The comparison in a TOML file. UserError for anything in it that is wrong, a variant's settings included."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read this comparison: {error.strerror}", str(path), fix=_known()) from error
    except ValueError as error:
        raise UserError(f"this file is not valid TOML: {error}", where=str(path)) from error
    _refuse_shape(tree, str(path))
    shared = dict(flatten(tree.get("settings", {})))
    variants = {name: {**shared, **dict(flatten(own))} for name, own in tree["variants"].items()}
    recipes = (tree["recipe"],) if "recipe" in tree else ()
    against = tree.get("against", next(iter(variants)))
    found = Comparison(
        path.stem, recipes, tuple(tree["seeds"]), variants, tuple(tree.get("rlvr", ())), against
    )  # fmt: skip
    _refuse_names(found, str(path))
    for cell in found.cells(Path("runs"))[: len(variants)]:
        for step in cell.steps:
            step.config()
    return found


def find_comparison(name: str) -> Path:
    """The file `name`, or the comparison of that name that ships with ra3."""
    return Path(name) if Path(name).is_file() else shipped().get(name.removesuffix(".toml"), Path(name))


def shipped() -> dict[str, Path]:
    """The comparisons that come with ra3, by name."""
    package = Path(__file__).parent.parent
    installed = package / "recipe_files"
    folder = installed if installed.is_dir() else package.parent / "recipes"
    return {file.stem: file for file in sorted((folder / "compare").glob("*.toml"))}


def _known() -> str:
    return f"give a .toml file, or one of {', '.join(shipped())}"


def _refuse_shape(tree: dict[str, Any], where: str) -> None:
    allowed = ", ".join(KEYS)
    for key, value in tree.items():
        if key not in KEYS:
            raise UserError(f"unknown key {key}", where, allowed, fix="settings belong under [settings] or a variant")
        if not isinstance(value, KEYS[key]):
            raise UserError(f"{key} cannot be {value!r}", where, f"a {KEYS[key].__name__}")
    if missing := [key for key in REQUIRED if not tree.get(key)]:
        raise UserError(f"this comparison has no {' and no '.join(missing)}", where, fix="seeds = [1, 2], [variants.X]")
    if bad := [seed for seed in tree["seeds"] if type(seed) is not int or seed < 0]:
        raise UserError(f"seeds cannot be {bad[0]!r}", where, "whole numbers >= 0")
    if bad := [name for name, own in tree["variants"].items() if not isinstance(own, dict)]:
        raise UserError(f"variants.{bad[0]} is no table", where, fix=f"[variants.{bad[0]}] and settings under it")


def _refuse_names(found: Comparison, where: str) -> None:
    names = list(found.variants)
    if unknown := [name for name in (*found.rlvr, found.against) if name not in names]:
        raise UserError(f"there is no variant {unknown[0]}", where, ", ".join(names))
    slugs = [cell_name(name, 0) for name in names]
    if twice := [name for name, slug in zip(names, slugs, strict=True) if slugs.count(slug) > 1]:
        raise UserError(f"these variants have the same run folders: {', '.join(twice)}", where, fix="rename one")
    if len(set(found.seeds)) < len(found.seeds):
        raise UserError("a seed is there twice", where, fix="each seed once: it would not be another sample")
