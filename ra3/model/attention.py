"""Attention of every pass: training and scoring read rows as a whole, sampling reads chunks over a slot cache.

`set_attn_implementation(ATTENTION)` puts both into a Hugging Face model; which one a layer takes depends on what came
with the call. The layers of a model work token by token and need no padding; only attention knows of rows.

- **Rows** lie one after the other in a flat sequence, and each sees itself alone. Rows of about equal length are
  stacked, padded at their ends, and attended causally, without a mask: the cost is the sum of their squared lengths.
- **Chunks** see the slots of their row. transformers' own `sdpa` repeats the keys and values of a shared head once per
  query head as soon as a chunk has two tokens and a mask, which costs more than the attention itself when the prefix is
  long; here the queries of such a group are stacked instead. Which chunks one call serves: `ForwardBatch.groups`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from ra3.model.kv_cache import SlotLayer

ATTENTION = "ra3"
"""What `set_attn_implementation` knows this attention by."""
SHORTEST_IN_STACK = 0.8
"""A stack holds rows of at least this share of its longest row's length."""


def attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """query [B,H,C,D], key and value [B,K,S,D] -> ([B,C,H,D], None), as transformers' models call it; K divides H.

    A mask, the only argument that every architecture hands down, carries a `RowLayout` (`row_layout`) for rows; keys
    carry their `SlotLayer` (`layer`) for chunks over a cache; anything else is left to the library.
    """
    layout: RowLayout | None = getattr(attention_mask, "row_layout", None)
    layer: SlotLayer | None = getattr(key, "layer", None)
    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    if layout is not None:
        q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in (query, key, value))
        return row_attention(q, k, v, layout, scale).unflatten(0, (query.shape[0], -1)), None
    if layer is not None:
        return cache_attention(layer, query[0].transpose(0, 1), scale)[None], None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


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
        """Reads the rows off positions that restart at 0 with every row; `owner`, of the same shape, says which token
        stands at each, in order if it is not given."""
        flat = positions.flatten()
        owner = torch.arange(len(flat), device=flat.device) if owner is None else owner.flatten()
        start = (flat == 0).nonzero()[:, 0]
        length = torch.diff(start, append=start.new_tensor([len(flat)]))
        shapes, tokens, real = [], [], []
        for rows, width in _stacks(length.tolist()):
            first, own = (x[torch.tensor(rows, device=flat.device)][:, None] for x in (start, length))
            column = torch.arange(width, device=flat.device)
            shapes.append((len(rows), width))
            tokens.append((first + torch.minimum(column, own - 1)).flatten())
            real.append((column < own).flatten())
        token, used = owner[torch.cat(tokens)], torch.cat(real).nonzero()[:, 0]
        slot = used.new_empty(int(owner.max()) + 1)
        slot.scatter_reduce_(0, token[used], used, "amin", include_self=False)
        return cls(tuple(shapes), token, slot)


def row_attention(query: Tensor, key: Tensor, value: Tensor, layout: RowLayout, scale: float) -> Tensor:
    """query [N,H,D], key and value [N,K,D] of the tokens of a layout's rows -> [N,H,D]."""
    slots = [embedding(layout.token, x.flatten(1)).unflatten(1, x.shape[1:]) for x in (query, key, value)]
    sizes, parts = [rows * width for rows, width in layout.stacks], []
    for (rows, _), *own in zip(layout.stacks, *(x.split(sizes) for x in slots), strict=True):
        q, k, v = (x.unflatten(0, (rows, -1)).transpose(1, 2) for x in own)
        grouped = q.shape[1] != k.shape[1]
        out = scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=grouped)
        parts.append(out.transpose(1, 2).flatten(0, 1))
    out = torch.cat(parts)
    return embedding(layout.slot, out.flatten(1)).unflatten(1, out.shape[1:])


def _stacks(length: list[int]) -> list[tuple[list[int], int]]:
    """(rows, longest length) of every stack, longest first."""
    stacks: list[tuple[list[int], int]] = []
    for row in sorted(range(len(length)), key=lambda r: (-length[r], r)):
        if not stacks or length[row] < SHORTEST_IN_STACK * stacks[-1][1]:
            stacks.append(([], length[row]))
        stacks[-1][0].append(row)
    return stacks


def cache_attention(layer: SlotLayer, query: Tensor, scale: float) -> Tensor:
    """[N,H,D] queries of the tokens of a forward batch, whose keys are in the cache -> [N,H,D], group by group."""
    own = query.to(layer.states.dtype)
    out = query.new_empty(*query.shape[:2], layer.shapes[1][-1])
    for group in layer.cache.batch.groups:
        keys, values = layer.gather(group)
        q = own[group.tokens].unflatten(0, (-1, group.chunk)).transpose(1, 2)
        mask = group.mask if group.mask is None or group.mask.dtype == torch.bool else group.mask.to(q.dtype)
        out[group.places] = _stacked_heads(q, keys, values, mask, scale).transpose(1, 2).flatten(0, 1)[group.real]
    return out


def _stacked_heads(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """[R,H,C,D]: the H / K query heads that share a key head are stacked along the query positions; mask [...,C,S]."""
    num_rows, num_heads, chunk, size = query.shape
    shared = num_heads // key.shape[1]
    visible = mask if mask is None or shared == 1 or chunk == 1 else torch.cat([mask] * shared, -2)
    together = query.reshape(num_rows, key.shape[1], -1, size)
    out = scaled_dot_product_attention(together, key, value, attn_mask=visible, scale=scale)
    return out.reshape(num_rows, num_heads, chunk, -1).to(query.dtype)  # autocast has made it bfloat16
