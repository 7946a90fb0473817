"""Lanes: L fixed shares of a step's work, whatever the number W of ranks that do it (W divides L, both powers of two).

A lane is sampled, scored and differentiated as one; what lanes give is added in one binary tree, pass by pass:

    g = sum_m tree_l g_ml        tree(a, b, c, d) = (a + b) + (c + d)        m: pass of a lane, l: lane

Each rank does L / W lanes that lie side by side, a subtree. Sums of floating-point numbers depend on their order, and
what a pass gives on what is in it; so L belongs to a run's settings, and W changes not one bit. With L = 1 every rank
would do everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from ra3 import ranks
from ra3.rows import Rows, concatenate

T = TypeVar("T")
BUCKET = 2**25
"""Numbers that ranks add up at once: 128 MiB in float32."""


def own_lanes(lanes: int) -> range:
    """The lanes of this rank; of one lane, every rank's own."""
    if lanes == 1:
        return range(1)
    size = lanes // ranks.count()
    return range(size * ranks.rank(), size * (ranks.rank() + 1))


def by_lane(lanes: int, count: int, work: Callable[[list[int]], T]) -> list[tuple[list[int], T]]:
    """Deals items 0 .. count - 1 to the lanes in turn and does `work` on those of this rank. Returns the items and the
    result of every lane that has any, on every rank."""
    dealt = [list(range(lane, count, lanes)) for lane in range(lanes)]
    mine = {lane: work(dealt[lane]) for lane in own_lanes(lanes) if dealt[lane]}
    if lanes > 1:
        mine = {lane: result for own in ranks.from_all(mine) for lane, result in own.items()}
    return [(dealt[lane], result) for lane, result in sorted(mine.items())]


def rows_by_lane(lanes: int, groups: int, work: Callable[[list[int]], Rows]) -> Rows:
    """The rows of groups 0 .. groups - 1 in their order, where `work` makes those of some, numbered from 0."""
    if lanes == 1:
        return work(list(range(groups)))
    return in_order([replace(rows, group=torch.tensor(own)[rows.group]) for own, rows in by_lane(lanes, groups, work)])


def in_order(parts: Iterable[Rows]) -> Rows:
    """The rows of several lanes, group by group."""
    rows = concatenate(list(parts))
    return rows.select(rows.group.argsort(stable=True))


def add_up(values: Tensor, lanes: int) -> Tensor:
    """Adds up, in place, numbers of which each lane knows its own and has 0 for the others."""
    return ranks.add_up(values) if lanes > 1 else values


class LaneGradients:
    """The gradients of a step: takes what a pass of a lane left in the parameters, and puts back the sum of all.

    With one lane nothing is taken: backward passes add up by themselves.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lanes: int):
        self._parameters = [p for p in parameters if p.requires_grad] if lanes > 1 else []
        self._lanes, self._taken = len(own_lanes(lanes)), 0
        self._subtrees: dict[int, list[Tensor]] = {}
        """The sum of each subtree of this rank's lanes that is finished, by its height."""
        self._total: list[Tensor] = []

    def take(self) -> None:
        """Takes the gradient of the next lane's pass, or 0. After that of its last lane, all ranks add up theirs."""
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters]
        height = 0
        while left := self._subtrees.pop(height, None):
            found, height = [a.add_(b) for a, b in zip(left, found, strict=True)], height + 1
        self._subtrees[height] = found
        for p in self._parameters:
            p.grad = None
        self._taken += 1
        if self._taken % self._lanes == 0:
            self._end_pass(*self._subtrees.values())
            self._subtrees.clear()

    def _end_pass(self, found: list[Tensor]) -> None:
        for bucket in _buckets(found) if ranks.count() > 1 else ():
            flat, sizes = ranks.add_in_tree(torch.cat([g.flatten() for g in bucket])), [g.numel() for g in bucket]
            for g, values in zip(bucket, flat.split(sizes), strict=True):
                g.copy_(values.view_as(g))
        self._total = [a.add_(b) for a, b in zip(self._total, found, strict=True)] if self._total else found

    def put_back(self) -> None:
        """Puts the sum into the parameters."""
        for p, g in zip(self._parameters, self._total, strict=bool(self._total)):
            p.grad = g


def _buckets(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    """The gradients in runs of about BUCKET numbers."""
    bucket, size = [], 0
    for g in gradients:
        bucket.append(g)
        size += g.numel()
        if size >= BUCKET:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket
