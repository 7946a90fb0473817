"""A key-value cache in which slot = position, so that rows of unequal length need no padding between their tokens.

A forward pass writes a chunk of every row at that row's own position. What a shorter row's padding writes lies beyond
the row's end, is invisible under the causal mask (slot <= position), and is overwritten by the row's next chunk. Rows
can be repeated (a prompt shared by a group), run in subsets (only the rows that think) and dropped (finished rows).
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


def storage_dtype(states: Tensor) -> torch.dtype:
    """Number format of attention and of what it caches: float64 for float32 on a CPU, else that of the states."""
    exact = states.dtype == torch.float32 and states.device.type == "cpu"
    return torch.float64 if exact else states.dtype


class SlotLayer(CacheLayerMixin):
    """Keys and values of one attention layer, each [B, heads, capacity, head_dim]."""

    is_sliding = False

    def __init__(self, plan: WritePlan):
        super().__init__()
        self.plan = plan

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocates room for the first chunk."""
        self.keys, self.values = (self._empty(x, self.plan.num_rows, self.plan.end) for x in (key_states, value_states))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        """Writes the chunk at the planned slots; returns keys and values [B' or B, heads, end, head_dim]."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        if self.plan.end > self.keys.shape[2]:
            self.keys, self.values = self._grown(self.keys), self._grown(self.values)
        return self._write(self.keys, key_states), self._write(self.values, value_states)

    def _write(self, store: Tensor, chunk: Tensor) -> Tensor:
        plan = self.plan
        store[plan.rows[:, None], :, plan.slots] = chunk.transpose(1, 2).to(store.dtype)
        view = store[:, :, : plan.end]
        if plan.covers_all:
            return view
        if plan.ends is None:
            return view.index_select(0, plan.rows)
        view.rows = plan.ends  # pyright: ignore[reportAttributeAccessIssue]
        return view

    def _grown(self, store: Tensor) -> Tensor:
        grown = self._empty(store, store.shape[0], max(self.plan.end, store.shape[2] * 3 // 2))
        grown[:, :, : store.shape[2]] = store
        return grown

    @staticmethod
    def _empty(like: Tensor, num_rows: int, num_slots: int) -> Tensor:
        return like.new_zeros(num_rows, like.shape[1], num_slots, like.shape[3], dtype=storage_dtype(like))

    def take(self, index: Tensor) -> None:
        """Keeps (or repeats) the rows at `index` [B']."""
        if self.is_initialized:
            assert self.keys is not None and self.values is not None
            self.keys, self.values = self.keys.index_select(0, index), self.values.index_select(0, index)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(number of visible slots, offset)."""
        return self.plan.end, 0

    def get_seq_length(self) -> int:
        """Slots written so far in the longest row."""
        return self.plan.end

    def get_max_length(self) -> int:
        """No maximum."""
        return -1


class WritePlan:
    """Where the next forward pass writes: shared by all layers of a cache."""

    def __init__(self, num_rows: int, device: torch.device):
        self.num_rows, self.device = num_rows, device
        self.rows = torch.arange(num_rows, device=device)
        self.slots = torch.zeros(num_rows, 0, dtype=torch.long, device=device)
        self.end, self.covers_all = 0, True
        self.ends: list[tuple[int, int]] | None = None
        """On a CPU, (row, slots it sees) of a pass over some rows: they are read in place, see ra3/attention.py."""

    def set(self, rows: Tensor | None, positions: Tensor) -> None:
        """`positions` [B', C] of the chunk's tokens in rows `rows` [B'] (None = all rows)."""
        self.covers_all = rows is None
        self.rows = torch.arange(self.num_rows, device=self.device) if rows is None else rows
        ends = positions.amax(1) + 1
        self.slots, self.end = positions, int(ends.max())
        in_place = rows is not None and positions.device.type == "cpu"
        self.ends = list(zip(self.rows.tolist(), ends.tolist(), strict=True)) if in_place else None


class SlotCache(Cache):
    """Cache of B rows for any full-attention Hugging Face model."""

    def __init__(self, num_rows: int, num_layers: int, device: torch.device):
        self.plan = WritePlan(num_rows, device)
        super().__init__(layers=[SlotLayer(self.plan) for _ in range(num_layers)])

    def take(self, index: Tensor) -> None:
        """Keeps (or repeats) the rows at `index` [B']; rows are renumbered from 0."""
        for layer in self.layers:
            assert isinstance(layer, SlotLayer)
            layer.take(index)
        self.plan.num_rows = len(index)
        self.plan.set(None, torch.zeros(len(index), 1, dtype=torch.long, device=self.plan.device))
