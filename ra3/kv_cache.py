"""A key-value cache in which slot = position, so that rows of unequal length need no padding between their tokens.

A forward pass reads one chunk of some rows, as a flat sequence of tokens, and writes each chunk at its row's own
positions. Rows can be repeated (a prompt shared by a group), run in subsets, and dropped (finished rows).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from ra3.chunks import Chunks, Group, groups_of


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
        self.write(key_states[0].transpose(0, 1), value_states[0].transpose(0, 1))
        assert self.keys is not None and self.values is not None
        keys = self.keys[:, :, : self.cache.end]
        keys.layer = self  # pyright: ignore[reportAttributeAccessIssue]
        return keys, self.values[:, :, : self.cache.end]

    def write(self, keys: Tensor, values: Tensor) -> None:
        """Writes [N, heads, head_dim], the keys and values of the tokens that are read."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        assert self.keys is not None and self.values is not None
        if self.cache.end > self.keys.shape[2]:
            self.keys, self.values = self._grown(self.keys), self._grown(self.values)
        for store, states in ((self.keys, keys), (self.values, values)):
            store[self.chunks.row, :, self.chunks.positions] = states.to(store.dtype)
        if not self.precise:
            self.longest_key = max(self.longest_key, float(keys.norm(dim=-1).max()))

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
        return like.new_zeros(num_rows, like.shape[1], num_slots, like.shape[-1])

    def take(self, index: Tensor) -> None:
        """Keeps (or repeats) the rows at `index` [B']."""
        if self.is_initialized:
            assert self.keys is not None and self.values is not None
            self.keys, self.values = self.keys.index_select(0, index), self.values.index_select(0, index)

    def copy(self, source: Tensor, target: Tensor, num_slots: int) -> None:
        """The first slots of the rows `target` become those of the rows `source`."""
        for store in (self.keys, self.values):
            assert store is not None
            store[target, :, :num_slots] = store[source, :, :num_slots]

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
    """Cache of B rows for any full-attention Hugging Face model; `dtype` is the number format of its weights.

    `exact`: a token must score the same alone, in a chunk and in a row (see ra3/attention.py).
    """

    def __init__(self, num_rows: int, num_layers: int, device: torch.device, dtype: torch.dtype, exact: bool = True):
        self.num_rows = num_rows
        self.decoder: Any = None
        """What reads over this cache in the place of the model's modules (ra3/decoder.py)."""
        self.next(Chunks([0], [0], [0], device))
        may_narrow = exact and device.type == "cpu" and dtype == torch.float32
        super().__init__(layers=[SlotLayer(self, may_narrow) for _ in range(num_layers)])

    def next(self, chunks: Chunks) -> None:
        """Says what the next forward pass reads."""
        self.chunks, self.end, self._groups = chunks, int(chunks.ends.max()), None

    @property
    def groups(self) -> list[Group]:
        """Which rows are attended by one call in the pass under way, worked out once for all layers."""
        if self._groups is None:
            self._groups = groups_of(self.chunks, self.num_rows)
        return self._groups

    def take(self, index: Tensor) -> None:
        """Keeps (or repeats) the rows at `index` [B']; rows are renumbered from 0."""
        for layer in self.layers:
            assert isinstance(layer, SlotLayer)
            layer.take(index)
        self.num_rows = len(index)

    def copy(self, source: Tensor, target: Tensor, num_slots: int) -> None:
        """The first slots of the rows `target` become those of the rows `source`."""
        for layer in self.layers:
            assert isinstance(layer, SlotLayer)
            layer.copy(source, target, num_slots)
