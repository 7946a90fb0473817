"""Programs that go on from the beginning of another: what a state is worth, trees of programs, new starts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ra3.model.policy import Policy
from ra3.rl.solve import GradedPrograms, SolveProblems

Start = tuple[int, int]
"""(row, how many of its tokens are kept)."""
AT_ONCE = 512
"""About so many continuations are sampled and graded together."""


def continued(
    task: SolveProblems, policy: Policy, programs: GradedPrograms, starts: Sequence[Start], samples: int, *place: object
) -> GradedPrograms:
    """`samples` programs from each start, which have together with what they begin with as many tokens as any. Their
    groups are the starts, by number; what they begin with is context to them."""
    parts, size = [], max(1, AT_ONCE // samples)
    for first in range(0, len(starts), size):
        few = starts[first : first + size]
        items = [programs.items[int(programs.rows.group[r])] for r, _ in few]
        begun = [programs.rows.ids[r, programs.rows.action_mask[r]][:kept].tolist() for r, kept in few]
        parts.append(task.attempt(policy, items, *place, first, samples=samples, begun=begun))
    return GradedPrograms.join(parts)


def segment_starts(segment: Tensor, chosen: Tensor) -> list[Start]:
    """Where segments [B,T] begin, but for the first of each row."""
    numbers = [own[mask].tolist() for own, mask in zip(segment, chosen, strict=True)]
    return [(r, t) for r, own in enumerate(numbers) for t in range(1, len(own)) if own[t] != own[t - 1]]


def segment_gains(segment: Tensor, chosen: Tensor, worth: dict[Start, float], begin: Tensor, end: Tensor) -> Tensor:
    """[B,T] what the segment of a token adds, from worth `begin` [B] of a row over those of its starts to `end` [B]."""
    values = [[float(begin[r])] for r in range(len(begin))]
    for (r, _), value in sorted(worth.items()):
        values[r].append(value)
    gains = torch.zeros(segment.shape)
    for r, own in enumerate(values):
        added = torch.tensor([*own[1:], float(end[r])]) - torch.tensor(own)
        gains[r, chosen[r]] = added[segment[r, chosen[r]]]
    return gains
