"""Attention over a slot cache, as transformers' models call it: it repeats no keys and pads no chunks on a CPU.

transformers' own `sdpa` repeats the keys and values of a shared head once per query head as soon as a chunk has two
tokens and a mask, which costs more than the attention itself when the prefix is long; here the queries of such a group
are stacked instead. On a CPU each row's chunk is attended by itself, to what the row has read; elsewhere, and where all
rows read equally much, chunks are padded and attended together. For float32 models on a CPU, a layer of the cache is in
float64 unless its scores are small: a token then scores the same alone, in a chunk and in a row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ra3.kv_cache import Chunks, SlotLayer

LARGE_SCORE = 16.0
"""Bound on |q k| from which a layer is in float64: larger float32 scores move by 1e-6 with the order of summation."""


def slot_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """query [1,H,N,D] and keys [B,K,S,D] whose attribute `layer` is their `SlotLayer` -> ([1,N,H,D], None).

    K divides H. Keys from elsewhere are attended by the library.
    """
    layer: SlotLayer | None = getattr(key, "layer", None)
    if layer is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    _settle(layer, query, scale)
    assert layer.keys is not None
    even = layer.chunks.even and len(layer.chunks.rows) == layer.cache.num_rows
    attend = _together if even or query.device.type != "cpu" else _each
    out = attend(layer, query[0].to(layer.keys.dtype), scale)
    return out.to(query.dtype).transpose(0, 1)[None].contiguous(), None


def _settle(layer: SlotLayer, query: Tensor, scale: float) -> None:
    """Number format of the layer: after the first chunks by their scores, later only wider."""
    if not layer.precise:
        large = scale * float(query.norm(dim=-1).max()) * layer.longest_key > LARGE_SCORE
        if large or layer.precise is None:
            layer.hold(precise=large)


def _each(layer: SlotLayer, query: Tensor, scale: float) -> Tensor:
    """[H,N,D] -> [H,N,D], chunk by chunk."""
    assert layer.keys is not None and layer.values is not None
    chunks, parts = layer.chunks, []
    for row, (begin, after), end, mask in zip(chunks.rows, chunks.spans, chunks.ends, chunks.seen, strict=True):
        keys, values = layer.keys[row, None, :, :end], layer.values[row, None, :, :end]
        parts.append(_stacked(query[None, :, begin:after], keys, values, mask, scale)[0])
    return torch.cat(parts, 1)


def _together(layer: SlotLayer, query: Tensor, scale: float) -> Tensor:
    """[H,N,D] -> [H,N,D], all chunks at once, padded to the longest."""
    assert layer.keys is not None and layer.values is not None
    chunks, end = layer.chunks, layer.cache.end
    keys, values = _of_rows(layer.keys, chunks, end), _of_rows(layer.values, chunks, end)
    out = _stacked(query[:, chunks.padded].transpose(0, 1), keys, values, chunks.seen_padded, scale)
    return out.transpose(0, 1).flatten(1, 2)[:, chunks.unpadded]


def _of_rows(store: Tensor, chunks: Chunks, end: int) -> Tensor:
    in_order = list(chunks.rows) == list(range(len(store)))
    return store[:, :, :end] if in_order else store[torch.tensor(chunks.rows, device=store.device), :, :end]


def _stacked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """[R,H,C,D]: the H / K query heads that share a key head are stacked along the query positions; mask [...,C,S]."""
    num_rows, num_heads, chunk, size = query.shape
    shared = num_heads // key.shape[1]
    visible = mask if mask is None or shared == 1 else torch.cat([mask] * shared, -2)
    together = query.reshape(num_rows, key.shape[1], -1, size)
    out = scaled_dot_product_attention(together, key, value, attn_mask=visible, scale=scale)
    return out.reshape(num_rows, num_heads, chunk, -1)
