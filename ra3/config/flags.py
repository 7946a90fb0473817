"""What a command line says: recipe files, settings (--section.name value) and the options of a command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ALIASES = {
    "model": "model.path",
    "corpus": "corpus.path",
    "seed": "run.seed",
    "out": "run.out",
    "name": "run.name",
    "device": "run.device",
    "bench": "eval.problems",
    "samples": "eval.samples_file",
}
"""Short forms of the settings that are typed most."""

OPTIONS = ("resume", "fork", "dry-run", "profile", "help")
"""Flags that are no settings."""


@dataclass(frozen=True)
class RunOptions:
    """What a command was asked to do, beside its settings: RunOptions("midtrain", ("tiny-cpu",), resume=True)."""

    command: str
    """demo, midtrain, rlvr, eval or annotate."""
    recipes: tuple[str, ...] = ()
    """The recipes as they were named; empty when the defaults and flags say it all."""
    resume: bool = False
    """Go on with the run in the run folder; start it if there is none."""
    fork: Path | None = None
    """A run folder whose checkpoints and metrics the new run begins with."""
    profile: bool = False
    """Print at the end where the time went."""
    out: Path | None = None
    """annotate only: the folder for the annotated text."""
    check: bool = False
    """annotate only: check that every annotated file compiles and turns back into its source byte for byte."""


def parse(tokens: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Recipe files, and settings by dotted key; a repeated flag counts last, a flag without a value has the value "".

    parse(["a.toml", "--seed", "3", "--eval.per-band=10"]) == (["a.toml"], {"run.seed": "3", "eval.per_band": "10"})
    Nothing is checked here: ra3.config.load.load does, together with the recipes.
    """
    files: list[str] = []
    overrides: dict[str, str] = {}
    rest = list(reversed(tokens))
    while rest:
        token = rest.pop()
        if not token.startswith("-"):
            files.append(token)
            continue
        name, equals, value = token.lstrip("-").partition("=")
        if not equals and rest and not rest[-1].startswith("--"):
            value = rest.pop()
        overrides[dotted_key(name)] = value
    return files, overrides


def dotted_key(name: str) -> str:
    """The setting a flag stands for: "seed" -> "run.seed", "eval.per-band" -> "eval.per_band"."""
    return ALIASES.get(name, name.replace("-", "_") if "." in name else name)


def settings_help(sections: tuple[str, ...], width: int) -> str:
    """The short forms, then every setting, those of `sections` first."""
    from ra3.config.help import manual

    short = [f"  --{alias} = --{key}" for alias, key in ALIASES.items()]
    return "\n".join(["Short forms", *short, "", manual(sections, width)])
