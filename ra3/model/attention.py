"""Attention over a slot cache: it repeats no keys and pads little.

transformers' own `sdpa` repeats the keys and values of a shared head once per query head as soon as a chunk has two
tokens and a mask, which costs more than the attention itself when the prefix is long; here the queries of such a group
are stacked instead. On a CPU rows that read about as many tokens and have read about as many are attended together,
some at a time; elsewhere all chunks are padded and attended at once. For float32 models on a CPU a layer is attended in
float64 once its scores are large: a token then scores the same alone, in a chunk and in a row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ra3.model.chunks import Chunks
from ra3.model.kv_cache import SlotLayer

LARGE_SCORE = 16.0
"""Bound on |q k| from which a layer is in float64: larger float32 scores move by 1e-6 with the order of summation."""


def slot_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """query [1,H,N,D] and keys [B,K,S,D] whose attribute `layer` is their `SlotLayer` -> ([1,N,H,D], None).

    As transformers' models call it. K divides H. Keys from elsewhere are attended by the library.
    """
    layer: SlotLayer | None = getattr(key, "layer", None)
    if layer is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    return attend(layer, query[0].transpose(0, 1), scale)[None], None


def attend(layer: SlotLayer, query: Tensor, scale: float) -> Tensor:
    """[N,H,D] queries of the tokens that are read, whose keys are written -> [N,H,D] in the format of the queries."""
    if layer.cache.narrow and not layer.precise:
        layer.precise = scale * float(query.norm(dim=-1).max()) * layer.longest_key > LARGE_SCORE
    attend = _together if query.device.type != "cpu" else _in_groups
    return attend(layer, query.to(torch.float64 if layer.precise else layer.states.dtype), scale).to(query.dtype)


def _in_groups(layer: SlotLayer, query: Tensor, scale: float) -> Tensor:
    """[N,H,D] -> [N,H,D], group by group."""
    out = torch.empty_like(query)
    for group in layer.cache.groups:
        keys, values = layer.gathered(group)
        own = query[group.tokens].unflatten(0, (-1, group.chunk)).transpose(1, 2)
        mask = None if group.mask is None else group.mask.to(query.dtype)
        out[group.at] = _stacked(own, keys, values, mask, scale).transpose(1, 2).flatten(0, 1)[group.own]
    return out


def _together(layer: SlotLayer, query: Tensor, scale: float) -> Tensor:
    """[N,H,D] -> [N,H,D], all chunks at once, padded to the longest."""
    chunks = layer.chunks
    keys, values = layer.seen(_of_rows(layer.states, chunks, layer.cache.end))
    out = _stacked(query[chunks.padded].transpose(1, 2), keys, values, chunks.seen_padded, scale)
    return out.transpose(1, 2).flatten(0, 1)[chunks.unpadded]


def _of_rows(states: Tensor, chunks: Chunks, end: int) -> Tensor:
    in_order = chunks.row_of.tolist() == list(range(len(states)))
    return states[:, :end] if in_order else states[torch.from_numpy(chunks.row_of).to(states.device), :end]


def _stacked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """[R,H,C,D]: the H / K query heads that share a key head are stacked along the query positions; mask [...,C,S]."""
    num_rows, num_heads, chunk, size = query.shape
    shared = num_heads // key.shape[1]
    visible = mask if mask is None or shared == 1 or chunk == 1 else torch.cat([mask] * shared, -2)
    together = query.reshape(num_rows, key.shape[1], -1, size)
    out = scaled_dot_product_attention(together, key, value, attn_mask=visible, scale=scale)
    return out.reshape(num_rows, num_heads, chunk, -1)
