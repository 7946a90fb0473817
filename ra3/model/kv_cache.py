"""A key-value cache in which slot = position, so that rows of unequal length need no padding between their tokens.

A forward pass reads one chunk of some rows, as a flat sequence of tokens, and writes each chunk at its row's own
positions. Rows can be copied (a prompt shared by a group), run in subsets, and dropped (finished rows).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from mmap import mmap

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

MAX_GROUP_ROWS = 16
"""Rows that one attention call serves, at most."""
MAX_GROUP_SLOTS = 2048
"""Slots of such rows, at most: their keys and values should fit a processor's cache."""
SLOTS_WORTH_A_CALL = 128
"""Slots that attention reads in about the time that one more call takes."""
SHORT_CHUNK = 8
"""Chunks of two to so many tokens are alike; single tokens are attended twice as fast."""
LONG_CHUNK = 16
"""A chunk of more tokens is attended by itself."""

Index = Sequence[int] | np.ndarray
"""[R] whole numbers."""


class ForwardBatch:
    """What one forward pass reads: R chunks of different rows, N tokens one after the other.

    Example, 2 tokens of row 0 from position 5 on, then 1 token of row 3 at position 9::

        rows [0 3]  starts [5 9]  lengths [2 1]  ->  ends [7 10]  begin [0 2]  after [2 3]  positions [5 6 9]
    """

    def __init__(self, rows: Index, starts: Index, lengths: Index, device: torch.device):
        """[R]: the row of the cache that each chunk belongs to, the place of its first token there, and its length."""
        self.rows, starts, lengths = (np.asarray(x, np.int64) for x in (rows, starts, lengths))
        self.ends = starts + lengths
        """[R] slots that a chunk's last token sees."""
        self.after = np.cumsum(lengths)
        """[R] the place after each chunk's last token among the N."""
        self.begin = self.after - lengths
        """[R] the place of each chunk's first token among the N."""
        self.row = torch.from_numpy(np.repeat(self.rows, lengths)).to(device)
        """[N] the row of each token."""
        places = np.arange(lengths.sum()) + np.repeat(self.ends - self.after, lengths)
        self.positions = torch.from_numpy(places).to(device)
        """[N] the position of each token in its row."""

    @cached_property
    def groups(self) -> list[RowGroup]:
        """Which chunks are attended by one call, the same for all layers: on a CPU a call for every row costs too much,
        and so does one padded call for all; elsewhere the one call is best."""
        on_cpu = self.positions.device.type == "cpu"
        return [_row_group(self, which) for which in (_alike(self) if on_cpu else [np.arange(len(self.rows))])]


