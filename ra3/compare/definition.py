"""The TOML file of a comparison: found, read, and refused with a reason where something in it is wrong."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ra3.compare.plan import Comparison, Figure, Line
from ra3.config.settings import flatten
from ra3.errors import UserError

KEYS = {
    "recipe": str, "seeds": list, "rlvr": list, "against": (str, list), "equal_flops": str, "settings": dict,
    "variants": dict, "figures": dict,
}  # fmt: skip
WORDS = {str: "name", list: "list", dict: "table", (str, list): "name or list of names"}
REQUIRED = ("seeds", "variants")


def read_comparison(path: Path) -> Comparison:
    """The comparison in a TOML file. UserError for anything in it that is wrong, a variant's settings included."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"cannot read this comparison: {error.strerror}", str(path), fix=_known()) from error
    except ValueError as error:
        raise UserError(f"this file is not valid TOML: {error}", where=str(path)) from error
    _refuse_shape(tree, str(path))
    shared = _settings(tree.get("settings", {}))
    variants = {name: {**shared, **_settings(own)} for name, own in tree["variants"].items()}
    against = tree.get("against", next(iter(variants)))
    return Comparison(
        name=path.stem,
        recipes=(tree["recipe"],) if "recipe" in tree else (),
        seeds=tuple(tree["seeds"]),
        variants=variants,
        rlvr=tuple(tree.get("rlvr", ())),
        against=(against,) if isinstance(against, str) else tuple(against),
        equal_flops=tree.get("equal_flops"),
        figures=_figures(tree.get("figures", {})),
    ).checked(str(path))


def find_comparison(name: str) -> Path:
    """The file `name`, or the comparison of that name that ships with ra3."""
    return Path(name) if Path(name).is_file() else shipped().get(name.removesuffix(".toml"), Path(name))


def shipped() -> dict[str, Path]:
    """The comparisons that come with ra3, by name."""
    package = Path(__file__).parent.parent
    installed = package / "recipe_files"
    folder = installed if installed.is_dir() else package.parent / "recipes"
    return {file.stem: file for file in sorted((folder / "compare").glob("*.toml"))}


def _settings(own: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted key; a section without any says nothing."""
    return {key: value for key, value in flatten(own) if value != {}}


def _figures(own: Mapping[str, list[str]]) -> tuple[Figure, ...]:
    return tuple(Figure(title, (Line("", tuple((v, v) for v in drawn)),)) for title, drawn in own.items())


def _known() -> str:
    return f"give a .toml file, or one of {', '.join(shipped())}"


def _refuse_shape(tree: dict[str, Any], where: str) -> None:
    allowed = ", ".join(KEYS)
    for key, value in tree.items():
        if key not in KEYS:
            raise UserError(f"unknown key {key}", where, allowed, fix="settings belong under [settings] or a variant")
        if not isinstance(value, KEYS[key]):
            raise UserError(f"{key} cannot be {value!r}", where, f"a {WORDS[KEYS[key]]}")
    if missing := [key for key in REQUIRED if not tree.get(key)]:
        raise UserError(f"this comparison has no {' and no '.join(missing)}", where, fix="seeds = [1, 2], [variants.X]")
    if bad := [seed for seed in tree["seeds"] if type(seed) is not int or seed < 0]:
        raise UserError(f"seeds cannot be {bad[0]!r}", where, "whole numbers >= 0")
    if bad := [name for name, own in tree["variants"].items() if not isinstance(own, dict)]:
        raise UserError(f"variants.{bad[0]} is no table", where, fix=f"[variants.{bad[0]}] and settings under it")
    if bad := [name for name, own in tree.get("figures", {}).items() if not isinstance(own, list) or not own]:
        raise UserError(f"figures.{bad[0]} is no list of variants", where, fix='"a title" = ["one variant", "another"]')
