"""The configuration: the sections of settings.py in one frozen tree, and its views as a flat table and as JSON."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import model_validator

from ra3.config.conflicts import refuse_conflicts
from ra3.config.settings import (
    CorpusSettings,
    EvalSettings,
    MidtrainSettings,
    ModelSettings,
    RlvrSettings,
    RunSettings,
    SandboxSettings,
    Section,
    UpdateSettings,
)


class Config(Section):
    """The whole tree. Settings that contradict each other raise ra3.config.conflicts.Conflicts (a ValueError)."""

    run: RunSettings = RunSettings()
    model: ModelSettings = ModelSettings()
    corpus: CorpusSettings = CorpusSettings()
    midtrain: MidtrainSettings = MidtrainSettings()
    rlvr: RlvrSettings = RlvrSettings()
    eval: EvalSettings = EvalSettings()
    sandbox: SandboxSettings = SandboxSettings()
    update: UpdateSettings = UpdateSettings()

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        refuse_conflicts(self)
        return self

    def flat(self) -> dict[str, Any]:
        """Every setting by its dotted key, in the order of the tree: {"run.seed": 0, "run.out": "runs", ...}."""
        return dict(flatten(self.model_dump()))

    def to_json(self) -> str:
        """The resolved tree as standard JSON (inf is written "inf"), the same bytes for equal configurations. A run
        folder's config.json is this text, and `ra3 COMMAND config.json` reads it back."""
        return json.dumps(plain(self.model_dump()), indent=2, ensure_ascii=False) + "\n"


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings by dotted key: {"a": {"b": 1}} -> ("a.b", 1). An empty mapping is a leaf."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of flatten: {"a.b": 1} -> {"a": {"b": 1}}."""
    tree: dict[str, Any] = {}
    for dotted, value in flat.items():
        *sections, name = dotted.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[name] = value
    return tree


def plain(value: Any) -> Any:
    """The value as JSON knows it: dicts with string keys, lists, strings, numbers; NaN and infinities as strings."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if hasattr(value, "item"):  # a NumPy or torch scalar
        return plain(value.item())
    return str(value)
