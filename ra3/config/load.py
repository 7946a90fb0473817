"""Recipes and flags -> Config. Everything that is wrong is reported at once: what, where, what is valid, what to do.

A recipe is a TOML file that names only what it changes; later files win over earlier ones, flags over files. The
config.json of a run folder is a recipe too, so a run can be repeated from its folder.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from ra3.config.conflicts import Conflicts
from ra3.config.help import sections, settings, show
from ra3.config.settings import Config, flatten, nest, place
from ra3.errors import UserError

ALIASES = {
    "model": "model.path", "corpus": "corpus.path", "seed": "run.seed", "out": "run.out", "name": "run.name",
    "device": "run.device", "bench": "eval.problems", "samples": "eval.samples_file",
    "rollouts": "run.rollouts",
}  # fmt: skip
"""Short forms of the settings that are typed most."""
OPTIONS = ("resume", "fork", "dry-run", "profile", "ranks", "launch", "help")
"""Flags that are no settings."""
COMMAND_LINE = "the command line"
DEFAULTS = Config().flat()


class Given(NamedTuple):
    """A value someone wrote, and where: Given(-3, "recipes/x.toml:7")."""

    value: Any
    where: str


def parse(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Recipe files, and settings by dotted key; a repeated flag counts last, a flag without a value has the value "".

    parse(["a.toml", "--seed", "3", "--eval.per-band=10"]) == (["a.toml"], {"run.seed": "3", "eval.per_band": "10"})
    Nothing is checked here: `load` does, together with the recipes, so that all mistakes are told at once.
    """
    files, overrides, rest = [], {}, list(reversed(words))
    while rest:
        word = rest.pop()
        if not word.startswith("-"):
            files.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if not equals and rest and not rest[-1].startswith("--"):
            value = rest.pop()
        overrides[dotted_key(name)] = value
    return files, overrides


def dotted_key(name: str) -> str:
    """The setting a flag stands for: "seed" -> "run.seed", "eval.per-band" -> "eval.per_band"."""
    return ALIASES.get(name, name.replace("-", "_") if "." in name else name)


def load(files: Iterable[str | Path] = (), overrides: Mapping[str, Any] | None = None) -> Config:
    """The configuration that `files` (left to right) and then `overrides` (dotted keys) make of the defaults.

    Values may be text, as flags are: "inf", "none", "1,5,10". Raises one UserError that lists every problem.
    """
    given = {key: item for file in files for key, item in read_recipe(find_recipe(file)).items()}
    given |= {key: Given(value, COMMAND_LINE) for key, value in (overrides or {}).items()}
    known = {key: item for key, item in given.items() if key in DEFAULTS}
    problems = [_unknown(key, item) for key, item in given.items() if key not in known and item.value != {}]
    config = None
    try:
        config = Config.model_validate(nest({key: item.value for key, item in known.items()}))
    except ValidationError as error:
        problems += explain(error, known)
    if config and not problems:
        return config
    if len(problems) == 1:
        raise problems[0]
    items = [f"  {number}. " + str(problem).replace("\n", "\n   ") for number, problem in enumerate(problems, 1)]
    raise UserError("\n".join([f"{len(problems)} settings are wrong", *items]))


def path_of(text: str | Path) -> Path:
    """The path that somebody wrote, `~` being the home folder. UserError where no such home is known."""
    try:
        return Path(place(str(text)))
    except ValueError as error:
        raise UserError(str(error), str(text), fix="write out the path, or set HOME") from None


