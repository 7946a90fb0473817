"""Attention over a slot cache, in the form that transformers' models call: no copy of keys or values, ever.

transformers' own `sdpa` repeats the keys and values of a shared head once per query head as soon as a chunk has two tokens
and a mask, which costs more than the attention itself when the prefix is long. Here the queries of such a group are
stacked instead. On a CPU, rows that run without the others are attended one by one, each to exactly what it has read.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "ra3_slots"
"""What `set_attn_implementation` knows this attention by."""


def slot_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """query [B',H,C,D], key and value [B,K,S,D], mask [B',1,C,S] bool -> ([B',C,H,D], None), K dividing H.

    B = B', unless `key` says by its attribute `rows` which of its B rows the B' queries belong to.
    """
    rows = getattr(key, "rows", None)
    if rows is None and (attention_mask is None or key.shape[1] == query.shape[1] or "position_bias" in kwargs):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    assert attention_mask is not None and kwargs.get("softcap") is None
    scale, dropout = kwargs.get("scaling"), kwargs.get("dropout", 0.0)
    if rows is None:
        out = _stacked(query, key, value, attention_mask, scale, dropout)
    else:
        parts = [
            _stacked(
                query[i : i + 1], key[r : r + 1, :, :end], value[r : r + 1, :, :end], mask[..., :end], scale, dropout
            )
            for i, ((r, end), mask) in enumerate(zip(rows, attention_mask[:, None].unbind(), strict=True))
        ]
        out = torch.cat(parts)
    return out.transpose(1, 2).contiguous(), None


def _stacked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float | None, dropout: float) -> Tensor:
    """[B,H,C,D]: the H / K query heads that share a key head are stacked along the query positions."""
    shape, num_key_heads = query.shape, key.shape[1]
    together = query.reshape(shape[0], num_key_heads, -1, shape[3])
    visible = mask if together.shape[2] == shape[2] else mask.repeat(1, 1, shape[1] // num_key_heads, 1)
    out = scaled_dot_product_attention(together, key, value, attn_mask=visible, scale=scale, dropout_p=dropout)
    return out.reshape(*shape[:3], value.shape[3])


AttentionInterface.register(NAME, slot_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
