"""What one forward pass over a slot cache reads, and which of its rows are attended by one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

BLOCK = 16
"""Rows of a block: attended by one call, each to as many slots as the longest of them has."""

SLOTS_OF_A_CALL = 128
"""Slots that attention reads in about the time that one more call takes."""


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
    def alone(self) -> np.ndarray:
        """[R] bool, the chunk is a single token."""
        return self._lengths == 1

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
class Block:
    """Neighbouring rows of the cache, some of which read one token each."""

    rows: slice
    tokens: Tensor | slice
    """The token of every row; any, where a row reads none."""
    own: Tensor | slice
    """Which rows read one."""
    at: Tensor | slice
    """Which tokens theirs are."""
    num_slots: int
    mask: Tensor | None
    """[rows,1,1,num_slots] float32, 0 where a row has read and -inf elsewhere; None where all have read all."""


@dataclass(frozen=True)
class Single:
    """A chunk that is attended by itself."""

    row: int
    tokens: slice
    num_slots: int
    mask: Tensor | None
    """bool [C,num_slots], what its tokens see; None where one token sees all."""


@dataclass(frozen=True)
class Attended:
    """How the chunks of a pass are attended on a CPU."""

    blocks: list[Block]
    singles: list[Single]

    @classmethod
    def of(cls, chunks: Chunks, num_rows: int) -> Attended:
        """Rows that read one token each go by blocks, where padding costs less than the calls it saves."""
        blocks, left = [], ~chunks.alone
        for first in range(0, num_rows, BLOCK):
            size = min(BLOCK, num_rows - first)
            which = (chunks.alone & (chunks.row_of >= first) & (chunks.row_of < first + size)).nonzero()[0]
            ends = chunks.ends[which]
            if len(which) and size * ends.max() - ends.sum() <= SLOTS_OF_A_CALL * (len(which) - 1):
                blocks.append(_block(chunks, which, first, size))
            else:
                left[which] = True
        return cls(blocks, [_single(chunks, i) for i in left.nonzero()[0].tolist()])


def _single(chunks: Chunks, i: int) -> Single:
    row, begin, after, end = (int(x[i]) for x in (chunks.row_of, chunks.begins, chunks.after, chunks.ends))
    length, mask = after - begin, None
    if length > 1:
        mask = torch.ones(length, end, dtype=torch.bool, device=chunks.device).tril(end - length)
    return Single(row, slice(begin, after), end, mask)


def _block(chunks: Chunks, which: np.ndarray, first: int, size: int) -> Block:
    tokens, own, ends = chunks.begins[which], chunks.row_of[which] - first, chunks.ends[which]
    num_slots, begin, rows = int(ends.max()), int(tokens[0]), slice(first, first + size)
    mask = None
    if len(which) < size or ends.min() < num_slots:
        seen = np.ones(size, np.int64)
        seen[own] = ends
        mask = np.where(np.arange(num_slots) < seen[:, None], 0.0, -np.inf).astype(np.float32)
        mask = torch.from_numpy(mask)[:, None, None]
    if len(which) == size and (tokens - begin == own).all():  # every row in its order
        here = slice(begin, begin + size)
        return Block(rows, here, slice(None), here, num_slots, mask)
    of_row = np.full(size, begin)
    of_row[own] = tokens
    return Block(rows, *(torch.from_numpy(x) for x in (of_row, own, tokens)), num_slots, mask)
