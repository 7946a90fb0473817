"""The output head while learning: its weight's gradient is added up where it lies.

A head of V words and width D takes a few tokens at a time, so that logits [n,V] need little room. Autograd would make a
gradient [V,D] for each such part and add it to the last, which for a large vocabulary costs more memory than the logits
and about as much time as computing it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


def logits_of(head: nn.Module, hidden: Tensor) -> Tensor:
    """[n,D] -> [n,V]. What is no plain float linear layer with a gradient of its own is simply called."""
    plain = type(head) is nn.Linear and head.bias is None and head.weight.requires_grad and not head._backward_hooks
    narrow = torch.is_autocast_enabled(hidden.device.type) or hidden.dtype != getattr(head, "weight", hidden).dtype
    if not plain or narrow or not hidden.requires_grad or head._forward_hooks:
        return head(hidden)
    return _InPlace.apply(hidden, head)


class _InPlace(torch.autograd.Function):
    """h W^T, whose backward pass adds to W.grad by itself."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: nn.Linear) -> Tensor:
        ctx.save_for_backward(hidden)
        ctx.head = head
        return linear(hidden, head.weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,), (hidden,), weight = gradients, ctx.saved_tensors, ctx.head.weight
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        weight.grad.addmm_(gradient.T, hidden)
        return gradient @ weight, None
