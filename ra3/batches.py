"""Rows -> packed micro-batches: several rows in one bin, no padding between them, exact positions for every token.

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
    """N bins of packed rows and, for each token, where it comes from in its Rows."""

    ids: Tensor
    """[N,T] int64; padding is token 0."""
    positions: Tensor
    """[N,T] int64, restarting at 0 with every row; padding counts on from the last row's end."""
    row: Tensor
    """[N,T] int64, the token's row, -1 for padding."""

    @property
    def predicted(self) -> Tensor:
        """[N,T] bool, tokens that a previous token of the same row predicts: all but each row's first and padding."""
        return (self.row >= 0) & (self.positions > 0)


def micro_batches(rows: Rows, max_tokens: int, rank: int = 0, ranks: int = 1) -> Iterator[Packed]:
    """Packs all rows: bins as long as the longest row, longest first, about `max_tokens` tokens a micro-batch.

    Of the bins, rank `rank` of `ranks` gets every `ranks`-th.

    The micro-batch that needs the most memory comes first, so that a run which cannot fit fails at once.
    """
    bins = _first_fit(rows.length.tolist(), capacity=int(rows.length.max()))[rank::ranks]
    per_batch = max(1, max_tokens // int(rows.length.max()))
    for start in range(0, len(bins), per_batch):
        yield _pack(rows, bins[start : start + per_batch])


def _first_fit(lengths: list[int], capacity: int) -> list[list[int]]:
    """First-fit decreasing: rows of each bin, none longer than `capacity` in sum."""
    bins: list[list[int]] = []
    room: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        fit = next((b for b, free in enumerate(room) if free >= lengths[row]), None)
        if fit is None:
            bins.append([])
            room.append(capacity)
            fit = len(bins) - 1
        bins[fit].append(row)
        room[fit] -= lengths[row]
    return bins


def _pack(rows: Rows, bins: list[list[int]]) -> Packed:
    lengths = rows.length.tolist()
    width = max(sum(lengths[r] for r in members) for members in bins)
    ids = torch.zeros(len(bins), width, dtype=torch.int64)
    row = torch.full((len(bins), width), -1, dtype=torch.int64)
    positions = torch.zeros(len(bins), width, dtype=torch.int64)
    for b, members in enumerate(bins):
        at = 0
        for r in members:
            n = lengths[r]
            ids[b, at : at + n] = rows.ids[r, :n]
            positions[b, at : at + n] = torch.arange(n)
            row[b, at : at + n] = r
            at += n
        last = lengths[members[-1]]
        positions[b, at:] = torch.arange(last, last + width - at)
    device = rows.ids.device
    return Packed(ids.to(device), positions.to(device), row.to(device))
