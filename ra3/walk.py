"""Rows on their way through a cached model: each reads its tokens once, each draws from its own random numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ra3.policy import Policy


class Uniforms:
    """One stream of numbers in [0, 1) per row, from the row's own seed."""

    def __init__(self, seeds: Sequence[int], draws: int):
        self.numbers = torch.stack([torch.rand(draws, generator=torch.Generator().manual_seed(s)) for s in seeds])
        self.used = torch.zeros(len(seeds), dtype=torch.long)

    def next(self, rows: Tensor) -> Tensor:
        """[R] the next number of each row in `rows` [R]."""
        index = rows.cpu()
        numbers = self.numbers[index, self.used[index]]
        self.used[index] += 1
        return numbers.to(rows.device)


class Walk:
    """B rows on their way through a cached model: what was read, and the last hidden state of each row."""

    def __init__(self, policy: Policy, prefixes: Sequence[Sequence[int]], repeats: int):
        """Reads each prefix once, then repeats it: row p * repeats + g is the g-th copy of prefix p."""
        self.policy = policy
        count = len(prefixes)
        self.cache = policy.new_cache(count)
        self.position = torch.zeros(count, dtype=torch.long, device=policy.device)
        self.all_rows = torch.arange(count, device=policy.device)
        hidden, length = self.read(self.all_rows, prefixes)
        self.last_hidden = hidden[self.all_rows, length - 1]
        self.take(self.all_rows.repeat_interleave(repeats))

    def take(self, index: Tensor) -> None:
        """Keeps (or repeats) the rows at `index`; rows are renumbered from 0."""
        self.cache.take(index)
        self.position, self.last_hidden = self.position[index], self.last_hidden[index]
        self.all_rows = torch.arange(len(index), device=index.device)

    def read(self, rows: Tensor, chunks: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Feeds one chunk to each row in `rows` [R]; returns hidden states [R,C,D] and chunk lengths [R]."""
        device = self.policy.device
        length = torch.tensor([len(c) for c in chunks], device=device)
        ids = torch.zeros(len(chunks), int(length.max()), dtype=torch.long)
        for row, chunk in zip(ids, chunks, strict=True):
            row[: len(chunk)] = torch.tensor(chunk)
        positions = self.position[rows, None] + torch.arange(ids.shape[1], device=device)
        subset = None if len(rows) == len(self.all_rows) else rows
        hidden = self.policy.hidden(ids.to(device), positions, self.cache, subset)
        self.position[rows] += length
        return hidden, length

    def advance(self, rows: Tensor, tokens: Sequence[int]) -> None:
        """Feeds one token to each row in `rows`."""
        hidden, _ = self.read(rows, [[t] for t in tokens])
        self.last_hidden[rows] = hidden[:, 0]

    def logits(self, rows: Tensor) -> Tensor:
        """[R,V] logits of each row's next token."""
        return self.policy.logits(self.last_hidden[rows])


def choose(logits: Tensor, uniform: Tensor) -> Tensor:
    """[R,V] logits and [R] numbers in [0, 1) -> [R] ids, by inverting the cumulative distribution."""
    cumulative = logits.softmax(-1).cumsum(-1)
    ids = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)[:, 0]
    last = (logits > -torch.inf).long().cumsum(-1).argmax(-1)
    return torch.minimum(ids, last)
