"""A key-value cache in which slot = position, so that rows of unequal length need no padding between their tokens.

A forward pass reads one chunk of some rows, as a flat sequence of tokens, and writes each chunk at its row's own
positions. Rows can be repeated (a prompt shared by a group), run in subsets, and dropped (finished rows).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


@dataclass(frozen=True)
class Chunks:
    """What one forward pass reads: R chunks of different rows, N tokens one after the other."""

    rows: Sequence[int]
    """[R] the row of each chunk."""
    starts: Sequence[int]
    """[R] the position of its first token in the row."""
    lengths: Sequence[int]
    """[R] its tokens, at least one."""
    device: torch.device

    @cached_property
    def ends(self) -> list[int]:
        """[R] slots that a chunk's last token sees."""
        return [start + length for start, length in zip(self.starts, self.lengths, strict=True)]

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """[R] where each chunk begins and ends among the N tokens."""
        after = list(accumulate(self.lengths))
        return [(end - length, end) for end, length in zip(after, self.lengths, strict=True)]

    @cached_property
    def row(self) -> Tensor:
        """[N] the row of each token."""
        return torch.tensor(self.rows, device=self.device).repeat_interleave(self._lengths)

    @cached_property
    def positions(self) -> Tensor:
        """[N] the position of each token in its row."""
        shift = [start - begin for start, (begin, _) in zip(self.starts, self.spans, strict=True)]
        shift = torch.tensor(shift, device=self.device).repeat_interleave(self._lengths)
        return torch.arange(len(shift), device=self.device) + shift

    @cached_property
    def padded(self) -> Tensor:
        """[R,C] the tokens of each chunk, padded to the longest with its last token."""
        begin, end = torch.tensor(self.spans, device=self.device).unbind(1)
        column = torch.arange(max(self.lengths), device=self.device)
        return torch.minimum(begin[:, None] + column, end[:, None] - 1)

    @cached_property
    def unpadded(self) -> Tensor:
        """[N] the places of the tokens in `padded`, read row after row."""
        column = torch.arange(max(self.lengths), device=self.device)
        return (column < self._lengths[:, None]).flatten().nonzero()[:, 0]

    @cached_property
    def even(self) -> bool:
        """All chunks are of one length, and their rows have read about as much before."""
        return len(set(self.lengths)) == 1 and 4 * min(self.ends) >= 3 * max(self.ends)

    @cached_property
    def seen(self) -> list[Tensor | None]:
        """[R] of bool [C,end], what the tokens of each chunk see of their row; None where one token sees all."""
        return [
            None if length == 1 else torch.ones(length, end, dtype=torch.bool, device=self.device).tril(end - length)
            for length, end in zip(self.lengths, self.ends, strict=True)
        ]

    @cached_property
    def seen_padded(self) -> Tensor | None:
        """[R,1,C,S] bool, the same for all chunks, `padded`; None where every token sees all S slots."""
        if min(self.ends) == max(self.ends) and max(self.lengths) == 1:
            return None
        slots = torch.arange(max(self.ends), device=self.device)
        return slots <= self.positions[self.padded][:, None, :, None]

    @cached_property
    def _lengths(self) -> Tensor:
        return torch.tensor(self.lengths, device=self.device)


class SlotLayer(CacheLayerMixin):
    """Keys and values of one attention layer, each [B, heads, capacity, head_dim]."""

    is_sliding = False

    def __init__(self, cache: SlotCache, may_narrow: bool):
        super().__init__()
        self.cache = cache
        self.precise: bool | None = None if may_narrow else True
        """Held in the format that keys and values come in, else in float32; None while that is open."""
        self.longest_key = 0.0
        """Largest norm of a key written so far, kept while the layer is not `precise`."""

    @property
    def chunks(self) -> Chunks:
        """What the forward pass under way reads."""
        return self.cache.chunks

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocates room for the first chunks."""
        states = (key_states, value_states)
        self.keys, self.values = (self._empty(x, self.cache.num_rows, self.cache.end) for x in states)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        """Writes [1, heads, N, head_dim]; returns all keys, with this layer as their `layer`, and all values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        if self.cache.end > self.keys.shape[2]:
            self.keys, self.values = self._grown(self.keys), self._grown(self.values)
        for store, states in ((self.keys, key_states), (self.values, value_states)):
            store[self.chunks.row, :, self.chunks.positions] = states[0].transpose(0, 1).to(store.dtype)
        if not self.precise:
            self.longest_key = max(self.longest_key, float(key_states.norm(dim=-1).max()))
        keys = self.keys[:, :, : self.cache.end]
        keys.layer = self  # pyright: ignore[reportAttributeAccessIssue]
        return keys, self.values[:, :, : self.cache.end]

    def hold(self, precise: bool) -> None:
        """From now on keys and values are held in float64 or, if they need not be `precise`, in float32."""
        assert self.keys is not None and self.values is not None
        dtype = torch.float64 if precise else torch.float32
        self.keys, self.values, self.precise = self.keys.to(dtype), self.values.to(dtype), precise

    def _grown(self, store: Tensor) -> Tensor:
        grown = self._empty(store, store.shape[0], max(self.cache.end, store.shape[2] * 3 // 2))
        grown[:, :, : store.shape[2]] = store
        return grown

    @staticmethod
    def _empty(like: Tensor, num_rows: int, num_slots: int) -> Tensor:
        return like.new_zeros(num_rows, like.shape[1], num_slots, like.shape[3])

    def take(self, index: Tensor) -> None:
        """Keeps (or repeats) the rows at `index` [B']."""
        if self.is_initialized:
            assert self.keys is not None and self.values is not None
            self.keys, self.values = self.keys.index_select(0, index), self.values.index_select(0, index)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(number of visible slots, offset)."""
        return self.cache.end, 0

    def get_seq_length(self) -> int:
        """Slots written so far in the longest of the rows that are read."""
        return self.cache.end

    def get_max_length(self) -> int:
        """No maximum."""
        return -1


class SlotCache(Cache):
    """Cache of B rows for any full-attention Hugging Face model; `dtype` is the number format of its weights."""

    def __init__(self, num_rows: int, num_layers: int, device: torch.device, dtype: torch.dtype):
        self.num_rows = num_rows
        self.next(Chunks([0], [0], [0], device))
        may_narrow = device.type == "cpu" and dtype == torch.float32
        super().__init__(layers=[SlotLayer(self, may_narrow) for _ in range(num_layers)])

    def next(self, chunks: Chunks) -> None:
        """Says what the next forward pass reads."""
        self.chunks, self.end = chunks, max(chunks.ends)

    def take(self, index: Tensor) -> None:
        """Keeps (or repeats) the rows at `index` [B']; rows are renumbered from 0."""
        for layer in self.layers:
            assert isinstance(layer, SlotLayer)
            layer.take(index)
        self.num_rows = len(index)
