"""Rows -> micro-batches: several rows in one flat sequence, no padding, exact positions for every token.

Rows of a group begin alike: with their prompt, or with a document up to where they branch off. What each shares with
the first of them is read once in each micro-batch, as in sampling.

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
    """N tokens to read, which make up rows of M tokens: a shared beginning is in several rows."""

    ids: Tensor
    """[N] int64."""
    positions: Tensor
    """[N] int64."""
    row: Tensor
    """[M] int64, the row of every token of the rows, row after row."""
    column: Tensor
    """[M] int64, its position, restarting at 0 with every row."""
    token: Tensor
    """[M] int64, which of the N it is."""


def micro_batches(rows: Rows, max_tokens: int, rank: int = 0, ranks: int = 1) -> Iterator[Packed]:
    """Packs all rows, longest first but group by group, at most `max_tokens` tokens to read at once, or a longer row.

    Rank `rank` of `ranks` gets every `ranks`-th row. What needs the most memory comes first, to fail at once.
    """
    first, shared = alike(rows)
    lengths, families, saved = rows.length.tolist(), first.tolist(), shared.tolist()
    longest = _per_group(rows.length, first, "amax").tolist()
    order = sorted(range(len(lengths)), key=lambda r: (-longest[r], families[r], r != families[r], -lengths[r], r))
    members, tokens, trunk = [], 0, -1
    for r in order[rank::ranks]:
        beside = bool(members) and families[trunk] == families[r]
        new = lengths[r] - (min(saved[r], saved[trunk]) if beside else 0)
        if members and tokens + new > max_tokens:
            yield _pack(rows, members, first, shared)
            members, tokens, new, beside = [], 0, lengths[r], False
        trunk = trunk if beside else r
        members.append(r)
        tokens += new
    if members:
        yield _pack(rows, members, first, shared)


def alike(rows: Rows) -> tuple[Tensor, Tensor]:
    """[B] the first row of each row's group, and [B] the tokens with which the row and that one begin."""
    _, group = rows.group.unique(return_inverse=True)
    first = _per_group(torch.arange(len(rows), device=group.device), group, "amin")
    same = (rows.ids == rows.ids[first]) & rows.valid & rows.valid[first]
    return first, same.long().cumprod(1).sum(1)


def _per_group(values: Tensor, group: Tensor, least_or_most: str) -> Tensor:
    """[B] the least ("amin") or the most ("amax") of the values [B] in each row's group, numbered below B."""
    return values.new_zeros(len(values)).scatter_reduce(0, group, values, least_or_most, include_self=False)[group]


def _pack(rows: Rows, members: list[int], first: Tensor, shared: Tensor) -> Packed:
    families = first[members].tolist()
    row = torch.tensor(members, device=rows.ids.device)
    trunk = torch.tensor([families.index(f) for f in families], device=row.device)
    column = torch.arange(rows.ids.shape[1], device=row.device)
    valid = column < rows.length[row, None]
    common = column < torch.minimum(shared[row], shared[row[trunk]])[:, None]
    repeated = common & (trunk != torch.arange(len(members), device=row.device))[:, None]
    read = valid & ~repeated
    number = read.flatten().cumsum(0).unflatten(0, read.shape) - 1
    token = torch.where(common, number[trunk], number)
    column = column.expand_as(valid)
    return Packed(rows.ids[row][read], column[read], row[:, None].expand_as(valid)[valid], column[valid], token[valid])
