"""Fingerprints: of the model, corpus and problems that a run works on, so that a resumed run can tell whether they
changed, and of the code that made a number."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

LARGE = (1 << 61) - 1
"""A Mersenne prime: sums are kept below it."""


def of_weights(model: nn.Module) -> str:
    """16 hex digits for names, shapes and bits of all weights, the same on every device and for any number of threads.

    Bits enter as two exact integer sums per tensor, plain and weighted by place, because hashing every byte of a large
    model would take minutes.
    """
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in model.state_dict().items():
        digest.update(repr((name, tuple(tensor.shape), str(tensor.dtype), *_sums(tensor))).encode())
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
        digest.update(repr(canonical(item)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def canonical(value: Any) -> Any:
    """The value as nested lists whose repr is the same in every process: fields by name, sets and dicts in order."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [type(value).__name__, *(canonical(getattr(value, f.name)) for f in dataclasses.fields(value))]
    if isinstance(value, dict):
        return ["dict", *sorted(([canonical(k), canonical(v)] for k, v in value.items()), key=repr)]
    if isinstance(value, (set, frozenset)):
        return ["set", *sorted((canonical(item) for item in value), key=repr)]
    return [canonical(item) for item in value] if isinstance(value, (list, tuple)) else value


def _sums(tensor: Tensor) -> tuple[int, int]:
    """(sum of the bit patterns, sum of each times its place modulo 65521), exact in 64-bit arithmetic that wraps."""
    import torch

    kinds = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = tensor.detach().contiguous().view(kinds[tensor.element_size()]).flatten()
    plain = weighted = 0
    for start in range(0, bits.numel(), 1 << 22):
        part = bits[start : start + (1 << 22)].long()
        place = torch.arange(start + 1, start + 1 + len(part), device=part.device) % 65521
        plain, weighted = plain + int(part.sum()), weighted + int((part * place).sum())
    return plain % LARGE, weighted % LARGE
