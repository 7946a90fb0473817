"""Fingerprints: of the model, corpus and problems that a run works on, so that a resumed run can tell whether they
changed, and of the code that made a number."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def of_weights(model: nn.Module) -> str:
    """16 hex digits for names, shapes and bits of all weights, the same on every device."""
    import torch

    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in model.state_dict().items():
        digest.update(repr((name, tuple(tensor.shape), str(tensor.dtype))).encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def of_code(package: Path) -> str:
    """12 hex digits for all source files in a folder, which also tell where no repository does."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def of_items(items: Iterable[Any]) -> str:
    """16 hex digits for documents, problems or any plain values, in their order."""
    digest = hashlib.blake2b(digest_size=8)
    for item in items:
        digest.update(repr(_canonical(item)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _canonical(value: Any) -> Any:
    """The value as nested lists whose repr is the same in every process: fields by name, sets and dicts in order."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [type(value).__name__, *(_canonical(getattr(value, f.name)) for f in dataclasses.fields(value))]
    if isinstance(value, dict):
        return ["dict", *sorted(([_canonical(k), _canonical(v)] for k, v in value.items()), key=repr)]
    if isinstance(value, (set, frozenset)):
        return ["set", *sorted((_canonical(item) for item in value), key=repr)]
    return [_canonical(item) for item in value] if isinstance(value, (list, tuple)) else value
