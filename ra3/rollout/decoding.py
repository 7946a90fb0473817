"""Decoding with a key-value cache: rows that read their tokens once each, and draw from random numbers of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ra3.model.kv_cache import ForwardBatch, Index, SlotCache
from ra3.model.policy import Policy

MAX_RUNNING_ROWS = {"cpu": 128, "cuda": 256}
"""Rows that are decoded at once, by device."""
PREFIX_TOKENS = 8192
"""About so many tokens of prefixes are read in one pass: 128 long prompts at once would hold gigabytes."""


class Uniforms:
    """One stream of numbers in [0, 1) per row, from the row's own seed."""

    def __init__(self, seeds: Sequence[int], draws: int):
        generator = torch.Generator()
        self.numbers = torch.stack([torch.rand(draws, generator=generator.manual_seed(s)) for s in seeds]).numpy()
        self.used = np.zeros(len(seeds), np.int64)
        """[B] how many numbers of each row have been used up."""

    def next(self, rows: Index) -> Tensor:
        """[R] the next number of each of these rows."""
        numbers = self.peek(rows, 0)
        self.used[rows] += 1
        return numbers

    def peek(self, rows: Index, further: Index | int) -> Tensor:
        """[R] numbers that these rows will come to, so much further on than the next; none is used up."""
        index = np.asarray(rows)
        return torch.from_numpy(self.numbers[index, self.used[index] + np.asarray(further)])