def find_recipe(name: str | Path) -> Path:
    """The file `name`, or the recipe of that name that ships with ra3 ("tiny-cpu"). UserError if there is neither."""
    path, shipped = path_of(name), shipped_recipes()
    is_folder = os.path.isdir(path)
    if os.path.exists(path) and not is_folder:
        return path
    if (plain_name := str(name).removesuffix(".toml")) in shipped:
        return shipped[plain_name]
    beside = [str(file) for file in sorted(path.parent.glob("*.toml"))] if os.path.isdir(path.parent) else []
    close = nearest(str(name), [*shipped, *beside])
    fix = f"did you mean {close}?" if close else ""
    if os.path.exists(path / "environment.json"):
        fix = f"this is a run: `ra3 runs show {path}` prints the command that goes on with it"
    what = "this recipe is a folder, not a file" if is_folder else "no such recipe"
    raise UserError(what, str(name), f"a .toml file, the config.json of a run, or one of {', '.join(shipped)}", fix)


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with ra3, by name: in the package when installed, beside it in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "recipe_files"
    folder = installed if installed.is_dir() else package.parent / "recipes"
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def read_recipe(path: Path) -> dict[str, Given]:
    """The settings in one file by dotted key. UserError if it is not readable, or not TOML (JSON for .json).

    A config.json names every setting; those at their default count as not set (it matters for contradictions)."""
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
    lines = {} if is_json else dict(_lines(text))
    return {
        key: Given(value, f"{path}:{lines[key]}" if key in lines else str(path))
        for key, value in flatten(tree)
        if not (is_json and key in DEFAULTS and show(value) == show(DEFAULTS[key]))
    }


def _lines(toml: str) -> Iterator[tuple[str, int]]:
    """The line on which each setting stands, by dotted key; those inside inline tables are not found."""
    section = ""
    for number, line in enumerate(toml.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            section = header[1] + "."
        elif key := re.match(r"\s*([\w.-]+)\s*=", line):
            yield section + key[1], number


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice that `name` most likely means, or None: case, '-' for '_' and missing sections are forgiven."""
    wanted, whole = _simple(name), {_simple(choice): choice for choice in choices}
    for short, choice in whole.items():
        if short.endswith(f".{wanted}"):
            return choice
    last_parts = {short.rpartition(".")[2]: choice for short, choice in whole.items()}
    for word, known, cutoff in ((wanted, whole, 0.6), (wanted.rpartition(".")[2], last_parts, 0.75)):
        if close := difflib.get_close_matches(word, known, n=1, cutoff=cutoff):
            return known[close[0]]
    return None


def _simple(name: str) -> str:
    return name.strip().lower().replace("-", "_")


def _unknown(key: str, item: Given) -> UserError:
    """No setting is called so; it may be a section, or have lost its own."""
    if key in sections():
        inside = [name for name in (*settings(), *sections()) if name.rpartition(".")[0] == key]
        return UserError(f"{key} is a section, not a setting", item.where, fix=f"it holds {', '.join(inside)}")
    is_flag = item.where == COMMAND_LINE
    dashes, noun, more = ("--", "flag", (*ALIASES, *OPTIONS)) if is_flag else ("", "setting", ())
    same_end = [name for name in settings() if name.endswith(f".{_simple(key)}")]
    meant = [f"{dashes}{name}" for name in same_end or [nearest(key, [*settings(), *more])] if name]
    fix = f"did you mean {' or '.join(meant)}?" if meant else "`ra3 midtrain --help` lists every setting"
    return UserError(f"unknown {noun} {dashes}{key}", item.where, fix=fix)


def explain(error: ValidationError, known: Mapping[str, Given]) -> list[UserError]:
    """What pydantic found, each value and contradiction once: its place, what is allowed, what was likely meant."""
    problems: dict[str, UserError] = {}
    for detail in error.errors(include_url=False):
        raised = detail.get("ctx", {}).get("error")
        if isinstance(raised, Conflicts):
            for keys, what, fix in raised.found:
                places = dict.fromkeys(known[key].where for key in keys if key in known)
                problems[what] = UserError(what, ", ".join(places), fix=fix)
            continue
        key = next(key for key in known if tuple(key.split(".")) == detail["loc"][: key.count(".") + 1])
        setting, value = settings()[key], known[key].value
        close = nearest(value, setting.choices) if isinstance(value, str) else None
        fix = f"did you mean {close}?" if close else ""
        got = json.dumps(value) if isinstance(value, (str, bool)) else show(value)
        why = f": {raised}" if isinstance(raised, ValueError) else ""
        problems[key] = UserError(f"{key} cannot be {got}{why}", known[key].where, setting.allowed, fix)
    return list(problems.values())
