"""A key-value cache in which slot = position, so that rows of unequal length need no padding between their tokens.

A forward pass writes a chunk of every row at that row's own position. What a shorter row's padding writes lies beyond
the row's end, is invisible under the causal mask (slot <= position), and is overwritten by the row's next chunk. Rows
can be repeated (a prompt shared by a group), run in subsets (only the rows that think) and dropped (finished rows).
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class SlotLayer(CacheLayerMixin):
    """Keys and values of one attention layer, each [B, heads, capacity, head_dim]."""

    is_sliding = False

    def __init__(self, plan: WritePlan, may_narrow: bool):
        super().__init__()
        self.plan = plan
        self.precise: bool | None = None if may_narrow else True
        """Held in the format that keys and values come in, else in float32; None while that is open."""
        self.longest_key = 0.0
        """Largest norm of a key written so far, kept while the layer is not `precise`."""

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
        keys, values = self._write(self.keys, key_states), self._write(self.values, value_states)
        if self.plan.on_cpu:
            if not self.precise:
                self.longest_key = max(self.longest_key, float(key_states.norm(dim=-1).max()))
            keys.layer = self  # pyright: ignore[reportAttributeAccessIssue]
        return keys, values

    def hold(self, precise: bool) -> None:
        """From now on keys and values are held in float64 or, if they need not be `precise`, in float32."""
        assert self.keys is not None and self.values is not None
        dtype = torch.float64 if precise else torch.float32
        self.keys, self.values, self.precise = self.keys.to(dtype), self.values.to(dtype), precise

    def _write(self, store: Tensor, chunk: Tensor) -> Tensor:
        plan = self.plan
        store[plan.rows[:, None], :, plan.slots] = chunk.transpose(1, 2).to(store.dtype)
        view = store[:, :, : plan.end]
        return view if plan.covers_all or plan.on_cpu else view.index_select(0, plan.rows)

    def _grown(self, store: Tensor) -> Tensor:
        grown = self._empty(store, store.shape[0], max(self.plan.end, store.shape[2] * 3 // 2))
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
        self.num_rows, self.device, self.on_cpu = num_rows, device, device.type == "cpu"
        self.set(None, torch.zeros(num_rows, 1, dtype=torch.long, device=device))

    def set(self, rows: Tensor | None, positions: Tensor) -> None:
        """`positions` [B', C] of the chunk's tokens in rows `rows` [B'] (None = all rows)."""
        self.covers_all = rows is None
        self.rows = torch.arange(self.num_rows, device=self.device) if rows is None else rows
        self.slots, self.end = positions, int(positions.max()) + 1
        self.shared = int(positions.min()) + 1 if self.on_cpu else 0
        """Slots that every token of the chunk sees; only those after them need a mask."""

    def mask(self) -> Tensor:
        """[B',1,C,end - shared] bool: slot j is visible to the token at position i iff j <= i."""
        slots = torch.arange(self.shared, self.end, device=self.device)
        return (slots <= self.slots[:, :, None])[:, None]

    def ends(self) -> list[tuple[int, int]]:
        """(row, slots that it sees) of the chunk's rows."""
        return list(zip(self.rows.tolist(), (self.slots.amax(1) + 1).tolist(), strict=True))


class SlotCache(Cache):
    """Cache of B rows for any full-attention Hugging Face model; `dtype` is the number format of its weights."""

    def __init__(self, num_rows: int, num_layers: int, device: torch.device, dtype: torch.dtype):
        self.plan = WritePlan(num_rows, device)
        may_narrow = self.plan.on_cpu and dtype == torch.float32
        super().__init__(layers=[SlotLayer(self.plan, may_narrow) for _ in range(num_layers)])

    def take(self, index: Tensor) -> None:
        """Keeps (or repeats) the rows at `index` [B']; rows are renumbered from 0."""
        for layer in self.layers:
            assert isinstance(layer, SlotLayer)
            layer.take(index)
        self.plan.num_rows = len(index)
        self.plan.set(None, torch.zeros(len(index), 1, dtype=torch.long, device=self.plan.device))
