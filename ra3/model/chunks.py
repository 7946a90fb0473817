"""What one forward pass over a slot cache reads, and which of its rows are attended by one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

TOGETHER = 16
"""Rows that one call attends, at most."""

SLOTS_TOGETHER = 2048
"""Slots of such rows, at most: their keys and values should fit a cache."""

SLOTS_OF_A_CALL = 128
"""Slots that attention reads in about the time that one more call takes."""

SHORT_CHUNK = 8
"""Chunks of two to so many tokens are alike; single tokens are attended twice as fast."""

LONG_CHUNK = 16
"""From more tokens on a chunk is attended by itself."""


@dataclass(frozen=True)
class Chunks:
    """What one forward pass reads: R chunks of different rows, N tokens one after the other."""

    rows: Sequence[int] | np.ndarray
    """[R] the row of each chunk."""
    starts: Sequence[int] | np.ndarray
    """[R] the position of its first token in the row."""
    lengths: Sequence[int] | np.ndarray
    """[R] its tokens, at least one."""
    device: torch.device

    @cached_property
    def row_of(self) -> np.ndarray:
        """[R] `rows` as an array."""
        return np.asarray(self.rows, np.int64)

    @cached_property
    def ends(self) -> np.ndarray:
        """[R] slots that a chunk's last token sees."""
        return np.asarray(self.starts, np.int64) + self._lengths

    @cached_property
    def after(self) -> np.ndarray:
        """[R] where each chunk ends among the N tokens; `begins`, where it begins."""
        return np.cumsum(self._lengths)

    @cached_property
    def begins(self) -> np.ndarray:
        """[R] where each chunk begins among the N tokens."""
        return self.after - self._lengths

    @cached_property
    def row(self) -> Tensor:
        """[N] the row of each token."""
        return self._tensor(np.repeat(self.row_of, self._lengths))

    @cached_property
    def positions(self) -> Tensor:
        """[N] the position of each token in its row."""
        shift = np.repeat(self.ends - self.after, self._lengths)
        return self._tensor(np.arange(len(shift)) + shift)

    @cached_property
    def padded(self) -> Tensor:
        """[R,C] the tokens of each chunk, padded to the longest with its last token."""
        column = np.arange(self._lengths.max())
        return self._tensor(np.minimum(self.begins[:, None] + column, self.after[:, None] - 1))

    @cached_property
    def unpadded(self) -> Tensor:
        """[N] the places of the tokens in `padded`, read row after row."""
        column = np.arange(self._lengths.max())
        return self._tensor((column < self._lengths[:, None]).flatten().nonzero()[0])

    @cached_property
    def seen_padded(self) -> Tensor | None:
        """[R,1,C,S] bool, the same for all chunks, `padded`; None where every token sees all S slots."""
        if self.ends.min() == self.ends.max() and self._lengths.max() == 1:
            return None
        slots = torch.arange(int(self.ends.max()), device=self.device)
        return slots <= self.positions[self.padded][:, None, :, None]

    @cached_property
    def _lengths(self) -> np.ndarray:
        return np.asarray(self.lengths, np.int64)

    def _tensor(self, index: np.ndarray) -> Tensor:
        return torch.from_numpy(index).to(self.device)


@dataclass(frozen=True)
class Group:
    """G rows that one call attends: C tokens of each, to as many slots as the longest of them has read."""

    runs: list[tuple[int, int, int]]
    """(place in the group, first row of the cache, count) of rows that lie together there."""
    num_rows: int
    """G"""
    chunk: int
    """C, the longest chunk."""
    tokens: slice | Tensor
    """[G * C] the tokens of every row; the last one again, where a row has fewer."""
    own: slice | Tensor
    """Which of the G * C places hold tokens of their row."""
    at: slice | Tensor
    """Which of the N tokens they are."""
    num_slots: int
    mask: Tensor | None
    """[G,1,C,num_slots] float32, 0 where a token sees and -inf elsewhere; None where all see all."""


def groups_of(chunks: Chunks) -> list[Group]:
    """Chunks of about one length whose rows have read about as much are attended together, long ones by themselves."""
    return [_group(chunks, which) for which in _by_length(chunks)]


def _by_length(chunks: Chunks) -> Iterator[np.ndarray]:
    """All chunks in groups that need little padding, neighbours together."""
    length = chunks.after - chunks.begins
    kind = np.where(length == 1, 0, np.ceil(np.log2(np.maximum(length, SHORT_CHUNK))).astype(np.int64))
    order = np.lexsort((chunks.row_of, np.ceil(4 * np.log2(chunks.ends)), kind))
    kinds, ends = kind.tolist(), chunks.ends.tolist()
    group: list[int] = []
    longest = slots = 0
    for i in order.tolist():
        longest = max(longest, ends[i])
        size = longest * (len(group) + 1)
        if group:
            full = len(group) == TOGETHER or kinds[i] != kinds[group[0]] or 2 ** kinds[i] > LONG_CHUNK
            if full or size > SLOTS_TOGETHER or size - slots - ends[i] > SLOTS_OF_A_CALL * len(group):
                yield np.array(group)
                group, longest, slots = [], ends[i], 0
        group.append(i)
        slots += ends[i]
    yield np.array(group)


def _group(chunks: Chunks, which: np.ndarray) -> Group:
    """A group of the chunks `which` [G]."""
    begin, after, ends = chunks.begins[which], chunks.after[which], chunks.ends[which]
    length = after - begin
    chunk, num_slots = int(length.max()), int(ends.max())
    column = np.arange(chunk)
    tokens = np.minimum(begin[:, None] + column, after[:, None] - 1)
    seen = np.minimum(ends[:, None] - length[:, None] + column + 1, ends[:, None])
    mask = None if seen.min() == num_slots else _mask(seen, num_slots)
    runs, own, tokens = _runs(chunks.row_of[which]), (column < length[:, None]).flatten(), tokens.flatten()
    if own.all():
        in_order = (np.diff(tokens) == 1).all()
        here = slice(int(tokens[0]), int(tokens[-1]) + 1) if in_order else torch.from_numpy(tokens)
        return Group(runs, len(which), chunk, here, slice(None), here, num_slots, mask)
    own = own.nonzero()[0]
    places, at = torch.from_numpy(own), torch.from_numpy(tokens[own])
    return Group(runs, len(which), chunk, torch.from_numpy(tokens), places, at, num_slots, mask)


def _runs(rows: np.ndarray) -> list[tuple[int, int, int]]:
    """(place, first row, count) of the runs of consecutive rows."""
    place = np.concatenate([[0], (np.diff(rows) != 1).nonzero()[0] + 1])
    return list(zip(place.tolist(), rows[place].tolist(), np.diff(place, append=len(rows)).tolist(), strict=True))


def _mask(seen: np.ndarray, num_slots: int) -> Tensor:
    """[G,C] slots that each token sees -> [G,1,C,num_slots]."""
    mask = np.where(np.arange(num_slots) < seen[..., None], np.float32(0), np.float32(-np.inf))
    return torch.from_numpy(mask)[:, None]
