"""Attention over a slot cache, as transformers' models call it: it repeats no keys and gathers no rows.

transformers' own `sdpa` repeats the keys and values of a shared head once per query head as soon as a chunk has two
tokens and a mask, which costs more than the attention itself when the prefix is long; here the queries of such a group
are stacked instead. On a CPU, rows that run without the others are attended one by one, each to what it has read, and
a single token needs no mask. For float32 models on a CPU, training is in float64, and so is a layer of the cache unless
its scores are small: a token then scores the same alone, in a chunk and in a row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from ra3.kv_cache import SlotLayer

SLOTS = "ra3_slots"
"""What `set_attn_implementation` knows this attention by."""

LARGE_SCORE = 16.0
"""Bound on |q k| from which a layer is in float64: larger float32 scores move by 1e-6 with the order of summation."""


def slot_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """query [B',H,C,D], key and value [B,K,S,D], mask bool -> ([B',C,H,D], None), K dividing H.

    A key from a cache on the CPU names its layer in the attribute `layer`; B may then exceed B', and the mask is that
    of the cache's plan. Otherwise B = B' and the mask is [B',1,C,S].
    """
    if attention_mask is None or kwargs.get("position_bias") is not None or kwargs.get("softcap") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    if (layer := getattr(key, "layer", None)) is not None:
        out = _cached(layer, query, attention_mask, scale)
    elif query.dtype == torch.float32 and query.device.type == "cpu":
        out = _stacked(query.double(), key.double(), value.double(), attention_mask, scale)
    else:
        out = _stacked(query, key, value, attention_mask, scale)
    return out.to(query.dtype).transpose(1, 2).contiguous(), None


def _cached(layer: SlotLayer, query: Tensor, mask: Tensor, scale: float) -> Tensor:
    """[B',H,C,D]: all rows at once, or some of them one by one, each over the slots that it has read."""
    assert layer.keys is not None and layer.values is not None
    if not layer.precise:
        large = scale * float(query.norm(dim=-1).max()) * layer.longest_key > LARGE_SCORE
        if large or layer.precise is None:
            layer.hold(precise=large)
    plan = layer.plan
    query, key, value = query.to(layer.keys.dtype), layer.keys[:, :, : plan.end], layer.values[:, :, : plan.end]
    if plan.covers_all:
        return _stacked(query, key, value, mask, scale)
    parts = [
        _stacked(q[None], key[r, None, :, :end], value[r, None, :, :end], m[None, ..., : end - plan.shared], scale)
        for q, m, (r, end) in zip(query, mask, plan.ends(), strict=True)
    ]
    return torch.cat(parts)


def _stacked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """[B,H,C,D]: the H / K query heads that share a key head are stacked along the query positions.

    `mask` [B,1,C,M] is that of the last M slots; the slots before them are seen by all.
    """
    (num_rows, num_heads, chunk, size), (num_key_heads, num_slots) = query.shape, key.shape[1:3]
    together = query.reshape(num_rows, num_key_heads, -1, size)
    visible = None
    if mask.shape[-1]:
        whole = pad(mask, (num_slots - mask.shape[-1], 0), value=True)
        visible = whole if num_heads == num_key_heads else whole.repeat(1, 1, num_heads // num_key_heads, 1)
    out = scaled_dot_product_attention(together, key, value, attn_mask=visible, scale=scale)
    return out.reshape(num_rows, num_heads, chunk, -1)


AttentionInterface.register(SLOTS, slot_attention)
AttentionMaskInterface.register(SLOTS, sdpa_mask)
