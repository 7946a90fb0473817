"""What each setting is called, may be and means: read off the JSON schema that pydantic makes of the settings."""

import functools
import textwrap
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, NamedTuple

from ra3.config.settings import Config, Section

WORDS = {"boolean": "true or false", "integer": "whole number", "number": "number", "string": "text"}
BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


class Setting(NamedTuple):
    """Example: Setting("run.seed", 0, "integer", choices=(), allowed="whole number >= 0", help="Seed of ...")."""

    key: str
    default: Any
    kind: str
    """boolean, integer, number, string or array."""
    choices: tuple[str, ...]
    """The valid words, empty when any text will do."""
    allowed: str
    """The valid values in words."""
    help: str


@functools.cache
def sections() -> dict[str, type[Section]]:
    """Every section by its dotted key, in the order of the tree."""
    config = Config()
    names = dict.fromkeys(key.rpartition(".")[0] for key in config.flat())
    return {name: type(attrgetter(name)(config)) for name in names}


@functools.cache
def settings() -> dict[str, Setting]:
    """Every setting by its dotted key, in the order of the tree."""
    schemas = {key: section.model_json_schema()["properties"] for key, section in sections().items()}
    found = {}
    for key, default in Config().flat().items():
        section, _, name = key.rpartition(".")
        found[key] = _setting(key, default, schemas[section][name])
    return found


def _setting(key: str, default: Any, schema: Mapping[str, Any]) -> Setting:
    """`schema`: what pydantic says of the setting; "anyOf" where it may be none, the other kind first."""
    value = schema.get("anyOf", [schema])[0]
    kind, choices = value["type"], tuple(value.get("enum", ()))
    if choices:
        allowed = " | ".join(choices)
    elif "examples" in schema:
        allowed = schema["examples"][0]
    else:
        bounds = " and ".join(f"{sign} {value[name]:g}" for name, sign in BOUNDS.items() if name in value)
        allowed = f"{WORDS[kind]} {bounds}".strip()
    optional = ", or none" if "anyOf" in schema else ""
    return Setting(key, default, kind, choices, allowed + optional, " ".join(schema["description"].split()))


def show(value: Any) -> str:
    """A value as it is written after a flag: none, inf, 1,5,10."""
    if value is None:
        return "none"
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def manual(first: tuple[str, ...], width: int = 100) -> str:
    """Every setting with its default, bounds and help, by section; sections under `first` come first."""
    others, lines = [name for name in sections() if name.split(".")[0] not in first], []
    for section in sorted(sections(), key=others.__contains__):
        if section in others[:1]:
            lines.append("Settings of other commands (one recipe may hold them all)\n")
        lines.append(f"{section}  {sections()[section].__doc__}")
        for setting in settings().values():
            if setting.key.rpartition(".")[0] == section:
                lines.append(f"  --{setting.key} {show(setting.default)}   ({setting.allowed})")
                lines += textwrap.wrap(setting.help, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
        lines.append("")
    return "\n".join(lines)
