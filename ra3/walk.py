"""Rows on their way through a cached model: each reads its tokens once, each draws from its own random numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ra3.kv_cache import Chunks
from ra3.policy import Policy


class Uniforms:
    """One stream of numbers in [0, 1) per row, from the row's own seed."""

    def __init__(self, seeds: Sequence[int], draws: int):
        self.numbers = torch.stack([torch.rand(draws, generator=torch.Generator().manual_seed(s)) for s in seeds])
        self.used = torch.zeros(len(seeds), dtype=torch.long)

    def next(self, rows: Sequence[int]) -> Tensor:
        """[R] the next number of each of these rows."""
        index = torch.tensor(rows)
        numbers = self.numbers[index, self.used[index]]
        self.used[index] += 1
        return numbers


class Walk:
    """B rows on their way through a cached model: what was read, and the last hidden state of each row."""

    def __init__(self, policy: Policy, prefixes: Sequence[Sequence[int]], repeats: int):
        """Reads each prefix once, then repeats it: row p * repeats + g is the g-th copy of prefix p."""
        self.policy = policy
        self.cache = policy.new_cache(len(prefixes))
        self.position = [0] * len(prefixes)
        self.last_hidden = torch.empty(0)
        self.read(range(len(prefixes)), prefixes)
        self.take([p for p in range(len(prefixes)) for _ in range(repeats)])

    def take(self, rows: Sequence[int]) -> None:
        """Keeps (or repeats) these rows; they are renumbered from 0."""
        index = torch.tensor(rows, device=self.policy.device)
        self.cache.take(index)
        self.position, self.last_hidden = [self.position[r] for r in rows], self.last_hidden[index]

    def read(self, rows: Sequence[int], chunks: Sequence[Sequence[int]]) -> Tensor:
        """Feeds a chunk to each of R rows, N tokens in all; returns [N,D] the hidden state before each token.

        A token without one, the first of its row, gets zeros.
        """
        device = self.policy.device
        what = Chunks(rows, [self.position[r] for r in rows], [len(c) for c in chunks], device)
        ids = torch.tensor([token for chunk in chunks for token in chunk], device=device)
        self.cache.next(what)
        hidden = self.policy.hidden(ids[None], what.positions[None], self.cache)[0]
        begin, after = torch.tensor(what.spans, device=device).unbind(1)
        if not self.last_hidden.numel():
            self.last_hidden = hidden.new_zeros(len(self.position), hidden.shape[1])
        index = torch.tensor(rows, device=device)
        before = hidden.roll(1, 0).index_copy_(0, begin, self.last_hidden[index])
        self.last_hidden[index] = hidden[after - 1]
        for row, end in zip(rows, what.ends, strict=True):
            self.position[row] = end
        return before

    def logits(self, rows: Sequence[int]) -> Tensor:
        """[R,V] logits of each row's next token."""
        return self.policy.logits(self.last_hidden[torch.tensor(rows, device=self.policy.device)])


def choose(logits: Tensor, uniform: Tensor) -> Tensor:
    """[R,V] logits and [R] numbers in [0, 1) -> [R] ids, by inverting the cumulative distribution."""
    cumulative = logits.softmax(-1).cumsum(-1)
    reached = uniform.to(logits.device)[:, None] * cumulative[:, -1:]
    ids = torch.searchsorted(cumulative, reached, right=True)[:, 0]
    last = (logits > -torch.inf).long().cumsum(-1).argmax(-1)
    return torch.minimum(ids, last)


def chosen_logp(logits: Tensor, tokens: Tensor) -> Tensor:
    """[R,V] logits and [R] ids -> [R] log-probabilities."""
    return logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
