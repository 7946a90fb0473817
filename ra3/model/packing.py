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


@dataclass(frozen=True)
class Plan:
    """Which rows are read together, by lane and pass. Every lane has whole groups."""

    rows: Rows
    lanes: list[list[list[int]]]
    """[lane][pass] -> rows."""
    first: Tensor
    shared: Tensor
    """[B], as of `alike`."""

    @classmethod
    def of(cls, rows: Rows, max_tokens: int, lanes: int = 1) -> Plan:
        """Packs all rows, longest first but group by group, at most `max_tokens` tokens to read at once, or a longer
        row. Groups go to the lanes in turn. What needs the most memory comes first, to fail at once."""
        first, shared = alike(rows)
        lengths, families, saved = rows.length.tolist(), first.tolist(), shared.tolist()
        longest = _per_group(rows.length, first, "amax").tolist()
        order = sorted(range(len(lengths)), key=lambda r: (-longest[r], families[r], r != families[r], -lengths[r], r))
        turn = {family: number % lanes for number, family in enumerate(dict.fromkeys(families[r] for r in order))}
        plan: list[list[list[int]]] = [[] for _ in range(lanes)]
        tokens, trunk = [0] * lanes, [-1] * lanes
        for r in order:
            lane = turn[families[r]]
            passes, beside = plan[lane], bool(plan[lane]) and families[trunk[lane]] == families[r]
            new = lengths[r] - (min(saved[r], saved[trunk[lane]]) if beside else 0)
            if not passes or tokens[lane] + new > max_tokens:
                passes.append([])
                tokens[lane], new, beside = 0, lengths[r], False
            trunk[lane] = trunk[lane] if beside else r
            passes[-1].append(r)
            tokens[lane] += new
        return cls(rows, plan, first, shared)

    @property
    def passes(self) -> int:
        """Passes of the lane that has the most."""
        return max(map(len, self.lanes))

    def packed(self, lane: int, number: int) -> Packed | None:
        """What a lane reads in this pass; None where it has fewer."""
        own = self.lanes[lane]
        return _pack(self.rows, own[number], self.first, self.shared) if number < len(own) else None


def micro_batches(rows: Rows, max_tokens: int) -> Iterator[Packed]:
    """All rows in the passes of one lane."""
    plan = Plan.of(rows, max_tokens)
    for members in plan.lanes[0]:
        yield _pack(rows, members, plan.first, plan.shared)


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
