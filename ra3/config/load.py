"""Recipes and flags -> Config. Everything that is wrong is reported at once: what, where, what is valid, what to do.

A recipe is a TOML file that names only what it changes; later files win over earlier ones, flags over files. The
config.json of a run folder is a recipe too, so a run can be repeated from its folder.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ra3.config.conflicts import Conflicts
from ra3.config.help import Setting, sections, settings, show
from ra3.config.tree import Config, flatten, nest
from ra3.errors import UserError

COMMAND_LINE = "the command line"


@dataclass(frozen=True)
class Given:
    """A value someone wrote, and where: Given(-3, "recipes/x.toml")."""

    value: Any
    where: str


def load(
    files: Iterable[str | Path] = (), overrides: Mapping[str, Any] | None = None, flags: Iterable[str] = ()
) -> Config:
    """The configuration that `files` (left to right) and then `overrides` (dotted keys) make of the defaults.

    Values may be text, as flags are: "inf", "none", "1,5,10". `flags` are further names an unknown key may have been
    meant as. Raises one UserError that lists every problem.
    """
    given = {key: item for file in files for key, item in read_recipe(find_recipe(file)).items()}
    given |= {key: Given(value, COMMAND_LINE) for key, value in (overrides or {}).items()}
    known, problems = _split_unknown(given, [*settings(), *flags])
    try:
        config = Config(**nest({key: _from_text(settings()[key], item.value) for key, item in known.items()}))
    except ValidationError as error:
        raise _joined(problems + _problems_of(error, known)) from None
    if problems:
        raise _joined(problems)
    return config


def find_recipe(name: str | Path) -> Path:
    """The file `name`, or the recipe of that name that ships with ra3 ("tiny-cpu"). UserError if there is neither."""
    path, shipped = Path(name), shipped_recipes()
    if os.path.exists(path) and not os.path.isdir(path):
        return path
    if (plain_name := str(name).removesuffix(".toml")) in shipped:
        return shipped[plain_name]
    beside = [str(file) for file in sorted(path.parent.glob("*.toml"))] if os.path.isdir(path.parent) else []
    close = nearest(str(name), [*shipped, *beside])
    fix = f"did you mean {close}?" if close else ""
    if os.path.exists(path / "environment.json"):
        fix = f"this is a run: `ra3 runs show {path}` prints the command that goes on with it"
    raise UserError(
        "this recipe is a folder, not a file" if os.path.isdir(path) else "no such recipe",
        where=str(name),
        allowed=f"a .toml file, the config.json of a run, or one of {', '.join(shipped)}",
        fix=fix,
    )


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with ra3, by name: in the package when installed, beside it in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "recipe_files"
    folder = installed if installed.is_dir() else package.parent / "recipes"
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def read_recipe(path: Path) -> dict[str, Given]:
    """The settings in one file by dotted key. UserError if it is not readable, or not TOML (JSON for .json)."""
    is_json = path.suffix == ".json"
    try:
        text = path.read_bytes().decode("utf-8-sig")
        tree = json.loads(text) if is_json else tomllib.loads(text)
    except OSError as error:
        raise UserError(f"cannot read this recipe: {error.strerror}", where=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"this file is not valid {'JSON' if is_json else 'TOML'}: {error}", where=str(path)) from error
    if not isinstance(tree, dict):
        raise UserError("this file must hold one JSON object", where=str(path))
    flat = dict(flatten(tree))
    return {key: Given(value, str(path)) for key, value in flat.items() if not is_json or _changed(key, value)}


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice that `name` most likely means, or None: case, '-' for '_' and missing sections are forgiven."""
    wanted = _simple(name)
    simple: dict[str, str] = {}
    for choice in choices:
        simple.setdefault(_simple(choice), choice)
    for short, choice in simple.items():
        if short.endswith(f".{wanted}"):
            return choice
    close = difflib.get_close_matches(wanted, simple, n=1, cutoff=0.6)
    if close:
        return simple[close[0]]
    last_parts = {short.rpartition(".")[2]: choice for short, choice in simple.items()}
    close = difflib.get_close_matches(wanted.rpartition(".")[2], last_parts, n=1, cutoff=0.75)
    return last_parts[close[0]] if close else None


