"""Attention of float32 models on a CPU in float64 from its projections on, in every pass.

A score q k of 92 moves by 1e-5 when the last bit of q or k moves, and in float32 that bit depends on how many tokens
share the matrix product; so the same token would score differently alone, in a chunk and in a row.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import Linear
from torch.nn.functional import linear

INTO, OUT_OF = ("q_proj", "k_proj", "v_proj"), "o_proj"
"""What most architectures call the projections of an attention layer; others keep their own."""


class WideLinear(Linear):
    """A linear layer with float32 weights that computes, and answers, in float64."""

    def forward(self, input: Tensor) -> Tensor:
        """[...,D] -> [...,E] float64."""
        bias = None if self.bias is None else self.bias.double()
        return linear(input.double(), self.weight.double(), bias)


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
