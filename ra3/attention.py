"""Attention over a slot cache, as transformers' models call it: it repeats no keys and gathers no rows.

transformers' own `sdpa` repeats the keys and values of a shared head once per query head as soon as a chunk has two
tokens and a mask, which costs more than the attention itself when the prefix is long; here the queries of such a group
are stacked instead. On a CPU, rows that run without the others are attended one by one, each to what it has read.
In float32 on a CPU attention is computed in float64, so that a token scores the same alone, in a chunk and in a row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from ra3.kv_cache import storage_dtype

SLOTS = "ra3_slots"
"""What `set_attn_implementation` knows this attention by."""


def slot_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """query [B',H,C,D], key and value [B,K,S,D], mask [B',1,C,S] bool -> ([B',C,H,D], None), K dividing H.

    B = B', unless `key` says by its attribute `rows` which of its B rows the B' queries belong to.
    """
    if attention_mask is None or kwargs.get("position_bias") is not None or kwargs.get("softcap") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    dtype, scale = storage_dtype(query), kwargs.get("scaling")
    wide = query.to(dtype)
    if (rows := getattr(key, "rows", None)) is None:
        out = _stacked(wide, key.to(dtype), value.to(dtype), attention_mask, scale)
    else:
        out = torch.cat(
            [
                _stacked(q[None], key[r, None, :, :end], value[r, None, :, :end], mask[None, ..., :end], scale)
                for q, mask, (r, end) in zip(wide, attention_mask, rows, strict=True)
            ]
        )
    return out.to(query.dtype).transpose(1, 2).contiguous(), None


def _stacked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float | None) -> Tensor:
    """[B,H,C,D]: the H / K query heads that share a key head are stacked along the query positions."""
    (num_rows, num_heads, chunk, size), num_key_heads = query.shape, key.shape[1]
    together = query.reshape(num_rows, num_key_heads, -1, size)
    visible = mask if num_heads == num_key_heads else mask.repeat(1, 1, num_heads // num_key_heads, 1)
    out = scaled_dot_product_attention(together, key, value, attn_mask=visible, scale=scale)
    return out.reshape(num_rows, num_heads, chunk, -1)


AttentionInterface.register(SLOTS, slot_attention)
AttentionMaskInterface.register(SLOTS, sdpa_mask)
