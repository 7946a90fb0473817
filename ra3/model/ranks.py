"""Data-parallel ranks: each knows the rows of the whole step, computes its share of the micro-batches, and all add up.

Denominators are those of the whole step on every rank, so gradients, losses and scores are plain sums over ranks. Every
rank then takes the same optimiser step. A process that joined no torch.distributed group is the only rank.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, distributed


def rank_and_count() -> tuple[int, int]:
    """(number of this rank, ranks in all)."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum of `values` over all ranks, in place; every rank must call it."""
    if rank_and_count()[1] > 1:
        distributed.all_reduce(values)
    return values


def sum_gradients(parameters: Iterable[Tensor]) -> None:
    """Adds up the gradients of all ranks; a rank that computed none counts as zero."""
    if rank_and_count()[1] == 1:
        return
    for parameter in parameters:
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            sum_over_ranks(parameter.grad)
