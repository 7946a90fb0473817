"""Rows -> micro-batches: several rows in one flat sequence, no padding, exact positions for every token.

A loss over a step's rows is a sum over tokens divided by a denominator of the *whole* step, never of a micro-batch, so
it does not depend on how the rows were packed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ra3.rows import Rows


@dataclass(frozen=True)
class Packed:
    """N tokens of packed rows and, for each, where it comes from in its Rows."""

    ids: Tensor
    """[N] int64."""
    positions: Tensor
    """[N] int64, restarting at 0 with every row."""
    row: Tensor
    """[N] int64, the token's row."""


def micro_batches(rows: Rows, max_tokens: int, rank: int = 0, ranks: int = 1) -> Iterator[Packed]:
    """Packs all rows, longest first, at most `max_tokens` tokens a micro-batch, or one longer row.

    Rank `rank` of `ranks` gets every `ranks`-th row. The micro-batch that needs the most memory comes first, so that a
    run which cannot fit fails at once.
    """
    lengths = rows.length.tolist()
    longest_first = sorted(range(len(lengths)), key=lambda r: (-lengths[r], r))[rank::ranks]
    members, tokens = [], 0
    for r in longest_first:
        if members and tokens + lengths[r] > max_tokens:
            yield _pack(rows, members)
            members, tokens = [], 0
        members.append(r)
        tokens += lengths[r]
    if members:
        yield _pack(rows, members)


def _pack(rows: Rows, members: list[int]) -> Packed:
    row = torch.tensor(members, device=rows.ids.device)
    column = torch.arange(rows.ids.shape[1], device=rows.ids.device)
    valid = column < rows.length[row, None]
    return Packed(rows.ids[row][valid], column.expand_as(valid)[valid], row[:, None].expand_as(valid)[valid])
