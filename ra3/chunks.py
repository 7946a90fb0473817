"""What one forward pass over a slot cache reads, and which of its rows are attended by one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

TOGETHER = 32
"""Rows that one call attends, at most."""

SLOTS_OF_A_CALL = 128
"""Slots that attention reads in about the time that one more call takes."""

SHORT_CHUNK = 8
"""Up to so many tokens a chunk is attended together with single tokens."""

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

    rows: slice | Tensor
    """[G] rows of the cache."""
    chunk: int
    """C, the longest chunk."""
    tokens: slice | Tensor
    """[G * C] the tokens of every row; any, where a row has fewer."""
    own: slice | Tensor
    """Which of the G * C places hold tokens of their row."""
    at: slice | Tensor
    """Which of the N tokens they are."""
    num_slots: int
    mask: Tensor | None
    """[G,1,C,num_slots] float32, 0 where a token sees and -inf elsewhere; None where all see all."""


def groups_of(chunks: Chunks, num_rows: int) -> list[Group]:
    """Neighbouring rows that read a few tokens each are attended where their keys lie, if padding costs less than the
    calls it saves. The others by length: the keys of a group are copied together first, which costs no more than
    fetching them one by one. Long chunks by themselves."""
    groups, left = [], chunks.after - chunks.begins > SHORT_CHUNK
    short = ~left
    for first in range(0, num_rows, TOGETHER):
        size = min(TOGETHER, num_rows - first)
        which = (short & (chunks.row_of >= first) & (chunks.row_of < first + size)).nonzero()[0]
        ends = chunks.ends[which]
        if len(which) and size * ends.max() - ends.sum() <= SLOTS_OF_A_CALL * (len(which) - 1):
            groups.append(_neighbours(chunks, which, first, size))
        else:
            left[which] = True
    return groups + [_alike(chunks, which) for which in _by_length(chunks, left.nonzero()[0])]


def _by_length(chunks: Chunks, which: np.ndarray) -> Iterator[np.ndarray]:
    """Chunks [R'] in groups that need little padding: of about one length, their rows having read about as much."""
    doublings = np.ceil(np.log2(chunks.after[which] - chunks.begins[which])).astype(np.int64)
    order = np.lexsort((chunks.ends[which], doublings))
    group: list[int] = []
    for i in order.tolist():
        if group:
            kind, end = doublings[i], int(chunks.ends[which[i]])
            padding = end * len(group) - int(chunks.ends[which[group]].sum())
            full = len(group) == TOGETHER or kind != doublings[group[0]] or 2**kind > LONG_CHUNK
            if full or padding > SLOTS_OF_A_CALL * len(group):
                yield which[group]
                group = []
        group.append(i)
    if group:
        yield which[group]


def _neighbours(chunks: Chunks, which: np.ndarray, first: int, size: int) -> Group:
    """A group of the `size` rows from `first` on, of which some read the chunks `which` [R']."""
    place, rows = np.zeros(size, np.int64), slice(first, first + size)
    place[chunks.row_of[which] - first] = which
    reads = np.zeros(size, bool)
    reads[chunks.row_of[which] - first] = True
    return _group(chunks, rows, np.where(reads, place, which[0]), reads)


def _alike(chunks: Chunks, which: np.ndarray) -> Group:
    """A group of the chunks `which` [G]."""
    row = int(chunks.row_of[which[0]])
    rows = torch.from_numpy(chunks.row_of[which]) if len(which) > 1 else slice(row, row + 1)
    return _group(chunks, rows, which, np.ones(len(which), bool))


def _group(chunks: Chunks, rows: slice | Tensor, which: np.ndarray, reads: np.ndarray) -> Group:
    """A group of `rows` [G], of which those that `reads` [G] read the chunks `which` [G]."""
    begin, after = chunks.begins[which], chunks.after[which]
    ends, length = np.where(reads, chunks.ends[which], 1), after - begin
    chunk, num_slots = int(length.max()), int(ends.max())
    column = np.arange(chunk)
    tokens = np.minimum(begin[:, None] + column, after[:, None] - 1)
    seen = np.maximum(np.minimum(ends[:, None] - length[:, None] + column + 1, ends[:, None]), 1)
    mask = None if seen.min() == num_slots else _mask(seen, num_slots)
    own = (reads[:, None] & (column < length[:, None])).flatten()
    tokens = tokens.flatten()
    if own.all() and (np.diff(tokens) == 1).all():
        here = slice(int(tokens[0]), int(tokens[-1]) + 1)
        return Group(rows, chunk, here, slice(None), here, num_slots, mask)
    own = own.nonzero()[0]
    places, at = torch.from_numpy(own), torch.from_numpy(tokens[own])
    return Group(rows, chunk, torch.from_numpy(tokens), places, at, num_slots, mask)


def _mask(seen: np.ndarray, num_slots: int) -> Tensor:
    """[G,C] slots that each token sees -> [G,1,C,num_slots]."""
    mask = np.where(np.arange(num_slots) < seen[..., None], np.float32(0), np.float32(-np.inf))
    return torch.from_numpy(mask)[:, None]
