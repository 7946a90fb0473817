"""Attention of float32 models on a CPU in float64 from its projections on, in every exact pass.

A score q k of 92 moves by 1e-5 when the last bit of q or k moves, and in float32 that bit depends on how many tokens
share the matrix product; so the same token would score differently alone, in a chunk and in a row. Passes that need not
be exact, over text in which nothing was chosen, stay in float32. So do gradients: they need not repeat to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear
from torch.nn.functional import linear

INTO, OUT_OF = ("q_proj", "k_proj", "v_proj"), "o_proj"
"""What most architectures call the projections of an attention layer; others keep their own."""


EXACT: ContextVar[bool] = ContextVar("exact pass", default=True)
"""Whether the pass under way must score tokens as when they were sampled."""


@contextmanager
def exactly(exact: bool) -> Iterator[None]:
    """Passes inside are exact or not."""
    token = EXACT.set(exact)
    try:
        yield
    finally:
        EXACT.reset(token)


class WideLinear(Linear):
    """A linear layer with float32 weights that computes, and answers, in float64 where the pass is exact."""

    def forward(self, input: Tensor) -> Tensor:
        """[...,D] -> [...,E] in float64, or in float32."""
        if not EXACT.get():
            return super().forward(input)
        return _WideProduct.apply(input, self.weight, self.bias)


class _WideProduct(torch.autograd.Function):
    """x W^T + b in float64; its gradients in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return linear(x.double(), weight.double(), None if bias is None else bias.double())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].to(weight.dtype)
        flat, (for_x, for_weight, for_bias) = gradient.flatten(0, -2), ctx.needs_input_grad
        return (
            gradient @ weight if for_x else None,
            flat.T @ x.flatten(0, -2) if for_weight else None,
            flat.sum(0) if for_bias else None,
        )


class NarrowLinear(Linear):
    """A linear layer that takes what is wider than its weights."""

    def forward(self, input: Tensor) -> Tensor:
        """[...,D] -> [...,E] in the format of the weights."""
        return linear(input.to(self.weight.dtype), self.weight, self.bias)


def widen_attention(model: Any) -> None:
    """From now on the layers of `model` attend in float64, with the weights that they have."""
    for layer in model.modules():
        if all(type(getattr(layer, name, None)) is Linear for name in (*INTO, OUT_OF)):
            for name in INTO:
                getattr(layer, name).__class__ = WideLinear
            getattr(layer, OUT_OF).__class__ = NarrowLinear
