"""Attention of every pass: training and scoring read rows as a whole, sampling reads chunks over a slot cache.

`set_attn_implementation(ATTENTION)` puts both into a Hugging Face model; which one a layer takes depends on what came
with the call. The layers of a model work token by token and need no padding; only attention knows of rows.

- **Rows** lie one after the other in a flat sequence, and each sees itself alone. Rows of about equal length are
  stacked, padded at their ends, and attended causally, without a mask: the cost is the sum of their squared lengths.
- **Chunks** see the slots of their row. transformers' own `sdpa` repeats the keys and values of a shared head once per
  query head as soon as a chunk has two tokens and a mask, which costs more than the attention itself when the prefix is
  long; here the queries of such a group are stacked instead. Which chunks one call serves: `ForwardBatch.groups`.

A layer may look back over a window only, press its scores below a bound, or attend to nothing: it says so in every call
(`Weighing`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from ra3.model.kv_cache import RowGroup, SlotCache, SlotLayer

Gather = Callable[[RowGroup], tuple[Tensor, Tensor]]
"""Gives the keys [G,K,S,D] and values [G,K,S,D] of the rows of a group."""
ATTENTION = "ra3"
"""What `set_attn_implementation` knows this attention by."""
SHORTEST_IN_STACK = 0.8
"""A stack holds rows of at least this share of its longest row's length."""


def attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """query [B,H,C,D], key and value [B,K,S,D] -> ([B,C,H,D], None), as transformers' models call it; K divides H.

    A mask, the only argument that every architecture hands down, carries a `RowLayout` (`row_layout`) for rows, or the
    cache (`cache`) for chunks. Keys that come from it as they are carry their `SlotLayer` (`layer`), which is faster;
    those that a layer has made of what is cached are [B,K,S,D] of all its rows. Anything else is left to the library.
    """
    layout: RowLayout | None = getattr(attention_mask, "row_layout", None)
    layer: SlotLayer | None = getattr(key, "layer", None)
    cache: SlotCache | None = layer.cache if layer else getattr(attention_mask, "cache", None)
    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    how = Weighing(scale, kwargs.get("sliding_window"), kwargs.get("softcap"), kwargs.get("s_aux"))
    if layout is not None:
        q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in (query, key, value))
        return row_attention(q, k, v, layout, how).unflatten(0, (query.shape[0], -1)), None
    if cache is not None:
        gather = layer.gather if layer else partial(_made, key, value)
        own = query[0].transpose(0, 1)
        return cache_attention(cache.batch.groups, gather, own, value.shape[-1], how)[None], None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


@dataclass(frozen=True)
class Weighing:
    """How a layer weighs values: softmax(cap(scale q k)) over what it sees, and over a sink whose value is 0."""

    scale: float
    window: int | None = None
    """How many tokens each sees, itself among them; None: all before it."""
    softcap: float | None = None
    """cap(x) = softcap tanh(x / softcap); None: x."""
    sinks: Tensor | None = None
    """[H] the score of each head's sink; None: there is none."""

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """query [R,H,C,D], key and value [R,K,S,D] -> [R,H,C,D]; mask [R or 1,1,C,S] or causal, C = S."""
        grouped = query.shape[1] != key.shape[1]
        if self.softcap is None and self.sinks is None:
            how = {"attn_mask": mask, "is_causal": causal, "scale": self.scale, "enable_gqa": grouped}
            return scaled_dot_product_attention(query, key, value, **how)
        if grouped:
            key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
        scores = query @ key.mT * self.scale
        if self.softcap is not None:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        mask = looking_back(query.shape[2], query.device) if causal else mask
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        if self.sinks is not None:
            sinks = self.sinks.to(scores.dtype)[None, :, None, None]
            scores = torch.cat([scores, sinks.expand(*scores.shape[:3], 1)], -1)
        return scores.softmax(-1)[..., : key.shape[2]].to(value.dtype) @ value


def looking_back(length: int, device: torch.device, window: int | None = None) -> Tensor:
    """[T,T] bool: each token sees itself and those before it, `window` in all."""
    visible = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return visible if window is None else visible.triu(1 - window)


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


def row_attention(query: Tensor, key: Tensor, value: Tensor, layout: RowLayout, how: Weighing) -> Tensor:
    """query [N,H,D], key and value [N,K,D] of the tokens of a layout's rows -> [N,H,D]."""
    slots = [embedding(layout.token, x.flatten(1)).unflatten(1, x.shape[1:]) for x in (query, key, value)]
    sizes, parts = [rows * width for rows, width in layout.stacks], []
    for (rows, length), *own in zip(layout.stacks, *(x.split(sizes) for x in slots), strict=True):
        q, k, v = (x.unflatten(0, (rows, -1)).transpose(1, 2) for x in own)
        if how.window is None or how.window >= length:
            out = how.attend(q, k, v, causal=True)
        else:
            out = how.attend(q, k, v, looking_back(length, q.device, how.window))
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


def cache_attention(groups: Sequence[RowGroup], gather: Gather, query: Tensor, size: int, how: Weighing) -> Tensor:
    """[N,H,D] queries of the tokens of a forward batch, whose keys are in the cache -> [N,H,size], group by group."""
    out = query.new_empty(*query.shape[:2], size)
    for group in groups:
        keys, values = gather(group)
        q = query[group.tokens].to(keys.dtype).unflatten(0, (-1, group.chunk)).transpose(1, 2)
        mask = group.mask(how.window)
        mask = mask if mask is None or mask.dtype == torch.bool else mask.to(q.dtype)
        seen = _stacked_heads(q, keys, values, mask, how).transpose(1, 2).flatten(0, 1)[group.real]
        out[group.places] = seen.to(out.dtype)
    return out


def _made(key: Tensor, value: Tensor, group: RowGroup) -> tuple[Tensor, Tensor]:
    """What `SlotLayer.gather` gives, of keys and values [B,K,S,D] that a layer has made of all that is cached."""
    keys, values = (x[group.rows, :, : group.num_slots] for x in (key, value))
    return keys, values


def _stacked_heads(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, how: Weighing) -> Tensor:
    """[R,H,C,D]: the H / K query heads that share a key head are stacked along the query positions; mask [...,C,S]."""
    if how.sinks is not None:
        return how.attend(query, key, value, mask)
    num_rows, num_heads, chunk, size = query.shape
    shared = num_heads // key.shape[1]
    visible = mask if mask is None or shared == 1 or chunk == 1 else torch.cat([mask] * shared, -2)
    together = query.reshape(num_rows, key.shape[1], -1, size)
    out = how.attend(together, key, value, visible)
    return out.reshape(num_rows, num_heads, chunk, -1)
