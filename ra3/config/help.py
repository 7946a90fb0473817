"""What each setting is called, may be and means, read off the types and docstrings of ra3/config/settings.py."""

import functools
import textwrap
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic.fields import FieldInfo

from ra3.config.settings import Section
from ra3.config.tree import Config

KINDS = {
    bool: "true or false", int: "whole number", float: "number", str: "text",
    tuple: "whole numbers with commas between",
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """Example: Setting("run.seed", 0, int, optional=False, choices=(), allowed="whole number >= 0", help="...")."""

    key: str
    default: Any
    kind: type
    """int, float, str or tuple (of int)."""
    optional: bool
    """May be none."""
    choices: tuple[str, ...]
    """The valid words, empty when any text will do."""
    allowed: str
    """The valid values in words."""
    help: str


@functools.cache
def settings() -> dict[str, Setting]:
    """Every setting by its dotted key, in the order of the tree."""
    return {setting.key: setting for setting in _walk(Config, "")}


@functools.cache
def sections() -> dict[str, str]:
    """Every section by its dotted key, with its one-line description."""
    return dict(_walk_sections(Config, ""))


def show(value: Any) -> str:
    """A value as it is written after a flag: none, inf, 1,5,10."""
    if value is None:
        return "none"
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def manual(first: tuple[str, ...], width: int = 100) -> str:
    """Every setting with its default, bounds and help, by section; sections under `first` come first."""
    ours = [name for name in sections() if name.split(".")[0] in first]
    others = [name for name in sections() if name not in ours]
    blocks = [_section_block(name, width) for name in ours]
    if others:
        blocks += ["Settings of other commands (one recipe may hold them all)\n"]
        blocks += [_section_block(name, width) for name in others]
    return "\n".join(blocks)


def _section_block(section: str, width: int) -> str:
    lines = [f"{section}  {sections()[section]}"]
    for setting in settings().values():
        if setting.key.rpartition(".")[0] == section:
            lines.append(f"  --{setting.key} {show(setting.default)}   ({setting.allowed})")
            lines += textwrap.wrap(setting.help, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines) + "\n"


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, Section)


def _walk(section: type[Section], prefix: str) -> Iterator[Setting]:
    for name, field in section.model_fields.items():
        if _is_section(field):
            yield from _walk(typing.cast(type[Section], field.annotation), f"{prefix}{name}.")
        else:
            yield _describe(prefix + name, field)


def _walk_sections(section: type[Section], prefix: str) -> Iterator[tuple[str, str]]:
    for name, field in section.model_fields.items():
        if _is_section(field):
            inner = typing.cast(type[Section], field.annotation)
            yield prefix + name, (inner.__doc__ or "").strip()
            yield from _walk_sections(inner, f"{prefix}{name}.")


def _describe(key: str, field: FieldInfo) -> Setting:
    annotation: Any = field.annotation
    optional = isinstance(annotation, types.UnionType)
    if optional:
        annotation = next(part for part in typing.get_args(annotation) if part is not type(None))
    origin = typing.get_origin(annotation)
    choices = typing.get_args(annotation) if origin is Literal else ()
    kind: Any = str if choices else origin or annotation
    allowed = _allowed(kind, choices, field) + (", or none" if optional else "")
    return Setting(key, field.default, kind, optional, choices, allowed, " ".join((field.description or "").split()))


def _allowed(kind: type, choices: tuple[str, ...], field: FieldInfo) -> str:
    if choices:
        return " | ".join(choices)
    if field.examples:
        return str(field.examples[0])
    bounds = _bounds(kind, field)
    text = f"{KINDS[kind]} {' and '.join(bounds)}" if bounds else KINDS[kind]
    endless = any(getattr(item, "allow_inf_nan", False) for item in field.metadata)
    return text + (", or inf" if endless else "")


def _bounds(kind: type, field: FieldInfo) -> list[str]:
    found = []
    for item in field.metadata:
        for name, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<")):
            if (limit := getattr(item, name, None)) is not None:
                found.append(f">= {limit + 1}" if kind is int and name == "gt" else f"{sign} {limit:g}")
    return found