class DecodeBatch:
    """B rows over one cache, some of them running at a time; the others wait for a free slot.

    Row p * repeats + g is the g-th copy of prefix p, read once for all its rows. Its *slot* is its place in the cache.
    """

    def __init__(self, policy: Policy, prefixes: Sequence[Sequence[int]], repeats: int, at_once: int | None = None):
        at_once = at_once or MAX_RUNNING_ROWS[policy.device.type]
        self.policy, self.prefixes, self.repeats = policy, prefixes, repeats
        self.count, self.started = len(prefixes) * repeats, 0
        self.row = np.full(min(at_once, self.count), -1)
        """[slots] the row in each slot of the cache, -1 where none is."""
        self.slot = np.full(self.count, -1)
        """[B] the slot of each row."""
        self.position = np.zeros(len(self.row), np.int64)
        """[slots] tokens that the row has read."""
        self.device, layers = policy.device, policy.model.config.get_text_config().num_hidden_layers
        self.cache = SlotCache(len(self.row), layers, self.device)
        self.last_hidden = torch.empty(0)
        """[slots,D] the hidden state after the last token read."""
        self.prefix_slot = -1
        """Where the latest prefix was read: it stands there until another row takes the slot."""
        self.after_prefix = torch.empty(0)
        """[D] the hidden state after the latest prefix."""

    def running(self) -> np.ndarray:
        """[R] the rows under way in the order of their slots, once free slots have been given to those that wait."""
        free = (self.row < 0).nonzero()[0]
        # a pass costs about as much with an eighth of its slots empty as full, and starting rows one by one costs more
        if self.started < self.count and 8 * len(free) >= len(self.row):
            self._start(free)
        elif self.started == self.count and 2 * len(free) > len(self.row):
            self._drop_free_slots()
        return self.row[self.row >= 0]

    def finish(self, rows: Index) -> None:
        """Frees the slots of these rows."""
        self.row[self.slot[rows]] = -1

    def read(self, rows: Index, ids: Index, lengths: Index) -> Tensor:
        """Feeds R rows their chunks, N ids of `lengths` [R]; returns [N,D] the hidden state before each token."""
        slots = self.slot[rows]
        batch = ForwardBatch(slots, self.position[slots], lengths, self.device)
        self.cache.begin_pass(batch)
        tokens = torch.as_tensor(ids, device=self.device)[None]
        hidden = self.policy.hidden(tokens, batch.positions[None], self.cache)[0]
        if not self.last_hidden.numel():
            self.last_hidden = hidden.new_zeros(len(self.row), hidden.shape[1])
        index = self._tensor(slots)
        before = hidden.roll(1, 0).index_copy_(0, self._tensor(batch.begin), self.last_hidden[index])
        self.last_hidden[index] = hidden[self._tensor(batch.after - 1)]
        self.position[slots] = batch.ends
        return before

    def rewind(self, row: int, position: int) -> None:
        """Makes the row forget all but its first `position` tokens; the next that it reads cannot be scored."""
        self.position[self.slot[row]] = position

    def logits(self, rows: Index) -> Tensor:
        """[R,V] logits of each row's next token."""
        return self.policy.logits(self.last_hidden[self._tensor(self.slot[rows])])

    def _start(self, free: np.ndarray) -> None:
        """Gives the free slots to rows that wait, in order."""
        rows = np.arange(self.started, min(self.count, self.started + len(free)))
        left = -self.started % self.repeats  # rows of the latest prefix that still wait
        if left and self.prefix_slot in free:  # one of them takes the slot of the prefix, lest it be overwritten
            free = np.concatenate([[self.prefix_slot], free[free != self.prefix_slot]])
        slots = free[: len(rows)]
        self.row[slots], self.slot[rows], self.started = rows, slots, int(rows[-1]) + 1
        self._copy_prefix(np.full(len(slots[:left]), self.prefix_slot), slots[:left], self.after_prefix)
        new = rows[left:]
        if not len(new):
            return
        first = new[:: self.repeats]
        self.position[self.slot[first]] = 0
        number = (np.cumsum([len(self.prefixes[r // self.repeats]) for r in first]) - 1) // PREFIX_TOKENS
        for rows in np.split(first, np.flatnonzero(np.diff(number)) + 1):
            prefixes = [self.prefixes[r // self.repeats] for r in rows]
            self.read(rows, [i for ids in prefixes for i in ids], [len(ids) for ids in prefixes])
        source = self.slot[new // self.repeats * self.repeats]
        self._copy_prefix(source, slots[left:], self.last_hidden[self._tensor(source)])
        self.prefix_slot = int(self.slot[first[-1]])
        self.after_prefix = self.last_hidden[self.prefix_slot].clone()

    def _copy_prefix(self, source: np.ndarray, target: np.ndarray, after: Tensor) -> None:
        """Makes rows in the slots `target` begin with the prefixes that stand in the slots `source`."""
        if not len(target):
            return
        self.position[target] = [len(self.prefixes[r // self.repeats]) for r in self.row[target]]
        self.last_hidden[self._tensor(target)] = after
        for run in np.split(np.arange(len(target)), np.flatnonzero(np.diff(source)) + 1):
            slot = int(source[run[0]])
            if len(others := target[run][target[run] != slot]):
                in_order = (np.diff(others) == 1).all()  # then a view, which is filled at once
                where = slice(int(others[0]), int(others[-1]) + 1) if in_order else self._tensor(others)
                self.cache.copy(slot, where, int(self.position[others[0]]))

    def _drop_free_slots(self) -> None:
        """Makes the cache smaller, once no row waits."""
        kept = (self.row >= 0).nonzero()[0]
        if not len(kept):
            return
        index = self._tensor(kept)
        self.cache.select(index)
        self.row, self.position, self.last_hidden = self.row[kept], self.position[kept], self.last_hidden[index]
        self.slot[self.row] = np.arange(len(kept))

    def _tensor(self, index: np.ndarray) -> Tensor:
        return torch.from_numpy(index).to(self.device)


def sample_ids(logits: Tensor, uniform: Tensor) -> Tensor:
    """[R,V] logits and [R] numbers in [0, 1) -> [R] ids, by inverting the cumulative distribution."""
    cumulative = logits.softmax(-1).cumsum(-1)
    total = cumulative[:, -1:]
    below = torch.nextafter(total, torch.zeros_like(total))  # reached somewhere: the last step up is a possible token
    reached = torch.minimum(uniform.to(logits.device)[:, None] * total, below)
    return torch.searchsorted(cumulative, reached, right=True)[:, 0]
