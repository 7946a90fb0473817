"""Products of float32 matrices by oneDNN, on processors where those of torch are slow.

torch multiplies float32 matrices by MKL, which has no kernels with AVX-512 for processors of other makers than Intel.
oneDNN, which torch brings along for other formats, has: on an AMD EPYC it is twice as fast (docs/performance.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

LEAST = 192
"""Rows and columns that a matrix has for it to be worth it: for small ones finding the kernel takes longer."""


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """[M,K], [N,K] -> [M,N], a b^T + bias, without gradient."""
    return torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")


class OneDnnLinear(nn.Linear):
    """A linear layer whose products are oneDNN's where all are float32."""

    def forward(self, input: Tensor) -> Tensor:
        """[...,K] -> [...,N], x W^T + bias."""
        plain = input.dtype == self.weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        return _Product.apply(input, self.weight, self.bias) if plain else super().forward(input)


class _Product(torch.autograd.Function):
    """y = x W^T + b:  dL/dx = g W,  dL/dW = g^T x,  dL/db = sum g."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x.flatten(0, -2), weight, bias).unflatten(0, x.shape[:-1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), g = ctx.saved_tensors, gradients[0].flatten(0, -2)
        of_input, of_weight, of_bias = ctx.needs_input_grad
        return (
            product(g, weight.T).view_as(x) if of_input else None,
            product(g.T, x.flatten(0, -2).T) if of_weight else None,
            g.sum(0) if of_bias else None,
        )


def take_fast_products(model: nn.Module) -> None:
    """Has the model's large linear layers multiply by oneDNN, if it is on a CPU where that is faster."""
    if next(model.parameters()).device.type == "cpu" and onednn_is_faster():
        for module in model.modules():
            if type(module) is nn.Linear and min(module.weight.shape) >= LEAST:
                module.__class__ = OneDnnLinear


def onednn_is_faster() -> bool:
    """Whether this is a processor with AVX-512 that MKL does not know, and oneDNN is there."""
    info = Path("/proc/cpuinfo")
    maker = info.read_text() if info.is_file() else "GenuineIntel"
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return wide and "GenuineIntel" not in maker and torch.backends.mkldnn.is_available()