class SlotLayer(CacheLayerMixin):
    """Keys and values of one attention layer, [B, capacity, W]: those of one token lie together, W numbers."""

    is_sliding = False

    def __init__(self, cache: SlotCache):
        super().__init__()
        self.cache = cache
        self.states = torch.empty(0)
        self.shapes: tuple[torch.Size, torch.Size] = (torch.Size(), torch.Size())
        """(heads, size) of keys and of values."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Notes the shapes of tokens [N, heads, size]; there is no room yet.

        Both are kept in the format of the values: under autocast keys come out of their rotation in float32, and
        attention would make them bfloat16 at each pass.
        """
        self.shapes = key_states.shape[1:], value_states.shape[1:]
        self.states = value_states.new_empty(self.cache.num_rows, 0, sum(shape.numel() for shape in self.shapes))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        """Writes [1, heads, N, size]; returns all keys (they carry this layer on, as `layer`) and all values."""
        keys, values = (x[0].transpose(0, 1) for x in (key_states, value_states))
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        if self.cache.end > self.states.shape[1]:
            self._grow()
        batch = self.cache.batch
        place = torch.add(batch.positions, batch.row, alpha=self.states.shape[1])
        own = torch.cat([x.flatten(1).to(self.states.dtype) for x in (keys, values)], 1)
        self.states.flatten(0, 1).index_copy_(0, place, own)
        keys, values = self.split(self.states[:, : self.cache.end])
        keys.layer = self  # pyright: ignore[reportAttributeAccessIssue]
        return keys, values

    def split(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """[R,S,W] of some rows -> their keys [R,K,S,D] and values [R,K,S,D]."""
        parts = states.split([shape.numel() for shape in self.shapes], -1)
        keys, values = (x.unflatten(-1, shape).transpose(1, 2) for x, shape in zip(parts, self.shapes, strict=True))
        return keys, values

    def gather(self, group: RowGroup) -> tuple[Tensor, Tensor]:
        """Keys and values of the rows of a group, [G,K,S,D]: a view, or a buffer that lasts until the next call.

        Rows lie far apart in the cache. Read once, in order, into a small place, they stay in a processor's cache.
        """
        states = self.states[:, : group.num_slots]
        if isinstance(group.rows, slice):
            return self.split(states[group.rows])
        buffer, keys, values = self.cache.gather_buffer(self, len(group.rows), group.num_slots)
        torch.index_select(states, 0, group.rows, out=buffer)
        return keys, values

    def _grow(self) -> None:
        old, on_cpu = self.states, self.states.device.type == "cpu"
        slots = int(self.cache.end * (2 if on_cpu else 1.5)) if old.shape[1] or on_cpu else self.cache.end
        shape = len(old), slots, old.shape[2]
        if on_cpu:  # pages take memory once they are written to; numpy asks for huge ones, of which rows fill a part
            pages = mmap(-1, math.prod(shape) * old.dtype.itemsize)
            self.states = torch.frombuffer(pages, dtype=old.dtype).view(shape)
        else:
            self.states = old.new_zeros(shape)
        self.states[:, : old.shape[1]] = old

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
    """Cache of B rows for any Hugging Face model whose layers all attend; windows are masks over the same slots."""

    layers: list[SlotLayer]

    def __init__(self, num_rows: int, num_layers: int, device: torch.device):
        self.num_rows = num_rows
        self._buffer, self._views = torch.empty(0, dtype=torch.uint8), {}
        self.begin_pass(ForwardBatch([0], [0], [0], device))
        super().__init__(layers=[SlotLayer(self) for _ in range(num_layers)])

    def begin_pass(self, batch: ForwardBatch) -> None:
        """Says what the next forward pass reads."""
        self.batch, self.end, self._views = batch, int(batch.ends.max()), {}

    def gather_buffer(self, layer: SlotLayer, num_rows: int, num_slots: int) -> tuple[Tensor, Tensor, Tensor]:
        """[G,S,W] a place for the states of a group, the same for all layers, and it seen as keys and as values."""
        states, shape = layer.states, (num_rows, num_slots, layer.states.shape[2])
        kind = (*shape, states.dtype, layer.shapes)
        if kind not in self._views:
            size = math.prod(shape) * states.dtype.itemsize
            if self._buffer.numel() < size:
                self._buffer, self._views = torch.empty(2 * size, dtype=torch.uint8, device=states.device), {}
            here = self._buffer[:size].view(states.dtype).view(shape)
            self._views[kind] = here, *layer.split(here)
        return self._views[kind]

    def select(self, index: Tensor) -> None:
        """Keeps the rows at `index` [B']; they are renumbered from 0."""
        for layer in self.layers:
            layer.states = layer.states.index_select(0, index)
        self.num_rows = len(index)

    def copy(self, source: int, target: slice | Tensor, num_slots: int) -> None:
        """The first slots of the rows `target` become those of the row `source`."""
        for layer in self.layers:
            layer.states[target, :num_slots] = layer.states[source, :num_slots].clone()  # lest one be read and written


@dataclass(frozen=True)
class RowGroup:
    """G rows that one attention call serves: C tokens of each, over as many slots as the longest of them has read."""

    rows: slice | Tensor
    """[G] which rows of the cache they are."""
    chunk: int
    """C, the longest chunk."""
    tokens: slice | Tensor
    """[G * C] the tokens of every row; the last one again, where a row has fewer."""
    real: slice | Tensor
    """Which of the G * C places are no padding."""
    places: slice | Tensor
    """Which of the N tokens those are."""
    num_slots: int
    seen: np.ndarray
    """[G,C] slots that each token sees if it sees all before it: the last of them is its own."""
    device: torch.device
    masks: dict[int | None, Tensor | None] = field(default_factory=dict)

    def mask(self, window: int | None = None) -> Tensor | None:
        """[G,1,C,num_slots] where a token sees, `window` slots in all, as bool or (on a CPU) as float32 0 and -inf;
        None where all see all. Made once for all layers."""
        window = None if window is not None and window >= self.num_slots else window
        if window not in self.masks:
            self.masks[window] = self._mask(window)
        return self.masks[window]

    def _mask(self, window: int | None) -> Tensor | None:
        if window is None and self.seen.min() == self.num_slots:
            return None
        slot, seen = torch.arange(self.num_slots, device=self.device), torch.from_numpy(self.seen).to(self.device)
        mask = slot < seen[..., None]
        if window is not None:
            mask &= slot >= seen[..., None] - window
        if self.device.type == "cpu":  # there attention takes numbers to add faster
            return torch.zeros(mask.shape).masked_fill_(~mask, -torch.inf)[:, None]
        return mask[:, None]


def _alike(batch: ForwardBatch) -> Iterator[np.ndarray]:
    """All chunks in groups that need little padding, neighbours in the cache together."""
    length = batch.after - batch.begin
    # chunks are of one kind if their lengths round up to one power of two; 2 to 8 tokens are one kind
    kind = np.where(length == 1, 0, np.ceil(np.log2(np.maximum(length, SHORT_CHUNK))).astype(np.int64))
    # in a kind, rows that have read about as much (within a quarter of a doubling) stand together
    order = np.lexsort((batch.rows, np.ceil(4 * np.log2(batch.ends)), kind))
    kinds, ends = kind.tolist(), batch.ends.tolist()
    group: list[int] = []
    longest = slots = 0
    for i in order.tolist():
        longest = max(longest, ends[i])
        size = longest * (len(group) + 1)
        if group:
            full = len(group) == MAX_GROUP_ROWS or kinds[i] != kinds[group[0]] or 2 ** kinds[i] > LONG_CHUNK
            padding = size - slots - ends[i]
            if full or size > MAX_GROUP_SLOTS or padding > SLOTS_WORTH_A_CALL * len(group):
                yield np.array(group)
                group, longest, slots = [], ends[i], 0
        group.append(i)
        slots += ends[i]
    yield np.array(group)


def _row_group(batch: ForwardBatch, which: np.ndarray) -> RowGroup:
    """A group of the chunks `which` [G]."""
    device = batch.positions.device
    begin, after, ends, rows = (x[which, None] for x in (batch.begin, batch.after, batch.ends, batch.rows))
    length = after - begin
    chunk, num_slots = int(length.max()), int(ends.max())
    column = np.arange(chunk)
    tokens, real = np.minimum(begin + column, after - 1).flatten(), (column < length).flatten()
    seen = np.minimum(ends - length + column + 1, ends)
    own: slice | Tensor = torch.from_numpy(rows[:, 0]).to(device)
    if device.type != "cpu" and (np.diff(rows[:, 0]) == 1).all():  # a view costs a processor more than a copy
        own = slice(int(rows[0, 0]), int(rows[-1, 0]) + 1)
    if not real.all():
        padded, unpadded, places = (torch.from_numpy(x).to(device) for x in (tokens, real.nonzero()[0], tokens[real]))
        return RowGroup(own, chunk, padded, unpadded, places, num_slots, seen, device)
    in_order = (np.diff(tokens) == 1).all()  # then a view instead of a copy
    here = slice(int(tokens[0]), int(tokens[-1]) + 1) if in_order else torch.from_numpy(tokens).to(device)
    return RowGroup(own, chunk, here, slice(None), here, num_slots, seen, device)
