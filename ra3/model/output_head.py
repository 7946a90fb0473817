"""Word embeddings and the output head while learning: the gradient of their weights is added up where it lies.

A head of V words and width D takes a few tokens at a time, so that logits [n,V] need little room. Autograd would make a
gradient [V,D] for each such part and add it to the last, which for a large vocabulary costs more memory than the logits
and about as much time as computing it. It would make another one for the embedding of a few hundred words.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear


def logits_of(head: nn.Module, hidden: Tensor) -> Tensor:
    """[n,D] -> [n,V]. What is no plain float linear layer with a gradient of its own is simply called."""
    plain = type(head) is nn.Linear and head.bias is None and _may_add(head)
    narrow = torch.is_autocast_enabled(hidden.device.type) or hidden.dtype != getattr(head, "weight", hidden).dtype
    if not plain or narrow or not hidden.requires_grad:
        return head(hidden)
    return _Logits.apply(hidden, head)


def embedded(words: nn.Module, ids: Tensor) -> Tensor:
    """[B,C] -> [B,C,D]. What is no plain table with a gradient of its own is simply called."""
    if type(words) is nn.Embedding and not words.sparse and words.max_norm is None and _may_add(words):
        return _Embedded.apply(words.weight, ids, words)
    return words(ids)


def _may_add(module: Any) -> bool:
    return module.weight.requires_grad and not module._backward_hooks and not module._forward_hooks


def _gradient(weight: Tensor) -> Tensor:
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    return weight.grad


class _Logits(torch.autograd.Function):
    """h W^T, whose backward pass adds to W.grad by itself."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: nn.Linear) -> Tensor:
        ctx.save_for_backward(hidden)
        ctx.head = head
        return linear(hidden, head.weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,), (hidden,), weight = gradients, ctx.saved_tensors, ctx.head.weight
        _gradient(weight).addmm_(gradient.T, hidden)
        return gradient @ weight, None


class _Embedded(torch.autograd.Function):
    """Rows of W, whose backward pass adds to those rows of W.grad by itself."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, words: nn.Embedding) -> Tensor:
        ctx.ids, ctx.words = ids, words
        return embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None]:
        seen, place = ctx.ids.flatten().unique(return_inverse=True)
        padding, (gradient,) = ctx.words.padding_idx, gradients
        own = torch.ops.aten.embedding_dense_backward(gradient.flatten(0, -2), place, len(seen), -1, False)
        if padding is not None:
            own[seen == padding] = 0
        _gradient(ctx.words.weight)[seen] += own
        return None, None, None
