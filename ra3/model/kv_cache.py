"""A key-value cache in which slot = position, so that rows of unequal length need no padding between their tokens.

A forward pass reads one chunk of some rows, as a flat sequence of tokens, and writes each chunk at its row's own
positions. Rows can be repeated (a prompt shared by a group), run in subsets, and dropped (finished rows).

On a CPU keys and values of a float32 model come in float64, are held in float32, and are widened again for attention, a
few rows at a time: memory gives few bytes, and in order. Training rounds keys and values alike (row_attention.py).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from ra3.model.chunks import Chunks, Group, groups_of


class SlotLayer(CacheLayerMixin):
    """Keys and values of one attention layer, [B, capacity, W]: those of one token lie together."""

    is_sliding = False

    def __init__(self, cache: SlotCache):
        super().__init__()
        self.cache = cache
        self.states = torch.empty(0)
        self.shapes: tuple[torch.Size, torch.Size] = (torch.Size(), torch.Size())
        """(heads, size) of keys and of values; W numbers in all."""
        self.precise = False
        """Attended in float64, whatever it is held in."""
        self.longest_key = 0.0
        """Largest norm of a key written so far, kept while the layer is not `precise`."""

    @property
    def chunks(self) -> Chunks:
        """What the forward pass under way reads."""
        return self.cache.chunks

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocates room for the first chunks; tokens are [N, heads, size]."""
        self.shapes = key_states.shape[1:], value_states.shape[1:]
        dtype = torch.float32 if self.cache.narrow else key_states.dtype
        width = sum(shape.numel() for shape in self.shapes)
        self.states = zeros((self.cache.num_rows, self.cache.end, width), dtype, key_states.device)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        """Writes [1, heads, N, size]; returns all keys, with this layer as their `layer`, and all values."""
        self.write(key_states[0].transpose(0, 1), value_states[0].transpose(0, 1))
        keys, values = self.seen(self.states[:, : self.cache.end])
        keys.layer = self  # pyright: ignore[reportAttributeAccessIssue]
        return keys, values

    def write(self, keys: Tensor, values: Tensor) -> None:
        """Writes [N, heads, size], the keys and values of the tokens that are read."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        if self.cache.end > self.states.shape[1]:
            self._grow()
        tokens = torch.cat([keys.flatten(1), values.flatten(1)], 1).to(self.states.dtype)
        place = torch.add(self.chunks.positions, self.chunks.row, alpha=self.states.shape[1])
        self.states.flatten(0, 1).index_copy_(0, place, tokens)
        if self.cache.narrow and not self.precise:
            self.longest_key = max(self.longest_key, float(keys.norm(dim=-1).max()))

    def seen(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """[R,S,W] of some rows -> their keys [R,K,S,D] and values [R,K,S,D]."""
        parts = states.split([shape.numel() for shape in self.shapes], -1)
        keys, values = (x.unflatten(-1, shape).transpose(1, 2) for x, shape in zip(parts, self.shapes, strict=True))
        return keys, values

    def gathered(self, group: Group) -> tuple[Tensor, Tensor]:
        """Keys and values of the rows of a group, [G,K,S,D], in the format that they are attended in.

        They stand in one small place until the next call: only this reads, in order, what fits no processor's cache.
        """
        here, keys, values = self.cache.desk(self, group)
        for place, row, count in group.runs:
            here[place : place + count].copy_(self.states[row : row + count, : group.num_slots])
        return keys, values

    def _grow(self) -> None:
        old = self.states
        slots = self.cache.end * 2 if old.device.type == "cpu" else self.cache.end * 3 // 2
        self.states = zeros((len(old), slots, old.shape[2]), old.dtype, old.device)
        self.states[:, : old.shape[1]] = old

    def take(self, index: Tensor) -> None:
        """Keeps (or repeats) the rows at `index` [B']."""
        if self.is_initialized:
            self.states = self.states.index_select(0, index)

    def copy(self, source: Tensor, target: Tensor, num_slots: int) -> None:
        """The first slots of the rows `target` become those of the rows `source`."""
        self.states[target, :num_slots] = self.states[source, :num_slots]

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

    `exact`: a token must score the same alone, in a chunk and in a row (see ra3/model/attention.py).
    """

    def __init__(self, num_rows: int, num_layers: int, device: torch.device, dtype: torch.dtype, exact: bool = True):
        self.num_rows = num_rows
        self.narrow = exact and device.type == "cpu" and dtype == torch.float32
        """Keys and values come in float64, and are held in float32."""
        self._desk, self._views = torch.empty(0, dtype=torch.uint8), {}
        self.decoder: Any = None
        """What reads over this cache in the place of the model's modules (ra3/model/decoder.py)."""
        self.next(Chunks([0], [0], [0], device))
        super().__init__(layers=[SlotLayer(self) for _ in range(num_layers)])

    def next(self, chunks: Chunks) -> None:
        """Says what the next forward pass reads."""
        self.chunks, self.end, self._groups, self._views = chunks, int(chunks.ends.max()), None, {}

    @property
    def groups(self) -> list[Group]:
        """Which rows are attended by one call in the pass under way, worked out once for all layers."""
        if self._groups is None:
            self._groups = groups_of(self.chunks)
        return self._groups

    def desk(self, layer: SlotLayer, group: Group) -> tuple[Tensor, Tensor, Tensor]:
        """[G,S,W] a place for the states of a group, the same for all layers, and it seen as keys and as values."""
        shape = group.num_rows, group.num_slots, layer.states.shape[2]
        dtype = torch.float64 if layer.precise else layer.states.dtype
        kind = (*shape, dtype, layer.shapes)
        if kind not in self._views:
            size = math.prod(shape) * dtype.itemsize
            if self._desk.numel() < size:
                self._desk, self._views = torch.empty(2 * size, dtype=torch.uint8), {}
            here = self._desk[:size].view(dtype).view(shape)
            self._views[kind] = here, *layer.seen(here)
        return self._views[kind]

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


def zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros; on a CPU they take memory only once they are written to."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.zeros(math.prod(shape) * dtype.itemsize, np.uint8)).view(dtype).view(shape)
