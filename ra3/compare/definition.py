"""What is compared: the TOML file of a comparison, and for each cell of its grid the commands that fill it."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ra3.config.help import show
from ra3.config.load import COMMAND_LINE, load, path_of, shipped_recipes
from ra3.config.settings import Config, flatten
from ra3.errors import UserError
from ra3.run.files import read_object
from ra3.run.folder import config_changes, refuse_other_format
from ra3.run.inspect import run_state

BASE = "base"
"""The variant of this name is the model as it comes: it is evaluated, not mid-trained."""
AFTER, TWIN = "+rlvr", ", equal FLOPs"
"""How a variant after RLVR is called, and its twin (ra3/compare/equal_flops.py)."""
PLACE = {"run.seed": "seeds", "run.out": "out", "run.name": "out"}
"""Settings that say which cell a run is, and what is given in their place."""
KEYS = {
    "recipe": str, "seeds": list, "rlvr": list, "against": (str, list), "equal_flops": str, "settings": dict,
    "variants": dict, "figures": dict, "midtrain": bool,
}  # fmt: skip
WORDS = {bool: "truth value", str: "name", list: "list", dict: "table", (str, list): "name or list of names"}


@dataclass(frozen=True)
class Command:
    """One command of a cell: Command("rlvr-eval", Path("runs/c/ntp-1-rlvr-eval"), {"run.seed": 1, ...}, ("demo",))."""

    stage: str  # midtrain, eval, rlvr or rlvr-eval
    folder: Path
    settings: Mapping[str, Any]
    recipes: tuple[str, ...]

    @property
    def name(self) -> str:
        """midtrain, rlvr or eval."""
        return self.stage.removeprefix("rlvr-")

    @property
    def words(self) -> list[str]:
        """The command line after `ra3`."""
        flags = [word for key, value in self.settings.items() for word in (f"--{key.replace('_', '-')}", show(value))]
        return [self.name, *self.recipes, *flags, "--resume"]

    @property
    def text(self) -> str:
        """The command as one would type it."""
        return f"ra3 {shlex.join(self.words)}"

    def config(self) -> Config:
        """Its settings. UserError if some of them are wrong."""
        return load(self.recipes, self.settings)

    def is_finished(self) -> bool:
        """Whether it has run to its end. UserError if that was with other settings."""
        if not (self.folder / "config.json").is_file():
            return False
        refuse_other_format(self.folder)
        held, wanted = dict(flatten(read_object(self.folder / "config.json"))), self.config().flat()
        old, new = (Path(str(flat.get("model.path"))).parts[-2:] for flat in (held, wanted))
        if old == new and new[1:] == ("model",):  # the folder of the comparison was moved, and this model with it
            held["model.path"] = wanted["model.path"]
        if changes := config_changes(held, wanted):
            raise UserError(
                f"this cell was run with other settings: {'; '.join(changes[:4])}",
                where=str(self.folder),
                fix="give the comparison another --out, or move that folder away",
            )
        return run_state(self.folder) == "finished"


@dataclass(frozen=True)
class GridCell:
    """A variant on a seed: its commands in order, and where its scores will be."""

    variant: str
    seed: int
    commands: tuple[Command, ...]

    def folder(self, stage: str) -> Path | None:
        """The run folder of a stage: "midtrain", "eval", "rlvr" or "rlvr-eval"."""
        return next((command.folder for command in self.commands if command.stage == stage), None)


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
    variants: Mapping[str, Mapping[str, Any]]  # settings of each variant by dotted key
    rlvr: tuple[str, ...]  # the variants from which RLVR starts
    against: tuple[str, ...]  # the variants that the others are compared with, and each of them with those after it
    equal_flops: str | None = None  # the variant whose FLOPs every other mid-trained one also gets, in a twin
    figures: tuple[Figure, ...] = ()
    seed_in_names: bool = True  # whether run folders are called after their seed, too
    midtrains: bool = True  # whether variants are mid-trained; else each starts RLVR from the model of its settings
    start: str | None = None  # the model that each cell starts from, {seed} in it for the cell's seed

    def cells(self, out: Path) -> list[GridCell]:
        """Every cell, seeds outermost: what is there after half of the time is whole seeds."""
        return [self.cell(v, seed, own, v in self.rlvr, out) for seed in self.seeds for v, own in self.variants.items()]

    def cell(self, variant: str, seed: int, own: Mapping[str, Any], rlvr: bool, out: Path) -> GridCell:
        """The cell of a variant with the settings `own`; `rlvr`: RLVR starts from it."""
        name = cell_name(variant, seed if self.seed_in_names else None)

        def command(stage: str, model: Path | None) -> Command:
            folder = out / (name if stage == "midtrain" else f"{name}-{stage}")
            place = {"run.seed": seed, "run.out": str(out), "run.name": folder.name}
            start = {"model.path": str(model)} if (model := model or self.model(seed)) else {}
            return Command(stage, folder, {**own, **place, **start}, self.recipes)

        trained = None if variant == BASE or not self.midtrains else out / name / "model"
        commands = [] if trained is None else [command("midtrain", None)]
        if variant == BASE or self.midtrains:
            commands.append(command("eval", trained))
        if rlvr:
            commands += [command("rlvr", trained), command("rlvr-eval", out / f"{name}-rlvr" / "model")]
        return GridCell(variant, seed, tuple(commands))

    def model(self, seed: int) -> Path | None:
        """The model that the cells of a seed start from; None: that of their settings."""
        return Path(self.start.replace("{seed}", str(seed))) if self.start else None

    def starting_from(self, start: str) -> Comparison:
        """Itself with a model to start from. UserError where there is none for a seed."""
        found = replace(self, start=start)
        if lost := [model for model in map(found.model, self.seeds) if model and not model.is_dir()]:
            what = f"there is no model folder {lost[0]}"
            raise UserError(what, "--start", "a model folder, {seed} in its place for the seed", "train it first")
        return found

    def checked(self, where: str) -> Comparison:
        """Itself. UserError where names do not fit, or a variant's settings are wrong."""
        names = list(self.variants)
        if not self.against:
            raise UserError("against names nobody", where, fix="name one of the variants, or leave against out")
        for listed in (self.rlvr, self.against):
            if len(set(listed)) < len(listed):
                raise UserError(f"a variant is there twice: {', '.join(listed)}", where, fix="name each once")
        if taken := [name for name in names if name.endswith((AFTER, TWIN))]:
            what = f"a variant cannot be called {taken[0]!r}"
            raise UserError(what, where, fix="ra3 itself calls results so: rename it")
        drawn = [variant for figure in self.figures for line in figure.lines for _, variant in line.points]
        if unknown := [name for name in (*self.rlvr, *self.against, *drawn) if name not in names]:
            raise UserError(f"there is no variant {unknown[0]}", where, ", ".join(names))
        if idle := [name for name in names if not self.midtrains and name not in (BASE, *self.rlvr)]:
            what = f"variant {idle[0]} is neither mid-trained nor put through RLVR"
            raise UserError(what, where, fix="name it in rlvr, or leave out midtrain = false")
        if self.equal_flops is not None and not self.midtrains:
            raise UserError("equal_flops is of mid-training, and midtrain = false", where, fix="leave one out")
        if self.equal_flops is not None and self.equal_flops not in (trained := [n for n in names if n != BASE]):
            allowed = f"a mid-trained variant: {', '.join(trained)}"
            raise UserError(f"equal_flops cannot be {self.equal_flops!r}", where, allowed)
        slugs = [cell_name(name, 0) for name in names]
        if twice := [name for name, slug in zip(names, slugs, strict=True) if slugs.count(slug) > 1]:
            raise UserError(f"these variants have the same run folders: {', '.join(twice)}", where, fix="rename one")
        if len(set(self.seeds)) < len(self.seeds):
            raise UserError("a seed is there twice", where, fix="each seed once: it would not be another sample")
        for cell in self.cells(Path("runs"))[: len(names)]:
            _refuse_settings(cell, self.variants[cell.variant], f"{where}, variant {cell.variant}")
        return self