def _simple(name: str) -> str:
    return name.strip().lower().replace("-", "_")


def _changed(key: str, value: Any) -> bool:
    """A config.json names every setting; those at their default count as not set (it matters for contradictions)."""
    setting = settings().get(key)
    return setting is None or show(value) != show(setting.default)


def _split_unknown(given: Mapping[str, Given], names: Sequence[str]) -> tuple[dict[str, Given], list[UserError]]:
    known, problems = {}, []
    for key, item in given.items():
        if key in settings():
            known[key] = item
        elif key in sections():
            if item.value != {}:
                problems.append(_not_a_section(key, item))
        else:
            problems.append(_unknown(key, item, names))
    return known, problems


def _not_a_section(key: str, item: Given) -> UserError:
    inside = [name for name in (*settings(), *sections()) if name.rpartition(".")[0] == key]
    return UserError(f"{key} is a section, not a setting", item.where, fix=f"it holds {', '.join(inside)}")


def _unknown(key: str, item: Given, names: Sequence[str]) -> UserError:
    same_end = [name for name in settings() if name.endswith(f".{_simple(key)}")]
    likely = same_end or [nearest(key, names)]
    dashes, noun = ("--", "flag") if item.where == COMMAND_LINE else ("", "setting")
    meant = [f"{dashes}{name}" for name in likely if name]
    return UserError(
        f"unknown {noun} {dashes}{key}",
        item.where,
        fix=f"did you mean {' or '.join(meant)}?" if meant else "`ra3 midtrain --help` lists every setting",
    )


def _from_text(setting: Setting, value: Any) -> Any:
    """Text as flags give it, read as the setting's type; anything else is left to the type."""
    if isinstance(value, bool) and setting.kind is not str:
        return str(value)  # no setting is a truth value, and Python would count it as 0 or 1
    if not isinstance(value, str):
        return value
    if setting.optional and value.lower() == "none":
        return None
    if setting.kind is tuple:
        return [part.strip() for part in value.strip("[]").split(",") if part.strip()]
    return value


def _problems_of(error: ValidationError, known: Mapping[str, Given]) -> list[UserError]:
    problems = []
    for detail in error.errors(include_url=False):
        raised = detail.get("ctx", {}).get("error")
        if isinstance(raised, Conflicts):
            problems += [_contradiction(conflict.keys, conflict.what, conflict.fix, known) for conflict in raised.found]
        else:
            key = next(key for key in known if tuple(key.split(".")) == detail["loc"][: key.count(".") + 1])
            problems.append(_bad_value(settings()[key], known[key]))
    return list({str(problem): problem for problem in problems}.values())


def _contradiction(keys: Sequence[str], what: str, fix: str, known: Mapping[str, Given]) -> UserError:
    places = dict.fromkeys(known[key].where for key in keys if key in known)
    return UserError(what, ", ".join(places), fix=fix)


def _bad_value(setting: Setting, item: Given) -> UserError:
    close = nearest(item.value, setting.choices) if isinstance(item.value, str) else None
    fix = f"did you mean {close}?" if close else ""
    got = json.dumps(item.value) if isinstance(item.value, (str, bool)) else show(item.value)
    return UserError(f"{setting.key} cannot be {got}", item.where, setting.allowed, fix)


def _joined(problems: list[UserError]) -> UserError:
    """One problem as itself; several as a numbered list."""
    if len(problems) == 1:
        return problems[0]
    items = [f"  {number}. " + str(problem).replace("\n", "\n   ") for number, problem in enumerate(problems, 1)]
    return UserError("\n".join([f"{len(problems)} settings are wrong", *items]))
