"""How the work of a step is divided: rows -> lanes -> passes, and the sum of what these give.

**Lanes** are L fixed shares of a step's work, whatever the number W of ranks that do it (W divides L, both powers of
two). A lane is sampled, scored and differentiated as one; what lanes give is added in one binary tree, pass by pass:

    g = sum_m tree_l g_ml        tree(a, b, c, d) = (a + b) + (c + d)        m: pass of a lane, l: lane

Each rank does L / W lanes that lie side by side, a subtree. Sums of floating-point numbers depend on their order, and
what a pass gives on what is in it; so L belongs to a run's settings, and W changes not one bit.

**A pass** reads several rows in one flat sequence, without padding, with exact positions for every token. Rows of a
group begin alike: with their prompt, or with a document up to where they branch off. What each shares with the first of
them is read once in each pass, as in sampling. A loss over a step's rows is a sum over tokens divided by a denominator
of the *whole* step, never of a pass, so it does not depend on how the rows were packed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from ra3 import ranks
from ra3.rows import Rows, concatenate

if TYPE_CHECKING:
    from ra3.model.policy import Policy

T = TypeVar("T")
BUCKET = 2**25
"""Numbers that ranks add up at once: 128 MiB in float32."""


def own_lanes(policy: Policy) -> range:
    """The lanes of this rank; of one lane, every rank's own. Where shares of the weights are gathered for each pass,
    ranks read neighbouring lanes at a time, else each has neighbours: the tree is the same."""
    if policy.lanes == 1:
        return range(1)
    lanes, rank, count = policy.lanes, ranks.rank(), ranks.count()
    return range(rank, lanes, count) if policy.is_sharded else range(lanes * rank // count, lanes * (rank + 1) // count)


def by_lane(policy: Policy, count: int, work: Callable[[list[int]], T]) -> list[tuple[list[int], T]]:
    """Deals items 0 .. count - 1 to the lanes in turn and does `work` on those of this rank. Returns the items and the
    result of every lane that has any, on every rank."""
    dealt = [list(range(lane, count, policy.lanes)) for lane in range(policy.lanes)]
    with policy.gathered():
        mine = {lane: work(dealt[lane]) for lane in own_lanes(policy) if dealt[lane]}
    found = {lane: result for own in ranks.from_all(mine) for lane, result in own.items()}
    return [(dealt[lane], found[lane]) for lane in sorted(found)]


def rows_by_lane(policy: Policy, groups: int, work: Callable[[list[int]], Rows]) -> Rows:
    """The rows of groups 0 .. groups - 1 in their order, where `work` makes those of some, numbered from 0."""
    found = by_lane(policy, groups, work)
    rows = concatenate([replace(rows, group=torch.tensor(own)[rows.group]) for own, rows in found])
    return rows.select(rows.group.argsort(stable=True))


def add_up(values: Tensor, lanes: int) -> Tensor:
    """Adds up, in place, numbers of which each lane knows its own and has 0 for the others."""
    return ranks.add_up(values) if lanes > 1 else values


class LaneGradients:
    """The gradients of a step: takes what a pass of a lane left in the parameters, and puts back the sum of all.

    With one lane nothing is taken: backward passes add up by themselves.
    """

    def __init__(self, policy: Policy):
        self._parameters = [p for p in policy.model.parameters() if p.requires_grad] if policy.lanes > 1 else []
        self._lanes, self._taken, self._is_sharded = len(own_lanes(policy)), 0, policy.is_sharded
        self._subtrees: dict[int, list[Tensor]] = {}
        """The sum of each subtree of this rank's lanes that is finished, by its height."""
        self._total: list[Tensor] = []

    def take(self) -> None:
        """Takes the gradient of the next lane's pass, or 0. After that of its last lane, all ranks add up theirs."""
        if not self._parameters:
            return
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
        for bucket in _buckets(found) if ranks.count() > 1 and not self._is_sharded else ():
            flat, sizes = ranks.add_in_tree(torch.cat([g.flatten() for g in bucket])), [g.numel() for g in bucket]
            for g, values in zip(bucket, flat.split(sizes), strict=True):
                g.copy_(values.view_as(g))
        self._total = [a.add_(b) for a, b in zip(self._total, found, strict=True)] if self._total else found

    def put_back(self) -> None:
        """Puts the sum into the parameters."""
        for p, g in zip(self._parameters, self._total, strict=bool(self._total)):
            p.grad = g


def clip_gradients(policy: Policy, most: float) -> float:
    """Scales the gradients down to the norm `most`; returns the norm that they had. With lanes squares are added in
    float64, row by row of each matrix, which shares of them can do, too."""
    parameters = [p for p in policy.model.parameters() if p.grad is not None]
    if policy.lanes == 1:
        return float(nn.utils.clip_grad_norm_(parameters, most))
    own = [_row_squares(local(p.grad)) for p in parameters]
    told = ranks.from_all(own) if policy.is_sharded else [own]
    norm = math.sqrt(sum(float(torch.cat(shares).sum()) for shares in zip(*told, strict=True)))
    if norm > most:
        for p in parameters:
            local(p.grad).mul_(most / (norm + 1e-6))
    return norm


def _row_squares(gradient: Tensor) -> Tensor:
    """[n] sums of the squares in each row of a matrix, on the CPU; of a vector the squares."""
    squares = gradient.double().square()
    return (squares.flatten(1).sum(1) if squares.dim() > 1 else squares).cpu()


def local(tensor: Any) -> Tensor:
    """This rank's share of a tensor that is spread over the ranks (a DTensor), or the whole of any other."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that is spread over the ranks, on the CPU of the first; the others, which must ask for it too,
    get nothing. Any other tensor is itself."""
    if not hasattr(tensor, "full_tensor"):
        return tensor
    found: Tensor = tensor.full_tensor()  # pyright: ignore[reportAttributeAccessIssue]
    return found.new_empty(0) if ranks.rank() else found.cpu()


def share_of(tensor: Any, like: Any) -> Any:
    """A saved or a whole tensor spread as `like` is; itself where it is spread, or `like` is something else."""
    if hasattr(tensor, "whole"):
        return tensor.like(like) if hasattr(like, "full_tensor") else tensor.whole()
    if hasattr(tensor, "full_tensor") or not hasattr(like, "full_tensor") or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


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