def _refuse_settings(cell: GridCell, own: Mapping[str, Any], where: str) -> None:
    """UserError where a variant's settings are wrong."""
    if given := [key for key in PLACE if key in own]:
        raise UserError(f"{given[0]} is the comparison's to set", where, fix="leave it out; seeds has the seeds")
    try:
        configs = [command.config() for command in cell.commands]
    except UserError as error:
        what = error.what if error.where == COMMAND_LINE else f"{error.where}: {error.what}"
        raise UserError(what, where, error.allowed, error.fix) from error
    if any(1 not in config.eval.k for config in configs):
        raise UserError("eval.k has no 1, and variants are compared by pass@1", where, fix="add 1 to eval.k")


def cell_name(variant: str, seed: int | None) -> str:
    """Name of a cell's first run folder: cell_name("RA3, c = 0", 3) == "ra3-c-0-3"."""
    name = re.sub("[^a-z0-9.]+", "-", variant.lower()).strip("-.") or "variant"
    return name if seed is None else f"{name}-{seed}"


def system_of(variant: str, stage: str) -> str:
    """What a variant is called after a stage: system_of("ra3", "rlvr-eval") == "ra3+rlvr"."""
    return variant + AFTER if stage.startswith("rlvr") else variant


def read_comparison(path: Path) -> Comparison:
    """The comparison in a TOML file. UserError for anything in it that is wrong, a variant's settings included."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        known = f"give a .toml file, or one of {', '.join(shipped())}"
        raise UserError(f"cannot read this comparison: {error.strerror}", str(path), fix=known) from error
    except ValueError as error:
        raise UserError(f"this file is not valid TOML: {error}", where=str(path)) from error
    _refuse_shape(tree, str(path))
    shared = tree.get("settings", {})
    variants = {  # a section without any setting says nothing
        name: {key: value for part in (shared, own) for key, value in flatten(part) if value != {}}
        for name, own in tree["variants"].items()
    }
    against = tree.get("against", next(iter(variants)))
    figures = tree.get("figures", {}).items()
    return Comparison(
        name=path.stem,
        recipes=(tree["recipe"],) if "recipe" in tree else (),
        seeds=tuple(tree["seeds"]),
        variants=variants,
        rlvr=tuple(tree.get("rlvr", () if tree.get("midtrain", True) else [name for name in variants if name != BASE])),
        against=(against,) if isinstance(against, str) else tuple(against),
        equal_flops=tree.get("equal_flops"),
        midtrains=tree.get("midtrain", True),
        figures=tuple(Figure(title, (Line("", tuple((v, v) for v in drawn)),)) for title, drawn in figures),
    ).checked(str(path))


def find_comparison(name: str) -> Path:
    """The file `name`, or the comparison of that name that ships with ra3."""
    path = path_of(name)
    return path if path.is_file() else shipped().get(name.removesuffix(".toml"), path)


def shipped() -> dict[str, Path]:
    """The comparisons that come with ra3, by name."""
    folder = shipped_recipes()["demo"].parent / "compare"
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def _refuse_shape(tree: dict[str, Any], where: str) -> None:
    for key, value in tree.items():
        if key not in KEYS:
            fix = "settings belong under [settings] or a variant"
            raise UserError(f"unknown key {key}", where, ", ".join(KEYS), fix)
        if not isinstance(value, KEYS[key]):
            raise UserError(f"{key} cannot be {value!r}", where, f"a {WORDS[KEYS[key]]}")
    if missing := [key for key in ("seeds", "variants") if not tree.get(key)]:
        raise UserError(f"this comparison has no {' and no '.join(missing)}", where, fix="seeds = [1, 2], [variants.X]")
    if bad := [seed for seed in tree["seeds"] if type(seed) is not int or seed < 0]:
        raise UserError(f"seeds cannot be {bad[0]!r}", where, "whole numbers >= 0")
    if bad := [name for name, own in tree["variants"].items() if not isinstance(own, dict)]:
        raise UserError(f"variants.{bad[0]} is no table", where, fix=f"[variants.{bad[0]}] and settings under it")
    if bad := [name for name, own in tree.get("figures", {}).items() if not isinstance(own, list) or not own]:
        raise UserError(f"figures.{bad[0]} is no list of variants", where, fix='"a title" = ["one variant", "another"]')
