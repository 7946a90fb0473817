"""Attention for training and scoring: rows lie one after the other in a flat sequence, and each sees itself alone.

The layers of a model work token by token, so that they need no padding; only attention knows of rows. There, rows of
about equal length are stacked, padded at their ends, and attended causally: no mask is needed, and the cost is the sum
of the squared lengths of the rows, whatever they share a micro-batch with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from ra3.model.attention import slot_attention
from ra3.model.projections import EXACT

ROWS = "ra3_rows"
"""What `set_attn_implementation` knows this attention by."""

SHORTEST_IN_STACK = 0.8
"""A stack holds rows of at least this share of its longest row's length."""


@dataclass(frozen=True)
class RowLayout:
    """Which of N tokens the rows are made of, and how they are stacked in M slots; several rows may share a token."""

    stacks: tuple[tuple[int, int], ...]
    """(rows R, length T) of every stack: R * T slots, row after row."""
    token: Tensor
    """[M] the token in each slot; padding repeats the row's last token."""
    slot: Tensor
    """[N] the first slot of every token, which is not padding."""

    @classmethod
    def of(cls, positions: Tensor, owner: Tensor | None = None) -> RowLayout:
        """Positions that restart at 0 with every row, read row after row; `owner`, of the same shape, says which token
        stands at each, in order if it is not given."""
        flat = positions.flatten()
        owner = torch.arange(len(flat), device=flat.device) if owner is None else owner.flatten()
        start = (flat == 0).nonzero()[:, 0]
        length = torch.diff(start, append=start.new_tensor([len(flat)]))
        shapes, tokens, real = [], [], []
        for rows, width in _alike(length.tolist()):
            first, own = (x[torch.tensor(rows, device=flat.device)][:, None] for x in (start, length))
            column = torch.arange(width, device=flat.device)
            shapes.append((len(rows), width))
            tokens.append((first + torch.minimum(column, own - 1)).flatten())
            real.append((column < own).flatten())
        token, used = owner[torch.cat(tokens)], torch.cat(real).nonzero()[:, 0]
        slot = used.new_empty(int(owner.max()) + 1)
        slot.scatter_reduce_(0, token[used], used, "amin", include_self=False)
        return cls(tuple(shapes), token, slot)

    def mask(self) -> Tensor:
        """What tells attention of this layout: a mask that masks nothing and carries the layout as `rows`."""
        mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=self.slot.device)
        mask.rows = self  # pyright: ignore[reportAttributeAccessIssue]
        return mask


def row_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """query [B,H,C,D], key and value [B,K,C,D] -> ([B,C,H,D], None). Without a layout on the mask: `slot_attention`.

    In exact passes float32 on a CPU becomes float64: tokens must score as they did when they were sampled.
    """
    layout: RowLayout | None = getattr(attention_mask, "rows", None)
    if layout is None:
        return slot_attention(module, query, key, value, attention_mask, **kwargs)
    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    wide = EXACT.get() and next(module.parameters()).dtype == torch.float32 and query.device.type == "cpu"
    slots = [_placed(x.transpose(1, 2).flatten(0, 1), layout) for x in (query, key, value)]
    sizes, parts = [rows * width for rows, width in layout.stacks], []
    for (rows, _), *own in zip(layout.stacks, *(x.split(sizes) for x in slots), strict=True):
        q, k, v = (x.unflatten(0, (rows, -1)).transpose(1, 2) for x in own)
        out = _Wide.apply(q, k, v, scale) if wide else _causal(q, k, v, scale)
        parts.append(out.transpose(1, 2).flatten(0, 1))
    flat = _Taken.apply(torch.cat(parts).to(query.dtype), layout)
    return flat.unflatten(0, (query.shape[0], -1)), None


def _alike(length: list[int]) -> list[tuple[list[int], int]]:
    """(rows, longest length) of every stack, longest first."""
    stacks: list[tuple[list[int], int]] = []
    for row in sorted(range(len(length)), key=lambda r: (-length[r], r)):
        if not stacks or length[row] < SHORTEST_IN_STACK * stacks[-1][1]:
            stacks.append(([], length[row]))
        stacks[-1][0].append(row)
    return stacks


def _causal(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """[R,H,T,D], of R rows every token sees those up to itself."""
    grouped = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale, enable_gqa=grouped)


class _Wide(torch.autograd.Function):
    """`_causal` in float64 of keys and values in float32, as a cache holds them (kv_cache.py); its gradients in
    float32, from a second pass in float32."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        key, value = key.float(), value.float()
        ctx.save_for_backward(query.float(), key, value)
        ctx.scale = scale
        return _causal(query.double(), key.double(), value.double(), scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            query, key, value = narrow = [x.detach().requires_grad_() for x in ctx.saved_tensors]
            out = _causal(query, key, value, ctx.scale)
        return *torch.autograd.grad(out, narrow, gradients[0].float()), None


def _placed(tokens: Tensor, layout: RowLayout) -> Tensor:
    """[N,H,D] tokens -> [M,H,D] slots; a token's gradient is the sum over its slots."""
    return embedding(layout.token, tokens.flatten(1)).unflatten(1, tokens.shape[1:])


class _Taken(torch.autograd.Function):
    """[M,...] slots -> [N,...] tokens; the gradient of padding is zero."""

    @staticmethod
    def forward(ctx: Any, slots: Tensor, layout: RowLayout) -> Tensor:
        ctx.layout = layout
        return slots.index_select(0, layout.slot)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        slots = gradient.new_zeros(len(ctx.layout.token), *gradient.shape[1:])
        return slots.index_copy_(0, ctx.layout.slot, gradient), None


AttentionInterface.register(ROWS, row_attention)
AttentionMaskInterface.register(ROWS, sdpa_mask)
