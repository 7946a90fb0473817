"""`ra3 sweep`: a comparison made from words instead of a file, every combination of the values of some settings.

    ra3 sweep c=0,0.1,1 H=1,5 eval.per_band=20 --recipe demo --seeds 60,61

is six variants on two seeds, all with 20 problems a band. Each setting with several values has a figure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product

from ra3.compare.definition import PLACE, Comparison, Figure, Line, cell_name
from ra3.config.help import settings, show
from ra3.config.load import COMMAND_LINE, dotted_key, load, nearest
from ra3.errors import UserError

Axes = Mapping[str, tuple[str, ...]]
"""Setting by dotted key -> its values, as text."""
EXAMPLE = "ra3 sweep c=0,0.1,1 --recipe demo --seeds 60,61"
ESTEP = "midtrain.estep"
SYMBOLS = {"c": f"{ESTEP}.switch_penalty", "G": f"{ESTEP}.group_size", "H": f"{ESTEP}.horizon"}
SYMBOLS |= {"method": "midtrain.method"}
"""The paper's letters; and the method, which is that of mid-training where it is not called rlvr.method."""


def swept(words: Sequence[str], recipe: str | None, seeds: str, rlvr: bool) -> Comparison:
    """The comparison that the words ask for. UserError for what is wrong in them."""
    recipes = (recipe,) if recipe else ()
    given = read_axes(words)
    first = {key: values[0] for key, values in given.items()}
    axes = {key: in_order(key, values, recipes, first) for key, values in given.items() if len(values) > 1}
    if not axes:
        raise UserError("no setting has several values: there is nothing to sweep", COMMAND_LINE, fix=EXAMPLE)
    fixed = {key: value for key, value in first.items() if key not in axes}
    points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    variants = {variant_name(point): {**fixed, **point} for point in points}
    usual = load(recipes).flat()
    unchanged = variant_name({key: show(usual[key]) for key in axes})
    return Comparison(
        name=cell_name("sweep " + " ".join(map(short, axes)), None),
        recipes=recipes,
        seeds=read_seeds(seeds),
        variants=variants,
        rlvr=tuple(variants) if rlvr else (),
        against=(unchanged if unchanged in variants else next(iter(variants)),),
        figures=tuple(figure_of(key, axes, points) for key in axes),
    ).checked(COMMAND_LINE)


def read_axes(words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Settings by dotted key: read_axes(["gamma=0.9,1"]) == {"midtrain.estep.gamma": ("0.9", "1")}."""
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        name, equals, text = word.lstrip("-").partition("=")
        values = tuple(value.strip() for value in text.split(","))
        if not equals or not name or "" in values:
            raise UserError(f"cannot read {word!r}", COMMAND_LINE, "SETTING=VALUE,VALUE,...", EXAMPLE)
        key = full_key(name)
        if key in found:
            raise UserError(f"{key} is given twice", COMMAND_LINE, fix=f"{short(key)}={','.join(found[key] + values)}")
        found[key] = values
    return found


def full_key(name: str) -> str:
    """The setting that a name, its last part or a letter means: full_key("gamma") == "midtrain.estep.gamma"."""
    key = SYMBOLS.get(name, dotted_key(name.replace("-", "_")))
    found = [key] if key in settings() else [known for known in settings() if known.endswith(f".{key}")]
    if len(found) > 1:
        raise UserError(f"{name} is the name of several settings", COMMAND_LINE, ", ".join(found))
    if not found:
        close = nearest(name, settings())
        fix = f"did you mean {close}?" if close else "`ra3 midtrain --help` lists every setting"
        raise UserError(f"unknown setting {name}", COMMAND_LINE, fix=fix)
    if otherwise := PLACE.get(found[0]):
        raise UserError(f"{found[0]} cannot be swept", COMMAND_LINE, fix=f"give --{otherwise}")
    if settings()[found[0]].kind == "array":
        raise UserError(f"{found[0]} is a list itself and cannot be swept", COMMAND_LINE, fix="set it in a recipe")
    return found[0]


def in_order(key: str, values: Sequence[str], recipes: tuple[str, ...], others: Mapping[str, str]) -> tuple[str, ...]:
    """The values as the settings write them, numbers ascending, read beside `others`, without which some are refused.

    UserError for a value that is wrong or there twice.
    """
    read = [load(recipes, {**others, key: value}).flat()[key] for value in values]
    if len(set(read)) < len(read):
        raise UserError(f"{key} has a value twice: {', '.join(values)}", COMMAND_LINE, fix="each value once")
    if all(value is None or isinstance(value, (int, float)) for value in read):
        read.sort(key=lambda value: -math.inf if value is None else value)
    return tuple(show(value) for value in read)


def read_seeds(text: str) -> tuple[int, ...]:
    """read_seeds("60,61") == (60, 61)."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UserError(f"--seeds cannot be {text!r}", COMMAND_LINE, "whole numbers >= 0 with commas between")
    return tuple(map(int, parts))


def figure_of(key: str, axes: Axes, points: Sequence[Mapping[str, str]]) -> Figure:
    """Score by the values of one setting, a line for each combination of the others."""
    lines: dict[str, list[tuple[str, str]]] = {}
    for point in sorted(points, key=lambda point: axes[key].index(point[key])):
        others = variant_name({name: value for name, value in point.items() if name != key})
        lines.setdefault(others, []).append((point[key], variant_name(point)))
    return Figure(short(key), tuple(Line(name, tuple(found)) for name, found in lines.items()), ordered=True)


def variant_name(point: Mapping[str, str]) -> str:
    """variant_name({"midtrain.estep.gamma": "0.9"}) == "gamma = 0.9"."""
    return ", ".join(f"{short(key)} = {value}" for key, value in point.items())


def short(key: str) -> str:
    """Its letter, the last part of its name, or the whole where others end alike."""
    if letter := next((letter for letter, known in SYMBOLS.items() if known == key), ""):
        return letter
    last = key.rpartition(".")[2]
    return last if sum(known.endswith(f".{last}") for known in settings()) == 1 else key
